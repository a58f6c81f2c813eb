from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from repligan.core.errors import InputError
from repligan.reporting import figures, ledger

TEST = {
    "label": "seeds that do",
    "rule": {"kind": "share", "most": 0.95},
    "rows": ["even"],
    "budget": ["40 seeds"],
    "num": 1000,
    "over": "seeds",
    "confidence": 0.998,
    "kind": "share",
    "measured": {"mean": 0.473, "lo": 0.424, "hi": 0.522},
    "verdict": "holds for some seeds",
}
RATIO = {
    **TEST,
    "label": "so much larger",
    "kind": "ratio",
    "rows": ["a/b", "a"],
    "measured": {"mean": 2.0},
    "published": 3.0,
    "quantile": {"mean": 0.75, "lo": 0.5, "hi": 0.9},
}
CLAIMS: dict[str, Any] = {
    "some": {"source": "S", "says": "It does", "verdict": "holds for some seeds", "share": 0.473, "tests": [TEST]},
    "open": {
        "source": "S",
        "says": "It is larger",
        "verdict": "not decided at this budget",
        "decided_by": "the full scale",
        "tests": [RATIO, {"label": "elsewhere", "rule": None, "not_run": ["a/c"]}],
    },
}


def test_the_ledger_in_the_terminal() -> None:
    assert list(ledger.lines(CLAIMS, [])) == [
        "some: holds for some seeds (47.3 %)",
        "    It does (S)",
        "    - seeds that do: 47.3 % (42.4 % to 52.2 %) even; 1,000 seeds; holds for some seeds",
        "open: not decided at this budget; the full scale would",
        "    It is larger (S)",
        "    - so much larger: 2 times (no interval) a/b against a; 1,000 seeds; published 3, above 75.0 % of them; "
        "holds for some seeds",
        "    - elsewhere: not run at this scale",
        "2 claims. holds for some seeds: 1, not decided at this budget: 1",
    ]
    assert len(list(ledger.lines(CLAIMS, ["some"]))) == 3
    with pytest.raises(InputError, match="claim: found 'any'; allowed: some, open"):
        list(ledger.lines(CLAIMS, ["some", "any"]))


def test_the_table_has_a_row_a_test() -> None:
    table = ledger.table(CLAIMS)
    assert {len(column) for column in table.values()} == {3}
    assert table["claim"] == ["some", "open", "open"]
    assert table["mean"] == [0.473, 2.0, None]
    assert table["published above"] == [None, 0.75, None]


@pytest.mark.parametrize("content", ["{}", "[]", '{"claims": [{"id": "a", "verdict": "perhaps"}]}', "{"])
def test_a_damaged_ledger_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "claims.json").write_text(content)
    with pytest.raises(InputError, match=r"claims\.json: (damaged|not JSON)"):
        ledger.read(tmp_path)


def test_a_ledger_is_read_as_written(tmp_path: Path) -> None:
    (tmp_path / "claims.json").write_text(
        json.dumps({"claims": [{"id": name, **claim} for name, claim in CLAIMS.items()]})
    )
    assert ledger.read(tmp_path) == {name: {"id": name, **claim} for name, claim in CLAIMS.items()}


@pytest.mark.parametrize(
    "values", [np.arange(40) < 19, np.linspace(1, 4, 1000), np.array([1.5, 2.0, 2.5])], ids=["yes or no", "many", "few"]
)
def test_a_picture_shows_the_values_and_the_published_one(tmp_path: Path, values: np.ndarray) -> None:
    def colours(test: dict[str, Any]) -> set[tuple[int, ...]]:
        path = tmp_path / "picture.png"
        path.write_bytes(figures.png(lambda: figures.claim([(test, values)])))
        with Image.open(path) as img:
            return {tuple(np.array(colour) // 40) for _, colour in img.convert("RGB").getcolors(1 << 20)}

    red = tuple(np.array([0xB8, 0x43, 0x3F]) // 40)
    assert red in colours(TEST | {"published": 0.5})
    assert red not in colours(TEST)
