"""MLflow's pages in a browser: where one lands, the tree of runs, comparing, sliders, models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import chromium, needs_chromium
from playwright.sync_api import Page, expect
from serving import ui

from repligan.params import Params

pytestmark = [pytest.mark.filterwarnings("ignore"), needs_chromium]  # MLflow's own warnings
PATIENCE = 60_000.0  # milliseconds: other tests run beside this one
TRAINING = "workflowType=machine_learning"


@pytest.fixture(scope="module")
def printed(synced: Path) -> Iterator[str]:
    """The address that `repligan ui` prints; it serves meanwhile."""
    with ui(synced) as address:
        yield address


@pytest.fixture(scope="module")
def page(printed: str) -> Iterator[Page]:
    """A page in a browser that was never here before."""
    with chromium() as browser:
        page = browser.new_page(base_url=printed.split("/#", maxsplit=1)[0], viewport={"width": 1440, "height": 900})
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        yield page


def systems(smoke: Params) -> list[str]:
    """The names of the experiments as published."""
    return [smoke.called(row) for row in smoke.rows if row.variant == "published"]


def names(page: Page) -> list[str]:
    """The runs that the table shows, in its order."""
    return [link.inner_text() for link in page.locator("[role=row] a[href*='/runs/']").all()]


def open_run(page: Page, name: str, tab: str = "") -> None:
    """Go to the page of a run by its link in the table."""
    page.goto(f"/#/experiments/1/runs?{TRAINING}")
    of_runs = page.locator("a[href*='/runs/']")  # a model may have the same name
    link = page.get_by_role("link", name=name, exact=True).and_(of_runs)
    expect(link).to_be_visible()
    page.goto(f"/{link.get_attribute('href')}{tab}?{TRAINING}")
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def test_one_lands_on_the_runs_of_trainings(page: Page, printed: str, smoke: Params) -> None:
    page.goto(printed)
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    expect(page.get_by_role("link", name="Models", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="Prompts")).to_have_count(0)
    expect(page.get_by_role("link", name="dcgan-mnist", exact=True)).to_be_visible()
    assert {*names(page)} == {*systems(smoke), "claims"}
    for cell in ("train.py", "dcgan-mnist step 12"):
        expect(page.get_by_role("gridcell").filter(has_text=cell).first).to_be_visible()


def test_an_experiment_opens_to_its_variants_and_they_to_their_seeds(page: Page, printed: str) -> None:
    page.goto(printed)
    for name, below in (
        ("dcgan-mnist", "dcgan-mnist/hard-labels"),
        ("dcgan-mnist/hard-labels", "seed 2001 of dcgan-mnist/hard-labels"),
    ):
        expect(page.get_by_role("link", name=below, exact=True)).to_have_count(0)
        row = page.get_by_role("gridcell").filter(has=page.get_by_role("link", name=name, exact=True))
        row.get_by_role("button").first.click()
        expect(page.get_by_role("link", name=below, exact=True)).to_be_visible()


def test_experiments_compare_on_one_page(page: Page, printed: str, smoke: Params) -> None:
    page.goto(printed)
    expect(page.get_by_role("link", name="dcgan-mnist", exact=True)).to_be_visible()
    links = {name: page.get_by_role("link", name=name, exact=True) for name in systems(smoke)}
    ids = {name: str(link.get_attribute("href")).split("/runs/")[1] for name, link in links.items()}
    page.goto(f"/#/compare-runs?runs={json.dumps([*ids.values()])}&experiments={json.dumps(['1'])}&{TRAINING}")
    expect(page.get_by_role("heading", name=f"Comparing {len(ids)} Runs from 1 Experiment")).to_be_visible()
    images = {name for name in ids if name.startswith("dcgan")}
    for metric, having in {"D_gen": {*ids}, "acc_D": {*ids}, "class_tv": images, "class_tv.low": images}.items():
        shared = str(page.get_by_role("link", name=metric, exact=True).get_attribute("href"))
        assert {name for name, run_id in ids.items() if run_id in shared} == having, metric


def test_samples_move_with_the_slider(page: Page) -> None:
    open_run(page, "dcgan-celeba on drawn-faces", "/model-metrics")
    page.get_by_placeholder("Search metric charts").fill("samples|walk")
    cards = page.get_by_test_id("experiment-view-compare-runs-card")
    expect(cards).to_have_count(4)
    slider, img = cards.first.get_by_role("slider"), cards.first.locator("img[src*='samples']")
    expect(slider).to_have_attribute("aria-valuemax", "12")
    before = int(str(slider.get_attribute("aria-valuenow")))
    expect(img).to_have_attribute("src", re.compile(rf"samples%2Bstep%2B{before}%2B"))
    assert img.evaluate("img => img.decode().then(() => img.naturalWidth)") > 0
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(slider).not_to_have_attribute("aria-valuenow", str(before))
    after = slider.get_attribute("aria-valuenow")
    expect(img).to_have_attribute("src", re.compile(rf"samples%2Bstep%2B{after}%2B"))
    assert img.evaluate("img => img.decode().then(() => img.naturalWidth)") > 0


def test_a_run_says_what_came_out_and_leads_to_its_generators(page: Page) -> None:
    open_run(page, "even")
    expect(page.get_by_text("By step 200 every sample is even")).to_be_visible()
    expect(page.get_by_role("link", name="even/fast", exact=True)).to_be_visible()
    page.goto(f"/#/models/dcgan-mnist?{TRAINING}")
    expect(page.get_by_role("heading", name="dcgan-mnist")).to_be_visible()
    expect(page.get_by_role("link", name="Version 1")).to_be_visible()
    expect(page.get_by_text("best", exact=False).first).to_be_visible()
    page.goto(f"/#/experiments/1/models?{TRAINING}")
    expect(page.get_by_role("link", name="dcgan-mnist step 12", exact=True)).to_be_visible()


def test_a_chart_is_a_picture_among_the_files_of_its_run(page: Page) -> None:
    open_run(page, "even", "/artifacts")
    page.get_by_text("report", exact=True).click()
    page.get_by_text("losses.svg", exact=True).click()
    img = page.locator("img[src^='blob:']").first
    expect(img).to_be_visible()
    assert img.evaluate("img => img.decode().then(() => img.naturalWidth)") > 480
