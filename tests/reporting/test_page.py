from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest
from outputs import Made, make

from repligan.claims import ledger
from repligan.metrics.metric import metric
from repligan.reporting import page, results


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path)


@pytest.fixture
def html(made: Made) -> str:
    found, claims = results.read(made.params, made.data, made.reports), ledger.read(made.reports)
    text = page.render(made.params, found, claims, defaultdict(bytes, {"overview": b"png"}))
    return " ".join(text.split())


def test_the_page_names_every_experiment_and_variant(made: Made, html: str) -> None:
    for row in made.params.rows:
        assert f"<th>{row.variant}</th>" in html or f'<h2 id="{row.experiment}">' in html
    assert "pictures on squares" in html  # a stand-in is never shown under the real name
    assert "lr" in html
    assert html.count("variants of ") == len(made.params.experiments)


def test_a_variant_stands_with_what_it_changes_and_what_it_came_to(made: Made, html: str) -> None:
    table = re.search(r"<th>variants of toy</th>.*?</table>", html)
    assert table
    assert "<small>optimiser.lr: 0.5</small>" in table[0]
    assert "<small>as fast, but</small><small>schedule: D real 2</small>" in table[0]
    assert "<td>40 seeds, step 20</td><td>3 seeds, step 20</td>" in table[0]
    toy = results.read(made.params, made.data, made.reports)[0]
    for variant in toy.variants:
        mean, _ = metric("tv").with_interval(variant.measured["tv"])
        assert mean in table[0]


def test_a_claim_stands_with_its_verdict_and_evidence(html: str) -> None:
    claim = re.search(r'<tr id="claim-most">.*?</details>', html)
    assert claim
    for part in ("Most numbers are even", "holds at a reduced budget", "not run at this scale", "0.8", "40 seeds"):
        assert part in claim[0]
    assert "A course, its last page; implied" in claim[0]
    assert claim[0].count("premise: ") == 1
    assert (
        "<li>premise: seeds whose D is right: <b>100.0 %</b> (at least 92.0 %)<small>toy; 40 seeds; holds" in claim[0]
    )


def test_a_claim_that_is_stated_and_has_its_budget_says_nothing_of_either(made: Made) -> None:
    claims = ledger.read(made.reports)
    plain = claims.claims[0].model_copy(update={"reading": "stated", "reduced": False, "premise": 0})
    found = results.read(made.params, made.data, made.reports)
    shown = claims.model_copy(update={"claims": [plain]})
    text = page.render(made.params, found, shown, defaultdict(bytes, {"overview": b"png"}))
    table = text[text.index('<tr id="claim-most">') : text.index("What each GAN makes")]
    assert "A course, its last page<" in table
    assert not {word for word in ("implied", "premise", "reduced") if word in table}
