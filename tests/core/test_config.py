from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT, compose
from ruamel.yaml import YAML

from repligan.core import config
from repligan.core.errors import InputError


@pytest.fixture(scope="module")
def full_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compose("full", tmp_path_factory.mktemp("full") / "params.yaml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("lr: 0.0002", "lr: fast", "experiments.dcgan-mnist.optimiser.lr: found 'fast'; allowed: a valid number"),
        ("lr: 0.0002", "lr: 2", "experiments.dcgan-mnist.optimiser.lr: found 2; allowed: less than 1"),
        ("lr: 0.0002", "lr: .nan", "experiments.dcgan-mnist.optimiser.lr: found nan; allowed: less than 1"),
        ("batch: 16\n    steps: 60", "batch: -1\n    steps: 60", "experiments.even.batch: found -1; allowed: greater"),
        (
            "batch: 16\n    steps: 60",
            "batch: 1.5\n    steps: 60",
            "experiments.even.batch: found 1.5; allowed: a valid int",
        ),
        (
            "beta1: 0.9\n",
            "beta3: 0.9\n",
            "experiments.even.optimiser.beta3: found an unknown key; allowed: kind, lr, beta1",
        ),
        ("    steps: 60\n", "", "experiments.even.steps: found nothing; allowed: a value, every key is required"),
        ("kind: mlp", "kind: mpl", "experiments.even.G.kind: found 'mpl'; allowed: 'mlp', 'dcgan', 'identity'"),
        ("- same_img", "- same", "experiments.even.schedule.1.sees.1: found 'same'; allowed: 'real', 'fresh_z'"),
        ("dataset: even", "dataset: odd", "experiments.even.dataset: found 'odd'; allowed: bits1010, drawn-anime"),
        ("device: cpu", "device: gpu", "runtime.device: found 'gpu'; allowed: 'cpu', 'cuda' or 'auto'"),
        (
            "update: G\n      sees:\n      - fresh_z",
            "update: G\n      sees:\n      - real",
            "found ['real']; allowed for G",
        ),
        ("dim: 7", "dim: 6", "experiments.even.G.widths: found 7 inputs; allowed: z.dim, 6"),
        (
            "size: 32",
            "size: 8",
            "experiments.dcgan-mnist.G.start: found 4; allowed: at most a fourth of 8 pixels",
        ),
        ("seeds: 1\n", "seeds: 3\n", "experiments.dcgan-mnist.seeds: found 3; allowed: 1 for a convolutional GAN"),
        (
            "- 60\n",
            "- 61\n",
            "reports.even.milestones: found [0, 61]; allowed: steps, 60, and the multiples of snapshot_every, 20",
        ),
        (
            "  even:\n    kind: draws",
            "  odd:\n    kind: draws",
            "references: found no row even; allowed: one each of bits1010,",
        ),
        ("scale: smoke", "scale: [", "line"),
        (
            "  mnist:\n    source",
            "  ../mnist:\n    source",
            "datasets.../mnist: found '../mnist'; allowed: a name of lower-case",
        ),
        ("- 7\n      - 7", "- 7\n      - 6", "experiments.even.G: found 6 outputs; allowed: 7, the size of even"),
        ("- 7\n      - 1", "- 6\n      - 1", "experiments.even.D.widths: found 6 inputs; allowed: 7, the size of even"),
        ("kind: uniform\n      dim: 4", "kind: uniform\n      dim: 3", "d-alone.G: found 3 outputs; allowed: 4"),
        ("log_every: 10", "log_every: 61", "experiments.even.log_every: found 61; allowed: at most steps, 60"),
        ("start: 0", "start: 128", "datasets.even.source.start: found 128; allowed: less than stop, 128"),
        ("stop: 128", "stop: 129", "datasets.even.source.stop: found 129; allowed: at most 128 in these bits"),
        (
            "      - 0.2\n    form",
            "    form",
            "datasets.bits1010.source.high: found [1.0, 0.2, 1.0]; allowed: one number",
        ),
        ("channels: 1", "channels: 2", "datasets.mnist.form.channels: found 2; allowed: 1 or 3"),
        ("num: 64", "num: 81", "references.mnist.num: found 81; allowed: at most half of 160 training images"),
        ("batch: 64", "batch: 161", "references.mnist.batch: found 161; allowed: at most 160 training images"),
        ("  default:\n", "  defaults:\n", "bands: found class_tv, defaults, fd_; allowed: default"),
    ],
)
def test_bad_values_are_named(smoke_file: Path, tmp_path: Path, old: str, new: str, said: str) -> None:
    text = smoke_file.read_text()
    assert old in text
    bad = tmp_path / "params.yaml"
    bad.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as error:
        config.load(bad)
    assert error.value.message.startswith(f"{bad}: ")
    assert said in error.value.message
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), (b"\xff\xfe", "UTF-8 text"), (b"", "the file: found None")]
)
def test_unreadable_files_are_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "params.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        config.load(path)


def test_params_are_the_composed_laptop_scale(tmp_path: Path) -> None:
    composed = compose("laptop", tmp_path / "params.yaml")
    assert composed.read_text() == (ROOT / "params.yaml").read_text()


@pytest.mark.parametrize("scale", ["smoke", "laptop", "full"])
def test_every_scale_loads(scale: str, tmp_path: Path) -> None:
    params = config.load(compose(scale, tmp_path / "params.yaml"))
    assert params.scale == scale
    assert (params.runtime.device == "cpu") == (scale != "full")


def test_pick_lists_what_there_is(smoke: config.Params) -> None:
    assert config.pick(smoke.experiments, "experiments", "even") is smoke.experiments["even"]
    with pytest.raises(
        InputError, match=r"experiments: found no 'odd'; allowed: bits1010, bits1010-d-alone, dcgan-anime"
    ):
        config.pick(smoke.experiments, "experiments", "odd")


def test_published_values_stand_in_the_full_scale(full_file: Path) -> None:
    rows = config.load(full_file).experiments
    even, bits, mnist = rows["even"], rows["bits1010"], rows["dcgan-mnist"]
    assert (even.G.widths, even.D.widths, even.batch, even.optimiser.lr) == ([7, 7], [7, 1], 16, 0.001)
    assert (even.loss.kind, even.loss.halves, even.schedule[0].update) == ("bce", "mean", "G")
    assert (bits.G.widths, bits.D.widths, bits.z.low, bits.steps) == ([1, 3, 4], [4, 3, 1], 0.5, 10_000)
    assert [(u.update, u.sees) for u in bits.schedule] == [("D", ["real"]), ("D", ["fresh_z"]), ("G", ["fresh_z"])]
    assert (mnist.G.width, mnist.D.width, mnist.z.dim, mnist.loss.smoothing, mnist.batch) == (128, 64, 100, 0.1, 128)
    assert [u.update for u in mnist.schedule] == ["D", "G", "G"]
    assert (mnist.optimiser.lr, mnist.optimiser.beta1) == (0.0002, 0.5)
    svhn, celeba, anime = (rows[f"dcgan-{name}"] for name in ("svhn", "celeba", "anime"))
    same = {"dataset", "steps", "snapshot_every"}
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


def test_full_scale_has_the_published_data_and_the_others_say_what_stands_in(
    full_file: Path, smoke: config.Params
) -> None:
    full = config.load(full_file)
    layouts = {name: row.source.layout for name, row in full.datasets.items() if row.source.kind == "files"}
    assert layouts == {"mnist": "mnist", "svhn": "svhn", "celeba": "celeba", "anime": "images"}
    assert {row.standin_for for row in full.datasets.values()} == {None}
    drawn = {row.standin_for for row in smoke.datasets.values() if row.source.kind == "drawn"}
    assert drawn == {"svhn", "celeba", "anime"}


def test_an_experiment_on_a_stand_in_is_called_so(full_file: Path, smoke: config.Params) -> None:
    assert smoke.called("dcgan-svhn") == "dcgan-svhn on drawn-digits"
    assert [smoke.called(name) for name in ("even", "dcgan-mnist")] == ["even", "dcgan-mnist"]
    assert config.load(full_file).called("dcgan-svhn") == "dcgan-svhn"


FILES = ("datasets", "svhn", "source", "files")
DRAWN = ("datasets", "drawn-digits")
WALK = ("explorations", "dcgan-anime")


@pytest.mark.parametrize(
    ("scale", "keys", "value", "said"),
    [
        (
            "full",
            (*FILES, 0, "name"),
            "train.mat",
            "datasets.svhn.source.files: found no train_32x32.mat; allowed for svhn: train_32x32.mat, test_32x32.mat",
        ),
        (
            "full",
            (*FILES, 0, "name"),
            "test_32x32.mat",
            "datasets.svhn.source.files: found test_32x32.mat, test_32x32.mat; allowed: different names",
        ),
        ("full", (*FILES, 0, "name"), "../train_32x32.mat", "datasets.svhn.source.files.0.name: found"),
        ("full", (*FILES, 0, "name"), "a/b.mat", "datasets.svhn.source.files.0.name: found"),
        ("full", (*FILES, 0, "name"), ".hidden", "datasets.svhn.source.files.0.name: found"),
        ("full", (*FILES, 0, "md5"), "e26d", "datasets.svhn.source.files.0.md5: found"),
        ("full", (*FILES, 0, "md5"), "E26DEDCC434D2E4C54C9B2D4A06D8373", "datasets.svhn.source.files.0.md5: found"),
        ("full", (*FILES, 0, "sha256"), "0" * 63, "datasets.svhn.source.files.0.sha256: found"),
        ("full", (*FILES, 0, "size"), 0, "datasets.svhn.source.files.0.size: found 0; allowed: greater than"),
        ("full", (*FILES, 0, "places"), [], "datasets.svhn.source.files.0.places: found []; allowed:"),
        ("full", (*FILES, 0, "place"), "x", "datasets.svhn.source.files.0.place: found an unknown key; allowed: name"),
        ("full", FILES, [], "datasets.svhn.source.files: found []; allowed:"),
        ("full", ("datasets", "svhn", "source", "layout"), "cifar", "found 'cifar'; allowed: 'mnist', 'svhn'"),
        (
            "full",
            ("datasets", "svhn", "standin_for"),
            "mnist",
            "datasets.svhn.standin_for: found 'mnist'; allowed for files: null",
        ),
        (
            "smoke",
            (*DRAWN, "standin_for"),
            None,
            "datasets.drawn-digits.standin_for: found None; allowed for drawn: the name of a dataset",
        ),
        ("smoke", ("datasets", "even", "standin_for"), "x", "datasets.even.standin_for: found 'x'; allowed for int"),
        ("smoke", (*DRAWN, "standin_for"), "../x", "datasets.drawn-digits.standin_for: found '../x'"),
        ("smoke", (*DRAWN, "source", "size"), 33, "datasets.drawn-digits.source.size: found 33; allowed: 32 or 64"),
        ("smoke", (*DRAWN, "source", "subject"), "cats", "found 'cats'; allowed: 'digits', 'faces' or 'anime'"),
        ("smoke", (*DRAWN, "form", "crop"), 4, "datasets.drawn-digits.form.crop: found 4; allowed: greater than"),
        ("smoke", (*DRAWN, "form", "unreadable"), 1.0, "form.unreadable: found 1.0; allowed: less than 1"),
        (
            "smoke",
            (*DRAWN, "form"),
            {"kind": "bits", "width": 7},
            "datasets.drawn-digits.form.kind: found 'bits'; allowed for drawn: 'images'",
        ),
        ("smoke", WALK, None, "explorations: found no row dcgan-anime; allowed: one each of dcgan-anime,"),
        (
            "smoke",
            ("explorations", "even"),
            "copy",
            "explorations: found even; allowed: just dcgan-anime, dcgan-celeba",
        ),
        (
            "smoke",
            (*WALK, "dataset"),
            "mnist",
            "explorations.dcgan-anime.dataset: found 'mnist'; allowed: that of the experiment, 'drawn-anime'",
        ),
        (
            "smoke",
            (*WALK, "components"),
            [0, 64],
            "explorations.dcgan-anime.components: found 64; allowed: 0 to 63",
        ),
        ("smoke", (*WALK, "components"), [-1], "explorations.dcgan-anime.components.0: found -1; allowed: greater"),
        ("smoke", (*WALK, "components"), [], "explorations.dcgan-anime.components: found []; allowed:"),
        ("smoke", (*WALK, "frames"), 1, "explorations.dcgan-anime.frames: found 1; allowed: greater than or equal"),
        ("smoke", (*WALK, "reach"), 0.0, "explorations.dcgan-anime.reach: found 0.0; allowed: greater than 0"),
        (
            "smoke",
            ("experiments", "dcgan-celeba", "D", "start"),
            3,
            "experiments.dcgan-celeba.D.start: found 3; allowed: 2 or 4",
        ),
        (
            "smoke",
            ("datasets", "drawn-faces", "form", "size"),
            8,
            None,
        ),
        (
            "smoke",
            ("datasets", "mnist", "form", "size"),
            8,
            "experiments.dcgan-mnist.G.start: found 4; allowed: at most a fourth of 8 pixels",
        ),
        (
            "smoke",
            ("experiments", "dcgan-mnist", "D"),
            {"kind": "mlp", "widths": [7, 1]},
            "experiments.dcgan-mnist.alarms: found a table; allowed: null for toys",
        ),
        (
            "smoke",
            ("references", "mnist"),
            {"kind": "draws", "num": 2, "repeats": 2},
            "found 'draws'; allowed: 'cnn' or",
        ),
    ],
)
def test_bad_values_of_data_and_walks_are_named(
    smoke_file: Path,
    full_file: Path,
    tmp_path: Path,
    scale: str,
    keys: tuple[str | int, ...],
    value: object,
    said: str | None,
) -> None:
    """`said` None: the value is allowed."""
    yaml = YAML(typ="safe")
    data = yaml.load(full_file if scale == "full" else smoke_file)
    row = data
    for key in keys[:-1]:
        row = row[key]
    if keys == WALK:
        del row[keys[-1]]
    else:
        row[keys[-1]] = dict(row["dcgan-mnist"]) if value == "copy" else value
    path = tmp_path / "params.yaml"
    yaml.dump(data, path)
    if said is None:
        config.load(path)
        return
    with pytest.raises(InputError) as error:
        config.load(path)
    assert error.value.message.startswith(f"{path}: ")
    assert said in error.value.message
    assert "\n" not in error.value.message


def test_the_start_of_D_has_to_fit_the_images_too(smoke: config.Params) -> None:
    row = smoke.experiments["dcgan-celeba"]
    data = smoke.model_dump()
    data["datasets"]["drawn-faces"]["form"]["size"] = 8
    config.Params.model_validate(data)
    data["experiments"]["dcgan-celeba"]["D"] = row.D.model_dump() | {"start": 4}
    with pytest.raises(ValueError, match=r"dcgan-celeba\.D\.start: found 4; allowed: at most a fourth of 8 pixels"):
        config.Params.model_validate(data)


def test_another_exploration_is_checked_like_the_rest(smoke: config.Params) -> None:
    path, name = Path("params.yaml"), "dcgan-anime"
    row = config.with_exploration(path, smoke, name, {"components": [63, 1], "frames": 3})
    assert row == smoke.explorations[name].model_copy(update={"components": [63, 1], "frames": 3})
    assert config.with_exploration(path, smoke, name, {}) == smoke.explorations[name]
    with pytest.raises(InputError, match=r"components: found 64; allowed: 0 to 63"):
        config.with_exploration(path, smoke, name, {"components": [64]})
    with pytest.raises(InputError, match=r"frames: found 26; allowed: less than or equal to 25"):
        config.with_exploration(path, smoke, name, {"frames": 26})
    with pytest.raises(InputError, match=r"explorations: found no 'even'; allowed: dcgan-anime, dcgan-celeba"):
        config.with_exploration(path, smoke, "even", {})


def test_snapshot_steps_end_with_the_last(smoke: config.Params) -> None:
    row = smoke.experiments["even"]
    assert row.model_copy(update={"steps": 50, "snapshot_every": 20}).snapshot_steps() == [0, 20, 40, 50]


def test_fingerprint_changes_with_any_value() -> None:
    assert config.fingerprint({"a": 1, "b": 2}) == config.fingerprint({"b": 2, "a": 1})
    assert config.fingerprint({"a": 1}) != config.fingerprint({"a": 2})


def test_flatten_gives_dotted_leaves() -> None:
    assert dict(config.flatten({"a": {"b": 1, "c": [2]}, "d": 3})) == {"a.b": 1, "a.c": [2], "d": 3}


def test_an_ablation_is_the_experiment_with_its_changes(smoke: config.Params) -> None:
    base, row = smoke.experiments["dcgan-mnist"], smoke.row("dcgan-mnist/hard-labels")
    assert (row.loss.smoothing, base.loss.smoothing) == (0.0, 0.1)
    assert (row.loss.kind, row.G, row.schedule) == (base.loss.kind, base.G, base.schedule)
    assert (row.seeds, row.steps, row.threads) == (2, 4, 1)  # the budget's
    assert smoke.row("even") == smoke.experiments["even"]
    assert smoke.has("even/fast")
    assert not any(smoke.has(name) for name in ("odd", "even/slow", "odd/fast", "dcgan-svhn/as-published"))


@pytest.mark.parametrize("scale", ["laptop", "full"])
def test_every_ablation_that_the_claims_need_is_there(tmp_path: Path, scale: str) -> None:
    params = config.load(compose(scale, tmp_path / "params.yaml"))
    names = [f"{base}/{row}" for base, group in params.ablations.items() for row in group.rows]
    rows = {name: params.row(name) for name in names}
    changed = {
        "dcgan-mnist/hard-labels": rows["dcgan-mnist/hard-labels"].loss.smoothing == 0,
        "dcgan-mnist/relu": rows["dcgan-mnist/relu"].D.slope == 0,
        "dcgan-mnist/gaussian-z": rows["dcgan-mnist/gaussian-z"].z.kind == "normal",
        "dcgan-mnist/one-g": [u.update for u in rows["dcgan-mnist/one-g"].updates] == ["D", "G"],
        "dcgan-mnist/ten-d": [u.update for u in rows["dcgan-mnist/ten-d"].updates] == ["D"] * 10 + ["G"],
        "dcgan-mnist/ten-g": [u.update for u in rows["dcgan-mnist/ten-g"].updates] == ["D"] + ["G"] * 10,
        "bits1010/input-0-05": rows["bits1010/input-0-05"].z.low == 0.05,
        "bits1010/input-5": rows["bits1010/input-5"].z.low == 5,
        "bits1010/input-50": rows["bits1010/input-50"].z.low == 50,
        "even/fast": rows["even/fast"].optimiser.lr == 0.01,
    }
    assert [name for name, is_so in changed.items() if not is_so] == []
    assert rows.keys() - changed == {f"{base}/as-published" for base in ("dcgan-mnist", "dcgan-svhn", "dcgan-celeba")}
    needed = {row for claim in params.claims.values() for test in claim.tests for row in test.rows}
    assert [row for row in needed if not params.has(row)] == []
    assert len(params.claims) == 24
    assert all(params.decides(claim) for claim in params.claims.values()) == (scale == "full")
