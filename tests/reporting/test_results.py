from __future__ import annotations

import json
from pathlib import Path

import pytest
from outputs import MEASURED, make

from repligan.core.errors import InputError
from repligan.reporting import results


def test_an_experiment_is_read_with_its_variants(tmp_path: Path) -> None:
    made = make(tmp_path)
    toy, pictures = results.read(made.params, made.data, made.reports)
    assert (toy.name, toy.called, pictures.called) == ("toy", "toy", "pictures on squares")
    assert tuple(toy.measured) == MEASURED["toy"]
    assert sorted(toy.pictures) == [0, 10, 20]
    assert not toy.walks
    assert "arithmetic" in pictures.walks
    variants = {variant.name: variant for variant in toy.variants}
    assert sorted(variants) == ["fast", "fast-few"]
    assert (variants["fast-few"].seeds, variants["fast-few"].step) == (3, 20)
    assert variants["fast"].measured.keys() == set(MEASURED["toy"])


def test_a_variant_without_measurements_has_losses_only() -> None:
    found = results._variant("alone", {"seeds": 2, "end": {"loss_D": {"mean": 1.0}}})
    assert (found.step, found.measured, found.end) == (None, {}, {"loss_D": {"mean": 1.0}})


@pytest.mark.parametrize("lost", ["variants", "step_20", "end"])
def test_metrics_of_other_params_are_refused(tmp_path: Path, lost: str) -> None:
    made = make(tmp_path)
    file = made.reports / "metrics" / "toy.json"
    found = json.loads(file.read_text())
    del found[lost]
    file.write_text(json.dumps(found))
    with pytest.raises(InputError, match=r"toy.json: damaged .*; run `dvc repro` to make it again"):
        results.read(made.params, made.data, made.reports)
