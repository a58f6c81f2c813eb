"""A step on fixed tensors is the step itself; on a GPU, where there is one, its graph is too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import pytest
import torch
from test_loop import CRITIC, MNIST, StopAt, make, train

from repligan.core import runtime
from repligan.core.errors import Fault
from repligan.core.runtime import Runtime
from repligan.params import Params
from repligan.training import loop
from repligan.training.graphs import Replayed, refused_in_one_line
from repligan.training.rows import Experiment, RowId

IMAGES = ["dcgan-mnist", "dcgan-svhn", "dcgan-celeba", "dcgan-anime"]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def replayed(training: loop.Training) -> loop.Training:
    """The same training, each step of which sees its draws in tensors that stay where they are."""
    training.run = Replayed(training.name, training.run, training.trained().values())
    return training


@pytest.mark.parametrize(
    ("row", "changes"), [*((RowId(experiment=name), {}) for name in IMAGES), (MNIST, CRITIC)], ids=str
)
def test_a_step_on_fixed_tensors_is_the_same_bits_also_when_continued(
    smoke: Params, processed: Path, tmp_path: Path, row: RowId, changes: dict[str, object]
) -> None:
    def made() -> loop.Training:
        return make(smoke, processed, row, **changes, batch=4, steps=3, log_every=1, snapshot_every=3)

    whole = train(made(), tmp_path / "whole")
    with pytest.raises(SystemExit):
        train(replayed(made()), tmp_path / "parts", StopAt(2))
    assert train(replayed(made()), tmp_path / "parts") == whole


def test_the_tensors_stay_and_their_content_goes_on(smoke: Params, processed: Path) -> None:
    training = replayed(make(smoke, processed, MNIST, **CRITIC))
    seen = []
    for _ in range(2):
        drawn = loop.draw(training)
        loop.train_step(training)
        assert isinstance(training.run, Replayed)
        inputs = list(chain(*training.run.inputs))
        assert len(inputs) == 2 + 3 + 2  # D sees two real batches, both networks three z, D two mixtures
        assert all(torch.equal(x, wanted) for x, wanted in zip(inputs, chain(*drawn), strict=True))
        seen.append([x.data_ptr() for x in inputs])
    assert seen[0] == seen[1]


def test_a_step_changes_in_place_what_a_graph_must_restore(smoke: Params, processed: Path) -> None:
    """A graph writes to the addresses that it was recorded with; its warm-up is taken back."""
    training = make(smoke, processed, MNIST)
    before = {key: (value.data_ptr(), value.clone()) for key, value in training.trained().items()}
    loop.train_step(training)
    after = training.trained()
    assert [value.data_ptr() for value in after.values()] == [address for address, _ in before.values()]
    same = [key for key, value in after.items() if torch.equal(value, before[key][1])]
    assert not same
    training.load_state(training.step, {key: value for key, (_, value) in before.items()})
    assert [value.data_ptr() for value in training.trained().values()] == [address for address, _ in before.values()]


def test_what_cannot_be_recorded_is_told_in_one_line() -> None:
    with pytest.raises(Fault) as told, refused_in_one_line("even seed 0"):
        try:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nCompile with TORCH_USE_")
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
    assert told.value.message.startswith(
        "even seed 0: found a step that cannot be a CUDA graph (CUDA error: operation not permitted when stream is "
        "capturing); allowed in networks and losses: operations on the GPU alone"
    )
    assert "\n" not in told.value.message


@pytest.fixture(params=["portable", "fast"])
def on_gpu(request: pytest.FixtureRequest) -> Iterator[Callable[[Params, Path, str], loop.Training]]:
    set_up = Runtime(device="cuda", precision=request.param, deterministic=True)
    threads = torch.get_num_threads()
    device = runtime.device(set_up, 1)

    def start(params: Params, processed: Path, name: str, changes: dict[str, object] | None = None) -> loop.Training:
        row = Experiment.model_validate(params.published(name).model_dump() | (changes or {}))
        form, seeds = params.datasets[row.dataset].form, range(row.seeds) if row.stacked else [0]
        return loop.start(name, row, form, processed / row.dataset, seeds, device, set_up.precision)

    yield start
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@needs_gpu
@pytest.mark.parametrize(
    ("name", "changes"), [*((name, {}) for name in ("even", "bits1010", *IMAGES)), ("dcgan-mnist", CRITIC)], ids=str
)
def test_a_graph_is_the_eager_step(  # type: ignore[no-untyped-def]
    smoke: Params, processed: Path, on_gpu, name: str, changes: dict[str, object]
) -> None:
    graph, again, eager = (on_gpu(smoke, processed, name, changes) for _ in range(3))
    assert isinstance(graph.run, Replayed)
    eager.run = eager.run.step
    for _ in range(4):
        told = [loop.summarised(one, loop.train_step(one)) for one in (graph, again, eager)]
        for key, value in told[0].items():
            assert torch.equal(value, told[1][key]), key  # deterministic: two runs are the same bits
            torch.testing.assert_close(value, told[2][key], rtol=1e-5, atol=1e-5)
    # Not the eager one's: a bias before batch normalisation has no gradient but rounding, which Adam blows up.
    for key, value in graph.trained().items():
        assert torch.equal(value, again.trained()[key]), key


@needs_gpu
def test_a_training_on_a_gpu_goes_on_to_the_same_bits(  # type: ignore[no-untyped-def]
    smoke: Params, processed: Path, tmp_path: Path, on_gpu
) -> None:
    whole = train(on_gpu(smoke, processed, "dcgan-mnist"), tmp_path / "whole")
    with pytest.raises(SystemExit):
        train(on_gpu(smoke, processed, "dcgan-mnist"), tmp_path / "parts", StopAt(5))
    assert train(on_gpu(smoke, processed, "dcgan-mnist"), tmp_path / "parts") == whole


@needs_gpu
def test_images_on_a_gpu_are_those_of_the_cpu(smoke: Params, processed: Path, on_gpu) -> None:  # type: ignore[no-untyped-def]
    training, here = on_gpu(smoke, processed, "dcgan-mnist"), make(smoke, processed, MNIST)
    assert training.real.resident.is_cuda
    for i in (0, 1, 25):
        torch.testing.assert_close(training.real[i].cpu(), here.real[i], rtol=0, atol=1e-6)
        assert torch.equal(training.noise[i], here.noise[i])


@needs_gpu
def test_a_step_that_reads_back_is_refused() -> None:
    weight = torch.zeros((), device="cuda")
    step = Replayed("x", lambda drawn, told: weight.add_(drawn[0][0].sum().item()), [weight])
    with pytest.raises(Fault, match="x: found a step that cannot be a CUDA graph"):
        step([[torch.ones(2, device="cuda")]], True)
    assert weight.item() == 0
