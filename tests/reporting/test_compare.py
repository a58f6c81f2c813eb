from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from outputs import make

from repligan.reporting.compare import CARD, column, comparable
from repligan.reporting.results import Result


@pytest.fixture
def result(tmp_path: Path) -> Result:
    metrics: dict[str, Any] = {
        "protocol": dict.fromkeys(CARD, "the same"),
        "model": {"step": 12},
        "best": {"step": 8, "kid": {"mean": 0.5}},
    }
    params = make(tmp_path).params
    row, report = params.published("pictures"), params.reports["pictures"]
    return Result("a", "a", row, report, [], metrics, pd.DataFrame(), pd.DataFrame(), {}, {}, {})


def other(result: Result, **changed: object) -> Result:
    return replace(result, metrics=result.metrics | {"protocol": result.metrics["protocol"] | changed})


def test_the_same_card_shares_a_column(result: Result) -> None:
    again = other(result, seeds="draws 5 to 9")
    assert column([result, again], "kid", "best") == [{"mean": 0.5}] * 2
    assert comparable([result, again]) == [[result, again]]


@pytest.mark.parametrize("key", CARD)
def test_another_card_is_refused(result: Result, key: str) -> None:
    different = other(result, **{key: "something else"})
    with pytest.raises(ValueError, match=f"kid: found different {key} in a, a; allowed: the same card"):
        column([result, different], "kid", "best")
    assert comparable([result, different]) == [[result], [different]]


def test_toys_are_compared_with_nothing(result: Result) -> None:
    metrics = {key: value for key, value in result.metrics.items() if key != "model"}
    assert comparable([replace(result, metrics=metrics)]) == []
