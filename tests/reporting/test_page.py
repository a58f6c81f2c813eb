from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from outputs import Made, make

from repligan.claims import ledger
from repligan.claims.ledger import Entry
from repligan.core.files import arrays
from repligan.metrics.metric import metric
from repligan.reporting import page, results
from repligan.reporting.published import Published


def render(made: Made, *entries: Entry, published: Sequence[Published] = ()) -> str:
    """The page with these claims, or all, on lines of any length, without the script that draws charts."""
    found, claims = results.read(made.params, made.data, made.reports), ledger.read(made.reports)
    grown, _ = arrays(made.data / "claims" / "values.safetensors")
    shown = claims.model_copy(update={"claims": list(entries)}) if entries else claims
    return " ".join(page.render(made.params, found, shown, grown, "/* draws */", published).split())


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path)


@pytest.fixture
def html(made: Made) -> str:
    return render(made)


def test_the_page_names_every_experiment_and_variant(made: Made, html: str) -> None:
    for row in made.params.rows:
        assert f'<th scope="col">{row.variant}</th>' in html or f'<h2 id="{row.experiment}">' in html
    assert "pictures on squares" in html  # a stand-in is never shown under the real name
    assert html.count(">variants of ") == len(made.params.experiments)
    assert '<script type="module">/* draws */</script>' in html


def test_an_experiment_stands_with_its_settings_and_its_command(html: str) -> None:
    section = html[html.index('<h2 id="toy">') :]
    for key, value in {
        "G": "kind mlp, widths 7, 7",
        "optimiser": "kind sgd, lr 0.1",
        "schedule": "G on fresh_z; D on real and same_img",
        "log every": "5",
    }.items():
        assert f"<dt>{key}</dt><dd>{value}</dd>" in section
    assert "repligan scale tiny REPLIGAN_TRIALS=$(mktemp -d) dvc repro --force evaluate@toy</code>" in section


def test_a_chart_stands_with_its_course_in_words(made: Made, html: str) -> None:
    section = html[html.index('<h2 id="toy">') : html.index('<h2 id="pictures">')]
    table = results.read(made.params, made.data, made.reports)[0].curves
    first, last = (metric("even_rate").number(table["even_rate"].iloc[i]) for i in (0, -1))
    assert f'aria-label="Steps 0 to 20. even numbers, over all 128 z: {first} to {last}"' in section
    specs = [json.loads(one) for one in re.findall(r'<script type="application/json">(.*?)</script>', section)]
    assert len(specs) == 5  # losses, output of D, shares, distance, two outputs
    assert all(spec["layer"] for spec in specs)


def test_pictures_stand_under_their_steps(html: str) -> None:
    section = html[html.index('<h2 id="pictures">') :]
    assert re.findall(r'alt="pictures on squares at step (\d+)"', section) == ["0", "10", "20"]
    labels = [json.loads(one.replace("&#34;", '"')) for one in re.findall(r'data-labels="(.*?)"', section)]
    assert labels == [["0", "10", "20"], *[["-1", "0", "1"]] * 2, *[["A", "50 % of the way", "B"]] * 2]


def test_image_gans_stand_side_by_side_where_their_values_compare(made: Made) -> None:
    pictures = results.read(made.params, made.data, made.reports)[1]
    claims = ledger.read(made.reports)
    one, two = (page.render(made.params, [pictures] * num, claims, {}, "") for num in (1, 2))
    assert "Image GANs side by side" not in one
    table = two[two.index("Image GANs side by side") :].split("</table>")[0]
    assert table.count('<th scope="col">pictures on squares, step ') == 2
    assert "extractor: the same" in table


def test_a_variant_stands_with_what_it_changes_and_what_it_came_to(made: Made, html: str) -> None:
    table = re.search(r">variants of toy</th>.*?</table>", html)
    assert table
    assert "<small>optimiser.lr: 0.5</small>" in table[0]
    assert "<small>as fast, but</small><small>schedule: D real 2</small>" in table[0]
    assert "<td>40 seeds, step 20</td><td>3 seeds, step 20</td>" in table[0]
    toy = results.read(made.params, made.data, made.reports)[0]
    for variant in toy.variants:
        mean, _ = metric("tv").with_interval(variant.measured["tv"])
        assert mean in table[0]


def test_a_claim_stands_with_its_verdict_and_evidence(html: str) -> None:
    claim = re.search(r'<details id="claim-most".*?</details>', html)
    assert claim
    for part in ("Most numbers are even", "holds at a reduced budget", "not run at this scale", "0.8", "40 seeds"):
        assert part in claim[0]
    assert "A course, its last page; implied" in claim[0]
    assert claim[0].count("<div>premise: ") == 1
    assert "<b>0.8</b> (0.7 to 0.9)<small>share of even numbers</small>" in claim[0].split("</summary>")[0]
    assert "premise: seeds whose D is right: <b>100.0 %</b> (at least 92.0 %)<small>toy; 40 seeds; holds" in claim[0]
    assert claim[0].count('class="plot"') == 2
    assert '<a class="yes" href="#claims" data-verdict="holds"><b>1</b> holds</a>' in html


def test_a_claim_that_is_stated_and_has_its_budget_says_nothing_of_either(made: Made) -> None:
    plain = ledger.read(made.reports).claims[0].model_copy(update={"reading": "stated", "reduced": False, "premise": 0})
    claim = re.search(r'<details id="claim-most".*?</details>', render(made, plain))
    assert claim
    assert "A course, its last page<" in claim[0]
    assert not {word for word in ("implied", "premise", "reduced") if word in claim[0]}


def test_what_is_published_of_a_claim_stands_beside_the_own_verdict(made: Made, html: str) -> None:
    own = ledger.read(made.reports).claims[0]
    other = own.model_copy(update={"verdict": "does not hold", "decided_by": None, "reduced": False})
    larger = ledger.Ledger(scale="overnight", claims=[other])
    with_it = render(made, published=[Published(larger, {"pictures": np.zeros((8, 8, 3), np.uint8)})])
    section = with_it[with_it.index(f'id="claim-{own.id}"') :]
    section = section[: section.index("</details>")]
    assert 'published, overnight scale: <span class="verdict no">does not hold</span>' in section
    assert section.count(own.tests[0].label) == html.count(own.tests[0].label) + 1
    assert with_it.count("published, overnight scale") == 1  # of the one claim that is published
    assert with_it.count("Published: what G made at the overnight scale") == 1
    assert "Published, at the overnight scale: <b>1</b> does not hold.</p>" in with_it
    assert "ublished, " not in html
    assert "what G made at the" not in html


def test_a_playground_is_taken_as_it_stands(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    assert page._file("no.such") == ""
    assert "Playground" not in render(made)  # neither of its experiments is there
    monkeypatch.setattr(page, "PLAYED", ("toy",))
    monkeypatch.setattr(page, "_file", lambda name: f"<b>{name} {{{{ 1 }}}}</b>")
    html = render(made)
    assert "<b>playground.html {{ 1 }}</b>" in html
    assert '<a href="#latent-pictures">pictures on squares</a>.' in html
    assert 'id="latent-pictures"' in html
    assert '<script type="module"><b>playground.js {{ 1 }}</b></script>' in html
    params = re.search(r'<script type="application/json" id="playground-params">(.*?)</script>', html)
    assert params
    assert json.loads(params[1]) == {"toy": made.params.experiments["toy"]}
