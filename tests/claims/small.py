"""Small params, and tables of values as the evaluations write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from repligan.core.files import array_bytes, write_bytes
from repligan.params import Params

RAMP = np.linspace(0, 1, 40)
TOY = {
    "dataset": "even", "seeds": 40, "keep_weights": 0, "z": {"kind": "bits", "dim": 7, "low": 0.0, "high": 1.0},
    "G": {"kind": "mlp", "widths": [7, 7]}, "D": {"kind": "mlp", "widths": [7, 1]},
    "loss": {"kind": "bce", "halves": "mean", "smoothing": 0.0},
    "optimiser": {"kind": "adam", "lr": 0.001, "beta1": 0.9, "beta2": 0.999},
    "schedule": [{"update": "D", "sees": ["real", "fresh_z"]}, {"update": "G", "sees": ["fresh_z"]}],
    "batch": 16, "steps": 60, "log_every": 6, "snapshot_every": 60, "threads": 1, "alarms": None,
    "variants": {"fast": {"seeds": 30, "optimiser": {"lr": 0.01}}},
}  # fmt: skip
FACES = TOY | {
    "dataset": "faces", "seeds": 1, "z": {"kind": "normal", "dim": 4, "low": 0.0, "high": 1.0},
    "G": {"kind": "dcgan", "kernel": 4, "start": 4, "width": 2, "bias": False, "project": "norm"},
    "D": {"kind": "dcgan", "kernel": 4, "start": 4, "width": 3, "bias": False, "slope": 0.2, "norm": "batch"},
    "alarms": {"lasting": 10, "accuracy": 0.99, "spread": 0.01, "twins": 0.5, "stop": False},
    "variants": {"other": {"seeds": 2}},
}  # fmt: skip
MEASURE = {"variants_at": "all", "variants_num": None, "walk": None, "milestones": [0]}
WALK = {"components": [0], "reach": 2.0, "frames": 2, "midpoints": 1, "pairs": 1, "num": 2}
REPORT = {"title": "", "source": ""}
ROWS = {
    "scale": "smoke",
    "runtime": {"device": "cpu", "precision": "portable", "deterministic": True},
    "datasets": {
        "even": {"source": {"kind": "integers", "start": 0, "stop": 128, "step": 2},
                 "form": {"kind": "bits", "width": 7}, "metrics": "even", "standin_for": None, "remote": None},
        "faces": {"source": {"kind": "drawn", "subject": "faces", "count": 80, "size": 32}, "metrics": "images",
                  "form": {"kind": "images", "size": 16, "channels": 3, "crop": None, "train": 64, "heldout": 16,
                           "unreadable": 0.0}, "standin_for": "celeba", "remote": None},
    },
    "references": {
        "even": {"kind": "draws", "num": 16, "repeats": 2},
        "faces": {"kind": "cnn", "width": 2, "features": 2, "epochs": 1, "batch": 16, "lr": 0.1, "num": 20,
                  "repeats": 2, "threads": 1},
    },
    "templates": {},
    "experiments": {"even": TOY, "dcgan": FACES},
    "evaluations": {"even": MEASURE, "dcgan": MEASURE | {"variants_num": 20, "walk": WALK}},
    "reports": {"even": REPORT, "dcgan": REPORT},
}  # fmt: skip


BUDGETS = {
    "even": {"steps": 60, "batch": 16, "lr": 0.001},
    "dcgan": {"steps": 60, "batch": 16, "lr": 0.001, "G": 2, "D": 3, "images": 64},
}


def rows_at(scale: str) -> Params:
    return Params.model_validate(ROWS | {"scale": scale})


def write_table(path: Path, history: dict[str, Any], stats: dict[str, Any], real: dict[str, float]) -> None:
    steps = {key: list(range(6, 61, 6)) for key in history} | {key: [0, 60] for key in stats}
    write_bytes(
        path, array_bytes(history | stats, {"row": {}, "steps": steps, "real": real, "blurred": {"fd_cnn_20": 4.0}})
    )


def write_tables(folder: Path) -> Path:
    """Values of 40 seeds of `even`, of 30 of even/fast, of one of `dcgan` and of two of its variant."""
    history = {"loss_D": np.linspace(0, 9, 10)[:, None] * np.ones(40), "loss_G": np.stack([RAMP] * 10)}
    for variant, seeds in (("published", 40), ("fast", 30)):
        ramp = RAMP[:seeds]
        stats = {"all_even": np.stack([ramp < 0, ramp < 0.5]), "coverage": np.stack([ramp] * 2)}
        stats["tv"] = np.stack([0 * ramp] * 2)
        recorded = {key: values[:, :seeds] for key, values in history.items()}
        write_table(folder / "even" / f"{variant}.safetensors", recorded, stats, {"coverage": 0.5, "tv": 0.0})
    for variant, seeds in (("published", 1), ("other", 2)):
        stats = {"fd_cnn_20": np.array([[12.0], [6.0]]) * np.ones(seeds), "luma": np.full((2, seeds), 0.5)}
        flat = {"loss_D": np.ones((10, seeds)), "loss_G": np.ones((10, seeds))}
        write_table(folder / "dcgan" / f"{variant}.safetensors", flat, stats, {"fd_cnn_20": 2.0, "luma": 0.0})
    return folder
