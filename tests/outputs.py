"""Outputs of a pipeline with numbers made up: for tests of what only reads them, without any training."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repligan.claims.ledger import Ledger
from repligan.core.files import array_bytes, write_bytes, write_json
from repligan.evaluation.tables import RowResult, curves, losses, metrics, to_csv, values
from repligan.params import Params, load
from repligan.training.rows import PUBLISHED

TOY: dict[str, Any] = {
    "dataset": "numbers", "seeds": 40, "keep_weights": 1,
    "z": {"kind": "bits", "dim": 7, "low": 0.0, "high": 1.0},
    "G": {"kind": "mlp", "widths": [7, 7]}, "D": {"kind": "mlp", "widths": [7, 1]},
    "loss": {"kind": "bce", "halves": "mean", "smoothing": 0.0}, "optimiser": {"kind": "sgd", "lr": 0.1},
    "schedule": [{"update": "G", "sees": ["fresh_z"]}, {"update": "D", "sees": ["real", "same_img"]}],
    "batch": 4, "steps": 20, "log_every": 5, "snapshot_every": 10, "threads": 1, "alarms": None,
    "variants": {
        "fast": {"optimiser": {"lr": 0.5}},
        "fast-few": {"based_on": "fast", "seeds": 3, "schedule": [{"update": "D", "sees": ["real"], "times": 2}]},
    },
}  # fmt: skip
IMAGES: dict[str, Any] = TOY | {
    "dataset": "squares", "seeds": 1,
    "z": {"kind": "normal", "dim": 8, "low": 0.0, "high": 1.0},
    "G": {"kind": "dcgan", "kernel": 4, "start": 2, "width": 4, "bias": False, "project": "norm"},
    "D": {"kind": "dcgan", "kernel": 4, "start": 2, "width": 4, "bias": False, "slope": 0.2, "norm": "batch"},
    "alarms": {"lasting": 5, "accuracy": 1.0, "spread": 0.05, "twins": 0.5, "stop": False},
    "variants": {"relu": {"seeds": 2, "D": {"slope": 0.0}}},
}  # fmt: skip
WALK = {"components": [0, 3], "reach": 1.0, "frames": 3, "midpoints": 2, "pairs": 2, "num": 4}
PARAMS: dict[str, Any] = {
    "scale": "tiny",
    "runtime": {"device": "cpu", "precision": "portable", "deterministic": True},
    "datasets": {
        "numbers": {
            "source": {"kind": "integers", "start": 0, "stop": 128, "step": 2}, "form": {"kind": "bits", "width": 7},
            "metrics": "even", "standin_for": None, "remote": None,
        },
        "squares": {
            "source": {"kind": "drawn", "subject": "digits", "count": 80, "size": 32}, "metrics": "images",
            "form": {
                "kind": "images", "size": 8, "channels": 1, "crop": None, "train": 64, "heldout": 16, "unreadable": 0.0,
            },
            "standin_for": "circles", "remote": None,
        },
    },
    "references": {
        "numbers": {"kind": "draws", "num": 16, "repeats": 5},
        "squares": {
            "kind": "cnn", "num": 32, "repeats": 3, "threads": 1, "width": 4, "features": 4, "epochs": 1, "batch": 16,
            "lr": 0.001,
        },
    },
    "templates": {},
    "experiments": {"toy": TOY, "pictures": IMAGES},
    "evaluations": {
        "toy": {"variants_at": "all", "variants_num": None, "walk": None, "milestones": [0, 20]},
        "pictures": {"variants_at": "last", "variants_num": 16, "walk": WALK, "milestones": [0, 20]},
    },
    "reports": {name: {"title": f"A GAN of {name}", "source": "A course"} for name in ("toy", "pictures")},
}  # fmt: skip
MEASURED = {"toy": ("even_rate", "tv", "out_0", "out_1"), "pictures": ("fd_cnn_32", "recall", "kid", "luma")}
CLAIM: dict[str, Any] = {
    "id": "most", "source": "A course", "place": "its last page", "says": "Most numbers are even",
    "reading": "implied", "verdict": "holds", "here": "holds", "reduced": True, "premise": 1,
    "tests": [
        {
            "label": "seeds whose D is right", "rule": {"kind": "share", "most": 0.9}, "rows": ["toy"],
            "budget": ["40 seeds"], "num": 40, "alpha": 0.01, "kind": "share", "measured": {"mean": 1.0, "lo": 0.92},
            "verdict": "holds",
        },
        {
            "label": "share of even numbers", "rule": {"kind": "above", "than": 0.5}, "rows": ["toy"],
            "budget": ["40 seeds"], "num": 40, "alpha": 0.01, "kind": "value",
            "measured": {"mean": 0.8, "lo": 0.7, "hi": 0.9}, "verdict": "holds", "published": 0.6,
            "quantile": {"mean": 0.1, "lo": 0.0, "hi": 0.2},
        },
        {"label": "of another row", "rule": None, "not_run": ["toy/slow"]},
    ],
}  # fmt: skip
# Number of seeds, estimate, lower and upper bound, as seeds were added; an end without a bound is not a number.
GROWN = {
    "most.0": np.array([[8.0, 40.0], [1.0, 1.0], [0.7, 0.92], [np.nan, np.nan]]),
    "most.1": np.array([[8.0, 20.0, 40.0], [0.7, 0.75, 0.8], [np.nan, 0.6, 0.7], [np.nan, 0.9, 0.9]]),
}


@dataclass
class Made:
    """Params of two experiments with variants, and the folders data and reports that stages fill."""

    params: Params
    data: Path
    reports: Path


def make(folder: Path) -> Made:
    """Params and outputs made up in `folder`."""
    path, data, reports = folder / "params.yaml", folder / "data", folder / "reports"
    path.write_text(json.dumps(PARAMS), encoding="utf-8")  # JSON is YAML
    params = load(path)
    for name in params.experiments:
        _write_one(params, name, data / "evaluations" / name, reports / "metrics" / f"{name}.json")
        write_bytes(data / "processed" / params.published(name).dataset / "data.npy", name.encode())
    ledger = Ledger.from_json({"scale": params.scale, "claims": [CLAIM]})
    write_json(reports / "claims.json", ledger.to_json())
    write_bytes(data / "claims" / "values.safetensors", array_bytes(GROWN))
    return Made(params, data, reports)


def _write_one(params: Params, name: str, out: Path, file: Path) -> None:
    rng = np.random.default_rng(0)
    results = {}
    for row, experiment in params.rows_of(name).items():
        steps, logged = experiment.snapshot_steps(), experiment.steps // experiment.log_every
        columns = experiment.seeds if experiment.seeds > 1 else 3
        history = {key: rng.random((logged, experiment.seeds)) for key in ("loss_D", "loss_G", "D_real", "D_gen")}
        stats = {key: rng.random((len(steps), columns)) for key in MEASURED[name]}
        results[row.variant] = RowResult(experiment, steps, history, stats)
        write_bytes(out / f"{row.variant}.safetensors", values(results[row.variant], *[dict.fromkeys(stats, 0.5)] * 2))
    published = results.pop(PUBLISHED)
    write_bytes(out / "losses.csv", to_csv(losses(published)))
    write_bytes(out / "curves.csv", to_csv(curves(published)))
    card: dict[str, Any] = {"num": 32, "repeats": 3, "floor": {key: {"mean": 0.5} for key in MEASURED[name]}}
    if params.measures[name].walk:
        card |= {"kind": "cnn", "accuracy": {"heldout": 0.9}, "task": "squares", "seeds": "0 to 2"}
        card |= dict.fromkeys(
            ("extractor", "extractor_sha256", "layer", "real_sha256", "num_real", "num_gen"), "the same"
        )
        card |= dict.fromkeys(("split", "resizer", "range", "bn", "dtype"), "the same")
        picture: np.ndarray = np.zeros((4, 1, 8, 8), np.uint8)
        _write_walk(out / "walk")
    else:
        card |= {"kind": "draws"}
        picture = np.ones(128, np.int64)
    pictures = {f"{step:08d}": picture for step in published.steps}
    write_bytes(out / "pictures.safetensors", array_bytes(pictures))
    write_json(file, metrics(published, results, params.measures[name].milestones, card))


def _write_walk(out: Path) -> None:
    names = [*(f"component {i}" for i in WALK["components"]), "linear", "spherical"]  # type: ignore[attr-defined]
    walks = {name: np.zeros((2, 3, 1, 8, 8), np.uint8) for name in names}
    walks["arithmetic"] = np.zeros((2, 5, 1, 8, 8), np.uint8)
    write_bytes(out / "pictures.safetensors", array_bytes(walks))
    value = {"mean": 0.5, "lo": 0.4, "hi": 0.6}
    scores = {"arithmetic": {"A + B": {"distance": value}, "stranger": {"distance": value}}, "shift": value}
    write_json(out / "scores.json", scores)
