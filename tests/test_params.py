"""The joined params: rows made whole from templates and variants, and checked against each other."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from repligan.compose import compose
from repligan.core.errors import InputError
from repligan.core.files import sha256
from repligan.core.rows import read_yaml
from repligan.params import SCALES, Params, key_of, load, with_walk
from repligan.training.rows import Adam, Experiment, RowId, Sgd

PATH = Path("params.yaml")
GONE = object()
FACES = {"kind": "drawn", "subject": "faces", "count": 200, "size": 32}
FORM = {"kind": "images", "size": 32, "channels": 3, "crop": None, "train": 160, "heldout": 40, "unreadable": 0.0}
OF_TOY = {
    "seeds": 40,
    "keep_weights": 1,
    "z": {"kind": "bits", "dim": 7, "low": 0.0, "high": 1.0},
    "G": {"kind": "mlp", "widths": [7, 7]},
    "D": {"kind": "mlp", "widths": [7, 1]},
    "loss": {"kind": "bce", "halves": "mean", "smoothing": 0.0},
    "optimiser": {"kind": "adam", "lr": 0.001, "beta1": 0.9, "beta2": 0.999},
    "schedule": [{"update": "G", "sees": ["fresh_z"]}, {"update": "D", "sees": ["real", "same_img"]}],
    "batch": 16,
    "steps": 60,
    "log_every": 10,
    "snapshot_every": 20,
    "threads": 1,
    "alarms": None,
}
OF_IMAGES = OF_TOY | {
    "seeds": 1,
    "z": {"kind": "normal", "dim": 16, "low": 0.0, "high": 1.0},
    "G": {"kind": "dcgan", "kernel": 4, "start": 2, "width": 4, "bias": False, "project": "plain"},
    "D": {"kind": "dcgan", "kernel": 4, "start": 2, "width": 4, "bias": False, "slope": 0.2, "norm": "batch"},
    "schedule": [{"update": "D", "sees": ["real", "fresh_z"]}, {"update": "G", "sees": ["same_z"]}],
    "alarms": {"lasting": 4, "accuracy": 1.0, "spread": 0.05, "twins": 0.5, "stop": False},
}
WALK = {"components": [0, 1], "reach": 1.0, "frames": 9, "midpoints": 3, "pairs": 4, "num": 8}
SMALL: dict[str, Any] = {
    "scale": "smoke",
    "runtime": {"device": "cpu", "precision": "portable", "deterministic": True},
    "datasets": {
        "even": {
            "source": {"kind": "integers", "start": 0, "stop": 128, "step": 2},
            "form": {"kind": "bits", "width": 7},
            "metrics": "even",
            "standin_for": None, "remote": None,
        },
        "box": {
            "source": {"kind": "box", "low": [0.8, 0.0, 0.8, 0.0], "high": [1.0, 0.2, 1.0, 0.2]},
            "form": {"kind": "box"},
            "metrics": "bits1010",
            "standin_for": None, "remote": None,
        },
        "faces": {"source": FACES, "form": FORM, "metrics": "images", "standin_for": "celeba", "remote": None},
    },
    "references": {
        "even": {"kind": "draws", "num": 128, "repeats": 50},
        "box": {"kind": "draws", "num": 50, "repeats": 50},
        "faces": {
            "kind": "cnn", "width": 4, "features": 16, "epochs": 2, "batch": 64, "lr": 0.002, "num": 64, "repeats": 2,
            "threads": 2,
        },
    },
    "templates": {
        "toy": {
            "experiment": OF_TOY,
            "measure": {"variants_at": "all", "variants_num": None, "walk": None, "milestones": []},
        },
        "gan": {
            "experiment": OF_IMAGES,
            "measure": {"variants_at": "last", "variants_num": 16, "walk": WALK, "milestones": [0]},
        },
    },
    "experiments": {
        "even": {
            "like": "toy",
            "dataset": "even",
            "variants": {
                "fast": {"optimiser": {"lr": 0.01}},
                "faster": {"based_on": "fast", "batch": 32},
                "plain": {"based_on": "faster", "optimiser": {"kind": "sgd", "lr": 0.5}},
            },
        },
        "box": {
            "like": "toy",
            "dataset": "box",
            "z": {"kind": "uniform", "dim": 4, "low": 0.0, "high": 0.5},
            "G": {"kind": "identity"},
            "D": {"widths": [4, 1]},
            "schedule": [{"update": "D", "sees": ["real"]}, {"update": "D", "sees": ["fresh_z"]}],
        },
        "faces": {
            "like": "gan",
            "dataset": "faces",
            "steps": 12,
            "log_every": 2,
            "snapshot_every": 4,
            "variants": {"hard": {"loss": {"smoothing": 0.0}, "seeds": 3}},
        },
    },
    "evaluations": {"even": {"like": "toy", "milestones": [0, 60]}, "box": {"like": "toy"}, "faces": {"like": "gan"}},
    "reports": {name: {"title": name, "source": "x"} for name in ("even", "box", "faces")},
}  # fmt: skip


def changed(*changes: tuple[str, object]) -> dict[str, Any]:
    """SMALL with values at dotted keys; GONE takes one away."""
    data = copy.deepcopy(SMALL)
    for key, value in changes:
        row: Any = data
        *path, last = key.split("/")
        for part in path:
            row = row[int(part)] if isinstance(row, list) else row.setdefault(part, {})
        if value is GONE:
            del row[last]
        else:
            row[int(last) if isinstance(row, list) else last] = copy.deepcopy(value)
    return data


def said(tmp_path: Path, data: dict[str, Any]) -> str:
    """The one line about `data` as a file."""
    path = tmp_path / "params.yaml"
    YAML(typ="safe").dump(data, path)
    with pytest.raises(InputError) as error:
        load(path)
    assert error.value.message.startswith(f"{path}: ")
    assert "\n" not in error.value.message
    assert "validation error" not in error.value.message
    return error.value.message.removeprefix(f"{path}: ")


@pytest.fixture
def small() -> Params:
    return Params.model_validate(SMALL)


def row(name: str, variant: str = "published") -> RowId:
    return RowId(experiment=name, variant=variant)


def test_a_row_says_only_what_differs_from_the_one_it_is_like(small: Params) -> None:
    even, box = small.published("even"), small.published("box")
    assert even == Experiment.model_validate(OF_TOY | {"dataset": "even"})
    assert (box.z.kind, box.z.high) == ("uniform", 0.5)
    assert box.G.model_dump() == {"kind": "identity"}  # of a table of another kind nothing is left
    assert (box.D.widths, box.batch, box.loss) == ([4, 1], even.batch, even.loss)  # type: ignore[union-attr]
    assert small.measures["even"].milestones == [0, 60]
    assert small.measures["box"].milestones == []


def test_a_row_may_say_everything_itself() -> None:
    data = changed(("experiments/even", OF_TOY | {"dataset": "even"}))
    assert Params.model_validate(data).published("even") == Params.model_validate(SMALL).published("even")


def test_a_variant_is_the_published_row_with_its_changes(small: Params) -> None:
    published, fast = small.published("even"), small.rows[row("even", "fast")]
    assert fast.optimiser == Adam(kind="adam", lr=0.01, beta1=0.9, beta2=0.999)
    assert fast.model_copy(update={"optimiser": published.optimiser, "keep_weights": 1}) == published
    assert (published.keep_weights, fast.keep_weights) == (1, 0)  # variants leave no weights unless they say so
    said_so = Params.model_validate(changed(("experiments/even/variants/fast/keep_weights", 2)))
    assert said_so.rows[row("even", "fast")].keep_weights == 2


def test_a_variant_may_build_on_another(small: Params) -> None:
    faster, plain = small.rows[row("even", "faster")], small.rows[row("even", "plain")]
    assert (faster.optimiser.lr, faster.batch) == (0.01, 32)
    assert (plain.optimiser, plain.batch) == (Sgd(kind="sgd", lr=0.5), 32)  # of Adam's table nothing is left


def test_rows_are_in_order_and_have_names(small: Params) -> None:
    names = ["even", "even/fast", "even/faster", "even/plain", "box", "faces", "faces/hard"]
    assert [str(one) for one in small.rows] == names
    assert [str(one) for one in small.rows_of("even")] == names[:4]
    assert list(small.rows_of("odd")) == []
    assert small.dataset_of("faces") is small.datasets["faces"]
    assert key_of(row("even")) == "experiments.even"
    assert key_of(row("even", "fast")) == "experiments.even.variants.fast"


def test_a_row_on_a_stand_in_is_called_so(small: Params) -> None:
    assert [small.called(one) for one in (row("even"), row("even", "fast"))] == ["even", "even/fast"]
    assert [small.called(one) for one in small.rows_of("faces")] == ["faces on faces", "faces/hard on faces"]


def test_params_are_written_as_they_stand(small: Params) -> None:
    """What DVC sees is short; reading it back gives the same rows."""
    assert small.rows
    assert small.model_dump()["experiments"] == SMALL["experiments"]
    again = Params.model_validate(small.model_dump(mode="json"))
    assert again.rows == small.rows
    assert again.measures == small.measures


EVEN, VARIANTS = "experiments/even", "experiments/even/variants"


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        # Rows and what they are like.
        (f"{EVEN}/like", "toys", "experiments.even.like: found 'toys'; allowed: gan, toy"),
        ("evaluations/even/like", "toys", "evaluations.even.like: found 'toys'; allowed: gan, toy"),
        (f"{EVEN}/like", GONE, "experiments.even.seeds: found nothing; allowed: a value, every key is required"),
        (
            f"{EVEN}/bach",
            3,
            "experiments.even.bach: found an unknown key; allowed: dataset, seeds, first_seed, keep_weights, z",
        ),
        (
            f"{EVEN}/optimiser/beta3",
            0.9,
            "experiments.even.optimiser.beta3: found an unknown key; allowed: kind, lr, beta1",
        ),
        (f"{EVEN}/optimiser", {"kind": "sgd"}, "experiments.even.optimiser.lr: found nothing; allowed: a value"),
        ("experiments/../even", {}, "experiments.../even: found '../even'; allowed: a name of lower-case"),
        # Variants.
        (f"{VARIANTS}/slow", {"optimiser": {"lr": 2}}, "experiments.even.variants.slow.optimiser.lr: found 2; allowed"),
        (f"{VARIANTS}/slow", 3, "experiments.even.variants.slow: found 3; allowed: a table of changes"),
        (f"{VARIANTS}/slow", {"like": "toy"}, "experiments.even.variants.slow: found {'like': 'toy'}; allowed: a"),
        (VARIANTS, ["slow"], "experiments.even.variants: found ['slow']; allowed: tables of changes"),
        (VARIANTS, {"published": {}}, "experiments.even.variants: found {'published': {}}; allowed: tables of changes"),
        (
            f"{VARIANTS}/faster/based_on",
            "fats",
            "experiments.even.variants.faster.based_on: found 'fats'; allowed: fast, plain",
        ),
        (
            f"{VARIANTS}/fast/based_on",
            "fast",
            "experiments.even.variants.fast.based_on: found 'fast'; allowed: faster, plain",
        ),
        # In a circle: fast is based on plain, that on faster, and that on fast.
        (f"{VARIANTS}/fast/based_on", "plain", "experiments.even.variants.faster.based_on: found 'fast'; allowed:"),
        (f"{VARIANTS}/../slow", {}, "found '../slow'; allowed: a name of lower-case letters"),
        (
            f"{VARIANTS}/fast/dataset",
            "box",
            "experiments.even.variants.fast.dataset: found 'box'; allowed: none, a variant keeps its data",
        ),
        # Values.
        (f"{EVEN}/optimiser/lr", "fast", "experiments.even.optimiser.lr: found 'fast'; allowed: a valid number"),
        (f"{EVEN}/optimiser/lr", 2, "experiments.even.optimiser.lr: found 2; allowed: less than 1"),
        (f"{EVEN}/optimiser/lr", float("nan"), "experiments.even.optimiser.lr: found nan; allowed: less than 1"),
        (f"{EVEN}/batch", -1, "experiments.even.batch: found -1; allowed: greater"),
        (f"{EVEN}/batch", 1.5, "experiments.even.batch: found 1.5; allowed: a valid int"),
        (f"{EVEN}/G/kind", "mpl", "experiments.even.G.kind: found 'mpl'; allowed: 'mlp', 'dcgan', 'resnet', 'ident"),
        (f"{EVEN}/D/kind", "identity", "experiments.even.D.kind: found 'identity'; allowed: 'mlp', 'dcgan', 'resnet'"),
        (f"{EVEN}/loss/kind", "hinge", "experiments.even.loss.kind: found 'hinge'; allowed: 'bce', 'mse', 'wgan-gp'"),
        (f"{EVEN}/log_every", 61, "experiments.even.log_every: found 61; allowed: at most steps, 60"),
        ("experiments/faces/D/start", 3, "experiments.faces.D.start: found 3; allowed: 2 or 4"),
        ("runtime/device", "gpu", "runtime.device: found 'gpu'; allowed: 'cpu', 'cuda' or 'auto'"),
        # The schedule.
        (
            f"{EVEN}/schedule",
            [{"update": "D", "sees": ["real", "same"]}],
            "experiments.even.schedule.0.sees.1: found 'same'; allowed: 'real', 'fresh_z'",
        ),
        (
            f"{EVEN}/schedule",
            [{"update": "G", "sees": ["real"]}],
            "experiments.even.schedule.0.sees: found ['real']; allowed for G",
        ),
        (
            f"{EVEN}/schedule",
            [{"update": "D", "sees": ["real", "same_img"]}],
            "experiments.even.schedule: found same_img first; allowed: real, fresh_z",
        ),
        (
            "experiments/box/schedule",
            [{"update": "G", "sees": ["fresh_z"]}],
            "experiments.box.schedule: found an update of G; allowed for G.kind identity: updates of D",
        ),
        # A row and its data.
        (f"{EVEN}/dataset", "odd", "experiments.even.dataset: found 'odd'; allowed: box, even, faces"),
        (f"{EVEN}/z/dim", 6, "experiments.even.G.widths: found 7 inputs; allowed: 6, z.dim"),
        (f"{EVEN}/G/widths", [7, 6], "experiments.even.G.widths: found 6 outputs; allowed: 7, the size of the data"),
        (f"{EVEN}/D/widths", [6, 1], "experiments.even.D.widths: found 6 inputs; allowed: 7, the size of the data"),
        (f"{EVEN}/D/widths", [7, 2], "experiments.even.D.widths: found 2 outputs; allowed: 1, one logit"),
        ("experiments/box/z/dim", 3, "experiments.box.G: found 3 outputs; allowed: 4, the size of the data"),
        ("experiments/faces/batch", 161, "experiments.faces.batch: found 161; allowed: at most 160 training images"),
        (
            "experiments/faces/D",
            {"kind": "mlp", "widths": [7, 1]},
            "experiments.faces.alarms: found a table; allowed: null for toys",
        ),
        ("experiments/faces/alarms", None, "experiments.faces.alarms: found none; allowed: a table for image GANs"),
        ("experiments/faces/G", {"kind": "mlp", "widths": [16, 7]}, "experiments.faces.G.kind: found 'mlp'; allowed"),
        ("datasets/faces/form/size", 8, None),
        (
            "experiments/faces/variants/hard/alarms",
            {"stop": True},
            "experiments.faces.variants.hard.alarms.stop: found true; allowed: false, seeds have to end together",
        ),
        ("runtime/ranks", {"num": 2, "sync_norm": True}, None),
        ("runtime/ranks", {"num": 1, "sync_norm": True}, "runtime.ranks.num: found 1; allowed: greater than or equal"),
        ("runtime/ranks", {"num": 2}, "runtime.ranks.sync_norm: found nothing; allowed: a value"),
        (
            "runtime/ranks",
            {"num": 3, "sync_norm": True},
            "experiments.faces.batch: found 16; allowed: a multiple of runtime.ranks.num, 3",
        ),
        # Datasets.
        ("datasets/../x", {}, "datasets.../x: found '../x'; allowed: a name of lower-case"),
        ("datasets/even/source/start", 128, "datasets.even.source.start: found 128; allowed: less than stop, 128"),
        ("datasets/even/source/stop", 129, "datasets.even.source.stop: found 129; allowed: at most 128 in these bits"),
        (
            "datasets/box/source/high",
            [1.0, 0.2, 1.0],
            "datasets.box.source.high: found [1.0, 0.2, 1.0]; allowed: one number",
        ),
        ("datasets/even/metrics", "images", "datasets.even.metrics: found 'images'; allowed for bits: 'even'"),
        ("datasets/even/standin_for", "x", "datasets.even.standin_for: found 'x'; allowed for integers: null"),
        (
            "datasets/faces/standin_for",
            None,
            "datasets.faces.standin_for: found None; allowed for drawn: the name of a dataset",
        ),
        ("datasets/faces/standin_for", "../x", "datasets.faces.standin_for: found '../x'"),
        ("datasets/faces/remote", "own", None),
        ("datasets/faces/remote", "public", "datasets.faces.remote: found 'public'; allowed: 'own'"),
        ("datasets/faces/source/size", 33, "datasets.faces.source.size: found 33; allowed: 32 or 64"),
        (
            "datasets/faces/source/subject",
            "cats",
            "datasets.faces.source.subject: found 'cats'; allowed: 'digits', 'faces' or 'anime'",
        ),
        ("datasets/faces/form/channels", 2, "datasets.faces.form.channels: found 2; allowed: 1 or 3"),
        ("datasets/faces/form/crop", 4, "datasets.faces.form.crop: found 4; allowed: greater than"),
        ("datasets/faces/form/unreadable", 1.0, "datasets.faces.form.unreadable: found 1.0; allowed: less than 1"),
        (
            "datasets/faces/form",
            {"kind": "bits", "width": 7},
            "datasets.faces.form.kind: found 'bits'; allowed for drawn: 'images'",
        ),
        # References.
        ("references/../x", SMALL["references"]["even"], "references.../x: found '../x'; allowed: a name of lower"),
        ("references/even", GONE, "references: found no row even; allowed: one each of box, even, faces"),
        ("references/odd", SMALL["references"]["even"], "references: found odd; allowed: just box, even, faces"),
        ("references/faces/num", 81, "references.faces.num: found 81; allowed: at most half of 160 training images"),
        ("references/faces/batch", 8, "references.faces.batch: found 8; allowed: greater than or equal to 9"),
        ("references/faces/batch", 161, "references.faces.batch: found 161; allowed: at most 160 training images"),
        (
            "references/faces",
            {"kind": "draws", "num": 2, "repeats": 2},
            "references.faces.kind: found 'draws'; allowed: 'cnn' or 'inception'",
        ),
        ("references/even", SMALL["references"]["faces"], "references.even.kind: found 'cnn'; allowed: 'draws'"),
        # What is measured, walks among it.
        ("evaluations/faces", GONE, "evaluations: found no row faces; allowed: one each of box, even, faces"),
        ("reports/faces", GONE, "reports: found no row faces; allowed: one each of box, even, faces"),
        ("reports/odd", {"title": "x", "source": "x"}, "reports: found odd; allowed: just box, even, faces"),
        (
            "evaluations/even/milestones",
            [0, 61],
            "evaluations.even.milestones: found [0, 61]; allowed: steps, 60, and the multiples of snapshot_every, 20",
        ),
        ("evaluations/even/milestones", [30], "evaluations.even.milestones: found [30]; allowed: steps, 60, and the"),
        ("evaluations/even/walk", WALK, "evaluations.even.walk: found "),
        ("evaluations/even/variants_num", 50, "evaluations.even.variants_num: found 50; allowed: null for toys"),
        ("evaluations/faces/variants_num", 5, "evaluations.faces.variants_num: found 5; allowed: above 5, for"),
        ("evaluations/faces/variants_num", 6, None),
        (
            "references/faces/num",
            5,
            "references.faces.num: found 5; allowed: above 5, for precision looks at 5 neighbours",
        ),
        ("references/faces/num", 6, None),
        ("evaluations/faces/walk", None, "evaluations.faces.walk: found null; allowed: a value for images"),
        ("evaluations/faces/variants_num", None, "evaluations.faces.variants_num: found null; allowed: a value for"),
        (
            "evaluations/faces/variants_num",
            81,
            "evaluations.faces.variants_num: found 81; allowed: at most half of 160 training images",
        ),
        (
            "evaluations/faces/walk/components",
            [0, 16],
            "evaluations.faces.walk.components: found 16; allowed: 0 to 15, those of z",
        ),
        (
            "evaluations/faces/walk/components",
            [-1],
            "evaluations.faces.walk.components.0: found -1; allowed: greater",
        ),
        ("evaluations/faces/walk/components", [], "evaluations.faces.walk.components: found []; allowed:"),
        ("evaluations/faces/walk/frames", 1, "evaluations.faces.walk.frames: found 1; allowed: greater than or equal"),
        ("evaluations/faces/walk/reach", 0.0, "evaluations.faces.walk.reach: found 0.0; allowed: greater than 0"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(tmp_path: Path, key: str, value: object, wanted: str | None) -> None:
    """`wanted` None: the value is allowed."""
    data = changed((key.replace("/../", "/..;"), value))  # a name with a slash is one key
    data = rewritten(data)
    if wanted is None:
        Params.model_validate(data)
    else:
        assert wanted in said(tmp_path, data)


def rewritten(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.replace("..;", "../"): rewritten(inner) for key, inner in value.items()}
    return value


def test_both_networks_have_to_fit_the_images(tmp_path: Path) -> None:
    for name in ("G", "D"):
        data = changed(("datasets/faces/form/size", 8), (f"experiments/faces/{name}/start", 4))
        wanted = f"experiments.faces.{name}.start: found 4; allowed: at most a fourth of 8 pixels"
        assert wanted in said(tmp_path, data)


MD5 = "e26dedcc434d2e4c54c9b2d4a06d8373"
FILES = [{"name": name, "places": ["x"], "md5": MD5} for name in ("train_32x32.mat", "test_32x32.mat")]
SOURCE = {"kind": "files", "layout": "svhn", "files": FILES}


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("standin_for", None, None),
        (
            "source/files/0/name",
            "train.mat",
            "source.files: found no train_32x32.mat; allowed for svhn: train_32x32.mat, test_32x32.mat",
        ),
        (
            "source/files/0/name",
            "test_32x32.mat",
            "source.files: found test_32x32.mat, test_32x32.mat; allowed: different names",
        ),
        ("source/files/0/name", "../train_32x32.mat", "source.files.0.name: found"),
        ("source/files/1/md5", "e26d", "source.files.1.md5: found 'e26d'"),
        ("source/files", [], "source.files: found []; allowed:"),
        ("source/first", [8000, 2000], None),
        ("source/first", [8000], "source.first: found [8000]; allowed:"),
        ("source/first", [8000, 0], "source.first.1: found 0; allowed:"),
        ("source/content", "170f", "source.content: found '170f'; allowed: 64 hexadecimal digits in lower case"),
        ("source/layout", "cifar", "source.layout: found 'cifar'; allowed: 'mnist', 'svhn', 'celeba', 'images'"),
        ("standin_for", "mnist", "standin_for: found 'mnist'; allowed for files: null"),
    ],
)
def test_files_have_to_fit_their_layout(tmp_path: Path, key: str, value: object, wanted: str | None) -> None:
    data = changed(
        ("datasets/faces/source", SOURCE), ("datasets/faces/standin_for", None), (f"datasets/faces/{key}", value)
    )
    if wanted is None:
        Params.model_validate(data)
    else:
        assert f"datasets.faces.{wanted}" in said(tmp_path, data)


@pytest.mark.parametrize(
    ("content", "wanted"), [(None, "No such file"), (b"\xff\xfe", "UTF-8 text"), (b"", "the file: found None")]
)
def test_unreadable_files_are_named(tmp_path: Path, content: bytes | None, wanted: str) -> None:
    path = tmp_path / "params.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=wanted):
        load(path)
    with pytest.raises(InputError, match=f"^known as: .*{wanted}" if content == b"" else wanted):
        load(path, "known as")


def test_another_walk_is_checked_like_the_rest(small: Params) -> None:
    walk = small.measures["faces"].walk
    assert walk is not None
    found = with_walk(PATH, small, "faces", {"components": [15, 1], "frames": 3})
    assert found.walk == walk.model_copy(update={"components": [15, 1], "frames": 3})
    assert with_walk(PATH, small, "faces", {}) == small.measures["faces"]
    with pytest.raises(InputError, match=r"^params\.yaml: evaluations\.faces\.walk\.components: found 16; allowed"):
        with_walk(PATH, small, "faces", {"components": [16]})
    with pytest.raises(InputError, match=r"frames: found 26; allowed: less than or equal to 25"):
        with_walk(PATH, small, "faces", {"frames": 26})
    with pytest.raises(InputError, match=r"evaluations, with a walk: found no 'even'; allowed: faces"):
        with_walk(PATH, small, "even", {})


def test_snapshot_steps_end_with_the_last(small: Params) -> None:
    changes = {"steps": 50, "snapshot_every": 20}
    assert small.published("even").model_copy(update=changes).snapshot_steps() == [0, 20, 40, 50]
    assert small.published("even").snapshot_steps(30) == [0, 20, 30]


# The rows there are.


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """params.yaml of every scale."""
    folder = tmp_path_factory.mktemp("scales")
    for scale in SCALES:
        compose(scale, folder / f"{scale}.yaml", ROOT / "conf")
    return {scale: folder / f"{scale}.yaml" for scale in SCALES}


@pytest.fixture(scope="module")
def full(composed: dict[str, Path]) -> Params:
    return load(composed["full"])


def test_params_are_the_composed_laptop_scale(composed: dict[str, Path]) -> None:
    assert composed["laptop"].read_text() == (ROOT / "params.yaml").read_text()


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_loads(scale: str, composed: dict[str, Path]) -> None:
    params = load(composed[scale])
    assert params.scale == scale
    assert (params.runtime.device == "cpu") == (scale != "full")
    assert "claims" not in read_yaml(composed[scale])  # a claim in other words measures nothing anew


def test_published_values_stand_in_the_full_scale(full: Params) -> None:
    even, bits, mnist = (full.published(name) for name in ("even", "bits1010", "dcgan-mnist"))
    assert (even.G.widths, even.D.widths, even.batch, even.optimiser.lr) == ([7, 7], [7, 1], 16, 0.001)
    assert (even.loss.kind, even.loss.halves, even.schedule[0].update) == ("bce", "mean", "G")
    assert (bits.G.widths, bits.D.widths, bits.z.low, bits.steps) == ([1, 3, 4], [4, 3, 1], 0.5, 10_000)
    assert [(u.update, u.sees) for u in bits.schedule] == [("D", ["real"]), ("D", ["fresh_z"]), ("G", ["fresh_z"])]
    assert (mnist.G.width, mnist.D.width, mnist.z.dim, mnist.loss.smoothing, mnist.batch) == (128, 64, 100, 0.1, 128)
    assert [u.update for u in mnist.updates] == ["D", "G", "G"]
    assert (mnist.optimiser.lr, mnist.optimiser.beta1) == (0.0002, 0.5)
    svhn, celeba, anime = (full.published(f"dcgan-{name}") for name in ("svhn", "celeba", "anime"))
    same = {"dataset", "seeds", "first_seed", "steps", "snapshot_every"}
    assert svhn.model_dump(exclude=same) == mnist.model_dump(exclude=same)
    assert (mnist.steps, svhn.steps, celeba.steps, anime.steps) == (20 * 468, 20 * 572, 40 * 1271, 100 * 78)
    assert [net.bias for row in (mnist, celeba, anime) for net in (row.G, row.D)] == [True, True, *[False] * 4]
    assert [(row.G.kernel, row.G.start, row.G.project) for row in (mnist, celeba, anime)] == [
        (5, 4, "norm"), (4, 2, "plain"), (4, 4, "norm"),
    ]  # fmt: skip
    assert [(row.z.kind, row.z.dim) for row in (mnist, celeba, anime)] == [
        ("uniform", 100), ("uniform", 100), ("normal", 64),
    ]  # fmt: skip
    assert [row.schedule[-1].sees for row in (celeba, anime)] == [["fresh_z"], ["same_z"]]


def test_the_full_scale_has_the_published_data_and_the_others_say_what_stands_in(full: Params, smoke: Params) -> None:
    layouts = {name: row.source.layout for name, row in full.datasets.items() if row.source.kind == "files"}
    assert layouts == {"mnist": "mnist", "svhn": "svhn", "celeba": "celeba", "anime": "images"}
    assert {row.standin_for for row in full.datasets.values()} == {None}
    assert full.called(row("dcgan-svhn")) == "dcgan-svhn"
    drawn = {row.standin_for for row in smoke.datasets.values() if row.source.kind == "drawn"}
    assert drawn == {"svhn", "celeba", "anime"}
    assert smoke.called(row("dcgan-svhn")) == "dcgan-svhn on drawn-digits"


def test_a_night_has_real_images_and_the_list_of_its_faces(composed: dict[str, Path]) -> None:
    datasets = load(composed["overnight"]).datasets
    assert {row.standin_for for row in datasets.values()} == {None}
    path = ROOT / "conf/images/celeba-listed.txt"
    lines = [line.split(" ") for line in path.read_text().splitlines()]
    assert [file.sha256 for file in datasets["celeba"].source.files if file.name == "listed.txt"] == [sha256(path)]
    assert [name for name, _, _ in lines] == sorted({f"{int(name[:6]):06d}.jpg" for name, _, _ in lines})
    parts = [sum(part == which for _, part, _ in lines) for which in ("0", "1")]
    assert parts == [datasets["celeba"].form.train, datasets["celeba"].form.heldout]
    assert all((int(name[:6]) <= 20_000) == (counts == "1") for name, _, counts in lines)
    assert all(part == "1" for name, part, _ in lines if int(name[:6]) > 162_770)  # official validation and test
    assert datasets["svhn"].source.first == [datasets["svhn"].form.train, datasets["svhn"].form.heldout]


@pytest.mark.parametrize("scale", ["laptop", "overnight", "full"])
def test_every_variant_changes_what_its_name_says(composed: dict[str, Path], scale: str) -> None:
    params = load(composed[scale])
    rows = {str(row): experiment for row, experiment in params.rows.items()}
    right = {
        "dcgan-mnist/hard-labels": rows["dcgan-mnist/hard-labels"].loss.smoothing == 0,
        "dcgan-mnist/relu": rows["dcgan-mnist/relu"].D.slope == 0,
        "dcgan-mnist/one-g": [u.update for u in rows["dcgan-mnist/one-g"].updates] == ["D", "G"],
        "bits1010/d-alone": rows["bits1010/d-alone"].G.kind == "identity",
        "bits1010/input-0-05": rows["bits1010/input-0-05"].z.low == 0.05,
        "bits1010/input-5": rows["bits1010/input-5"].z.low == 5,
        "bits1010/input-50": rows["bits1010/input-50"].z.low == 50,
        "even/fast": rows["even/fast"].optimiser.lr == 0.01,
    }
    if scale != "laptop":
        right["dcgan-mnist/gaussian-z"] = rows["dcgan-mnist/gaussian-z"].z.kind == "normal"
        for name, updates in {"ten-d": ["D"] * 10 + ["G"], "ten-g": ["D"] + ["G"] * 10}.items():
            right[f"dcgan-mnist/{name}"] = [u.update for u in rows[f"dcgan-mnist/{name}"].updates] == updates
    assert [name for name, is_so in right.items() if not is_so] == []
    published, control = rows["dcgan-mnist"], rows["dcgan-mnist/control"]
    length = {key: getattr(control, key) for key in ("seeds", "steps", "snapshot_every")}
    for name, key in {"hard-labels": "loss", "relu": "D", "gaussian-z": "z", "one-g": "schedule"}.items():
        if f"dcgan-mnist/{name}" in rows:
            changes = rows[f"dcgan-mnist/{name}"]
            assert changes.model_copy(update={key: getattr(control, key), **length}) == control, name
    for name in {"dcgan-mnist/ten-d", "dcgan-mnist/ten-g"} & rows.keys():
        assert rows[name].model_copy(update={"schedule": control.schedule, **length}) == control, name
    assert (control.loss, control.schedule, control.z) == (published.loss, published.schedule, published.z)
