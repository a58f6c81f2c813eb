from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT, compose

from repligan import config
from repligan.errors import InputError


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
        ("kind: mlp", "kind: mpl", "experiments.even.G.kind: found 'mpl'; allowed: 'mlp', 'dcgan5x5', 'identity'"),
        ("- same_img", "- same", "experiments.even.schedule.1.sees.1: found 'same'; allowed: 'real', 'fresh_z'"),
        ("dataset: even", "dataset: odd", "experiments.even.dataset: found 'odd'; allowed: bits1010, even, mnist"),
        ("device: cpu", "device: gpu", "runtime.device: found 'gpu'; allowed: 'cpu', 'cuda' or 'auto'"),
        (
            "update: G\n      sees:\n      - fresh_z",
            "update: G\n      sees:\n      - real",
            "found ['real']; allowed for G",
        ),
        ("dim: 7", "dim: 6", "experiments.even.G.widths: found 7 inputs; allowed: z.dim, 6"),
        (
            "size: 32",
            "size: 64",
            "experiments.dcgan-mnist.G: found 'dcgan5x5' for size 64; allowed: dcgan5x5 for size 32",
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
            "references: found bits1010, mnist, odd; allowed: just",
        ),
        ("scale: smoke", "scale: [", "line"),
        (
            "  mnist:\n    source",
            "  ../mnist:\n    source",
            "datasets.../mnist: found the name '../mnist'; allowed: lower-case",
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
        ("channels: 1", "channels: 3", "datasets.mnist.form.channels: found 3; allowed for mnist: 1"),
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
        InputError, match=r"experiments: found no 'odd'; allowed: bits1010, bits1010-d-alone, dcgan-mnist"
    ):
        config.pick(smoke.experiments, "experiments", "odd")


def test_published_values_stand_in_the_full_scale(tmp_path: Path) -> None:
    rows = config.load(compose("full", tmp_path / "params.yaml")).experiments
    even, bits, mnist = rows["even"], rows["bits1010"], rows["dcgan-mnist"]
    assert (even.G.widths, even.D.widths, even.batch, even.optimiser.lr) == ([7, 7], [7, 1], 16, 0.001)
    assert (even.loss.kind, even.loss.halves, even.schedule[0].update) == ("bce", "mean", "G")
    assert (bits.G.widths, bits.D.widths, bits.z.low, bits.steps) == ([1, 3, 4], [4, 3, 1], 0.5, 10_000)
    assert [(u.update, u.sees) for u in bits.schedule] == [("D", ["real"]), ("D", ["fresh_z"]), ("G", ["fresh_z"])]
    assert (mnist.G.width, mnist.D.width, mnist.z.dim, mnist.loss.smoothing, mnist.batch) == (64, 64, 100, 0.1, 128)
    assert [u.update for u in mnist.schedule] == ["D", "G", "G"]
    assert (mnist.optimiser.lr, mnist.optimiser.beta1) == (0.0002, 0.5)


def test_snapshot_steps_end_with_the_last(smoke: config.Params) -> None:
    row = smoke.experiments["even"]
    assert row.model_copy(update={"steps": 50, "snapshot_every": 20}).snapshot_steps() == [0, 20, 40, 50]


def test_fingerprint_changes_with_any_value() -> None:
    assert config.fingerprint({"a": 1, "b": 2}) == config.fingerprint({"b": 2, "a": 1})
    assert config.fingerprint({"a": 1}) != config.fingerprint({"a": 2})


def test_flatten_gives_dotted_leaves() -> None:
    assert dict(config.flatten({"a": {"b": 1, "c": [2]}, "d": 3})) == {"a.b": 1, "a.c": [2], "d": 3}
