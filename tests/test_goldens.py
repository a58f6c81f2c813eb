from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest

from repligan import goldens
from repligan.core.rows import Strict
from repligan.data.rows import Dataset, Form
from repligan.evaluation.rows import InceptionReference, Reference
from repligan.params import load
from repligan.training.rows import Experiment


def choices(annotation: Any, where: str) -> Iterator[object]:
    """All that a row leaves a choice of: each type of row, and each value of a Literal with its place."""
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        yield annotation
        for name, field in annotation.model_fields.items():
            yield from choices(field.annotation, f"{annotation.__name__}.{name}")
    elif get_origin(annotation) is Literal:
        yield from ((where, value) for value in get_args(annotation))
    elif get_origin(annotation) in (Annotated, Union, UnionType, list):
        for inner in get_args(annotation)[: 1 if get_origin(annotation) is Annotated else None]:
            yield from choices(inner, where)


def made(value: Any, where: str) -> Iterator[object]:
    """What was chosen in a row."""
    if isinstance(value, Strict):
        yield type(value)
        for name in type(value).model_fields:
            yield from made(getattr(value, name), f"{type(value).__name__}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from made(inner, where)
    else:
        yield where, value


def test_every_choice_that_decides_bits_is_in_a_golden_trial() -> None:
    params = load(goldens.ROWS)
    rows = [*params.rows.values(), *params.references.values(), *(one.form for one in params.datasets.values())]
    found = {choice for row in rows for choice in made(row, "")}
    wanted = {choice for union in (Experiment, Form, Reference) for choice in choices(union, "")}
    sizes = {("ImagesForm.size", size) for size in (8, 64, 128)}  # the same code as 16 and 32
    left_out = {InceptionReference, ("InceptionReference.kind", "inception"), ("Alarms.stop", True)}
    files = {choice for choice in wanted if "File" in str(choice)}  # of the weights of Inception
    assert wanted - sizes - left_out - files <= found


def test_every_set_of_metrics_is_in_a_golden_trial() -> None:
    kinds = get_args(Dataset.model_fields["metrics"].annotation)
    assert set(kinds) == {dataset.metrics for dataset in load(goldens.ROWS).datasets.values()}


def test_the_golden_trials_have_the_committed_hashes() -> None:
    """Where another version of a library moved them: `python -m repligan.goldens`."""
    assert goldens.differing() == []


@pytest.mark.parametrize(
    ("names", "said"), [([], ""), (["training even", "training box"], "training even\ntraining box\n")]
)
def test_check_names_what_differs(
    names: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(goldens, "differing", lambda: names)
    goldens.main(["check"])
    assert capsys.readouterr().out == said
