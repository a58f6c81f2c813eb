"""What MLflow serves of a reproduction: runs and files by its API, and its pages in a browser."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import chromium, needs_chromium
from playwright.sync_api import Page, expect
from repository import CLAIMS
from serving import ui

from repligan.params import Params

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own
PATIENCE = 60_000.0  # milliseconds: other tests run beside this one
TRAINING = "workflowType=machine_learning"


@pytest.fixture(scope="module")
def printed(repo: Path) -> Iterator[str]:
    """The address that `repligan ui` prints; it serves meanwhile."""
    with ui(repo) as address:
        yield address


@pytest.fixture(scope="module")
def server(printed: str) -> str:
    """The address without the page."""
    return printed.split("/#", maxsplit=1)[0]


@pytest.fixture(scope="module")
def page(server: str) -> Iterator[Page]:
    """A page in a browser that was never here before."""
    with chromium() as browser:
        page = browser.new_page(base_url=server, viewport={"width": 1440, "height": 900})
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        yield page


@pytest.fixture(scope="module")
def called(smoke: Params) -> dict[str, str | None]:
    """Name of every run in MLflow -> for what its dataset stands in."""
    return {smoke.called(row): smoke.dataset_of(row.experiment).standin_for for row in smoke.rows} | {"claims": None}


def post(address: str, call: str, **body: object) -> dict[str, list[dict[str, dict[str, object]]]]:
    request = urllib.request.Request(
        f"{address}/api/2.0/mlflow/{call}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def test_mlflow_serves_every_run(server: str, called: dict[str, str | None]) -> None:
    runs = post(server, "runs/search", experiment_ids=["1"], filter="tags.level != 'seed'")["runs"]
    assert sorted(run["info"]["run_name"] for run in runs) == sorted(called)
    for found in [one for one in runs if one["info"]["run_name"] != "claims"]:
        name, data = found["info"]["run_name"], found["data"]
        params = {item["key"]: item["value"] for item in data["params"]}
        metrics = {item["key"] for item in data["metrics"]}
        assert (found["info"]["status"], params["scale"]) == ("FINISHED", "smoke")
        assert {"loss_D", "D_real", "D_gen"} <= metrics
        assert len(metrics) <= 25
        assert found["inputs"]["dataset_inputs"][0]["dataset"]["digest"]
        if name == "dcgan-mnist":
            assert {"loss_G", "fd_cnn_64", "class_tv"} <= metrics
            assert params["G.width"] == "4"


def test_mlflow_has_losses_and_samples_by_step(server: str) -> None:
    runs = post(server, "runs/search", experiment_ids=["1"])["runs"]
    run_id = next(run["info"]["run_id"] for run in runs if run["info"]["run_name"] == "dcgan-mnist")
    with urllib.request.urlopen(
        f"{server}/api/2.0/mlflow/metrics/get-history?run_id={run_id}&metric_key=loss_G"
    ) as answer:
        steps = [point["step"] for point in json.load(answer)["metrics"]]
    assert sorted(steps) == [2, 4, 6, 8, 10, 12]
    with urllib.request.urlopen(f"{server}/api/2.0/mlflow/artifacts/list?run_id={run_id}&path=images") as answer:
        images = [file["path"] for file in json.load(answer)["files"] if file["path"].endswith(".png")]
    assert len([path for path in images if path.startswith("images/samples")]) == 4
    with urllib.request.urlopen(f"{server}/get-artifact?run_id={run_id}&path=training.json") as answer:
        training = json.load(answer)
    assert training["dcgan-mnist seed 0"]["environment"]["cpu"] == "AVX2"
    assert training["dcgan-mnist seed 0"]["seconds"] > 0


def test_mlflow_has_the_ledger_and_the_seeds_as_tables(server: str) -> None:
    runs = {run["info"]["run_name"]: run for run in post(server, "runs/search", experiment_ids=["1"])["runs"]}

    def table(name: str, file: str) -> dict[str, list[object]]:
        address = f"{server}/get-artifact?run_id={runs[name]['info']['run_id']}&path={file}"
        with urllib.request.urlopen(address) as answer:
            found = json.load(answer)
        return {key: [row[i] for row in found["data"]] for i, key in enumerate(found["columns"])}

    claims = table("claims", "claims.json")
    assert list(dict.fromkeys(claims["claim"])) == CLAIMS
    assert set(claims["verdict"]) == {
        f"not decided at this budget; the {scale} scale can decide" for scale in ("laptop", "overnight", "full")
    }
    seeds = table("dcgan-mnist/hard-labels", "seeds.json")
    assert seeds["seed"] == [2000, 2001]
    assert len(set(seeds["fd_cnn_64"])) == 2
    tags = {tag["key"]: tag["value"] for tag in runs["dcgan-mnist/hard-labels"]["data"]["tags"]}  # type: ignore[index, attr-defined]
    assert (tags["system"], tags["level"], tags["variant"]) == ("dcgan-mnist", "variant", "hard-labels")
    assert tags["mlflow.parentRunId"] == runs["dcgan-mnist"]["info"]["run_id"]


def test_mlflow_marks_stand_ins_and_shows_the_latent_space(server: str, called: dict[str, str | None]) -> None:
    runs = post(server, "runs/search", experiment_ids=["1"], filter="tags.level != 'seed'")["runs"]
    tags = {
        run["info"]["run_name"]: {tag["key"]: tag["value"] for tag in run["data"]["tags"]}  # type: ignore[index, attr-defined]
        for run in runs
    }
    assert {name: found.get("standin_for") for name, found in tags.items()} == called
    run_id = next(run["info"]["run_id"] for run in runs if run["info"]["run_name"] == "dcgan-anime on drawn-anime")

    def files(folder: str) -> list[str]:
        address = f"{server}/api/2.0/mlflow/artifacts/list?run_id={run_id}&path={folder}"
        with urllib.request.urlopen(address) as answer:
            return [Path(file["path"]).name for file in json.load(answer)["files"]]

    assert files("latent") == ["scores.json"]
    assert {"losses.svg", "shares.svg"} <= {*files("report")}
    assert len([name for name in files("images") if name.startswith("walk along component 28") and ".png" in name]) == 9


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


@needs_chromium
def test_one_lands_on_the_runs_of_trainings(page: Page, printed: str, smoke: Params) -> None:
    page.goto(printed)
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    expect(page.get_by_role("link", name="Models", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="Prompts")).to_have_count(0)
    expect(page.get_by_role("link", name="dcgan-mnist", exact=True)).to_be_visible()
    assert {*names(page)} == {*systems(smoke), "claims"}
    for cell in ("train.py", "dcgan-mnist step 12"):
        expect(page.get_by_role("gridcell").filter(has_text=cell).first).to_be_visible()


@needs_chromium
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


@needs_chromium
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


@needs_chromium
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


@needs_chromium
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


@needs_chromium
def test_a_chart_is_a_picture_among_the_files_of_its_run(page: Page) -> None:
    open_run(page, "even", "/artifacts")
    page.get_by_text("report", exact=True).click()
    page.get_by_text("losses.svg", exact=True).click()
    img = page.locator("img[src^='blob:']").first
    expect(img).to_be_visible()
    assert img.evaluate("img => img.decode().then(() => img.naturalWidth)") > 480
