"""The playground trains as the pipeline does, bit for bit, and everyone can use it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from browser import chromium, needs_chromium
from conftest import ROOT
from PIL import Image
from playwright.sync_api import Browser, Page

from repligan.core import runtime
from repligan.core.randomness import rng
from repligan.evaluation.evaluate import measure_of
from repligan.models.weights import build, pack, unpack
from repligan.params import Params
from repligan.training import loop
from repligan.training.rows import RowId

pytestmark = needs_chromium
PARTS = ROOT / "src" / "repligan" / "reporting"
SEEDS = range(2000, 2020)  # the first that are published
STEPS = 100
TOYS = ("even", "bits1010")
PORTABLE = runtime.Runtime(device="cpu", precision="portable", deterministic=True)
CHANGES: dict[str, dict[str, Any]] = {
    "even": {},
    "bits1010": {},
    "even, other values": {
        "z": {"dim": 5},
        "G": {"widths": [5, 6, 7]},
        "D": {"widths": [7, 4, 1]},
        "loss": {"halves": "sum", "smoothing": 0.1},
        "optimiser": {"kind": "adam", "lr": 0.02, "beta1": 0.4, "beta2": 0.9},
        "batch": 5,
    },
    "even, squared error by SGD": {"loss": {"kind": "mse"}, "optimiser": {"kind": "sgd", "lr": 0.5}},
    "bits1010, cross-entropy by Adam": {
        "z": {"low": 50.0, "high": 50.0},
        "loss": {"kind": "bce"},
        "optimiser": {"kind": "adam", "lr": 0.003, "beta1": 0.5, "beta2": 0.99},
        "batch": 3,
    },
    "bits1010, another schedule": {
        "schedule": [{"update": "D", "sees": ["real", "fresh_z"], "times": 2}, {"update": "G", "sees": ["same_z"]}]
    },
}
PAGE = """<!doctype html><html lang="en"><head><title>playground</title><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root { color-scheme: light dark } body { font: 16px system-ui; margin: 1rem }</style><style>STYLE</style></head>
<body><main><h1>Report</h1><h2>Playground</h2>HTML</main>
<script type="application/json" id="playground-params">PARAMS</script><script type="module">SCRIPT</script></body>"""


@pytest.fixture(scope="module")
def address(smoke: Params, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page that holds the playground and nothing else."""
    rows = {name: smoke.experiments[name] for name in TOYS}
    page = PAGE.replace("PARAMS", json.dumps(rows, sort_keys=True))
    for mark, name in (("STYLE", "playground.css"), ("HTML", "playground.html"), ("SCRIPT", "playground.js")):
        page = page.replace(mark, (PARTS / name).read_text())
    file = tmp_path_factory.mktemp("playground") / "index.html"
    file.write_text(page)
    return file.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def core(browser: Browser, address: str) -> Page:
    """A page whose numbers alone are asked for."""
    page = browser.new_page()
    page.goto(address)
    return page


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page in use; it may not complain, nor ask for anything."""
    opened, told = browser.new_page(viewport={"width": 1280, "height": 900}), []
    opened.on("console", lambda message: told.append(message.text))
    opened.on("pageerror", lambda error: told.append(str(error)))
    opened.on("request", lambda request: told.append(request.url) if request.url != address else None)
    opened.goto(address)
    yield opened
    opened.close()
    assert told == []


def row(params: Params, case: str) -> dict[str, Any]:
    """A toy's row with the changes of a case."""
    changed = params.rows[RowId(experiment=case.partition(",")[0])].model_dump(mode="json")
    for key, value in CHANGES[case].items():
        changed[key] = changed[key] | value if isinstance(value, dict) and key != "optimiser" else value
    return changed


def by_torch(params: Params, processed: Path, config: dict[str, Any], seeds: range, steps: int) -> loop.Training:
    """The pipeline's own training."""
    experiment = type(params.rows[RowId(experiment="even")]).model_validate(config)
    form = params.datasets[experiment.dataset].form
    training = loop.start("toy", experiment, form, processed / experiment.dataset, seeds, torch.device("cpu"))
    while training.step < steps:
        loop.train_step(training, told=False)
    return training


def measured_by_torch(params: Params, processed: Path, training: loop.Training) -> dict[str, np.ndarray]:
    """What the pipeline measures of a training now: metric -> [S]."""
    row, seeds = training.experiment, range(training.seeds[0], training.seeds[-1] + 1)
    dataset, folder = params.datasets[row.dataset], processed / row.dataset
    measure = measure_of(row, dataset, seeds, params.references[row.dataset], folder, folder, torch.device("cpu"))
    nets = build(row.G, row.D, row.z.dim, dataset.form, seeds)
    unpack(pack(training.G, training.D, len(seeds)), *nets)
    return measure(*nets)[0]


def weights(training: loop.Training) -> np.ndarray:
    """G's and D's, float32 [S, P]."""
    flat = torch.cat([net.flat.detach() for _, net in training.networks()])  # type: ignore[attr-defined]
    return flat.t()[: len(training.seeds)].numpy()


def trained(page: Page, config: dict[str, Any], seed: int, steps: int) -> list[Any]:
    """By the playground: what the last step told, what is measured then, the weights of G and D."""
    return page.evaluate(
        """([config, seed, steps]) => {
             const training = new repliganPlayground.Training(config, seed);
             while (training.step < steps) training.train();
             const weights = [...training.G.flat, ...training.D.flat];
             return [training.told, repliganPlayground.measure(training), weights];
           }""",
        [config, seed, steps],
    )


def by_browser(page: Page, config: dict[str, Any], seeds: range, steps: int) -> np.ndarray:
    """The weights by the playground, float32 [S, P]."""
    return np.array([trained(page, config, seed, steps)[2] for seed in seeds], dtype=np.float32)


@pytest.mark.parametrize("case", list(CHANGES))
def test_weights_are_those_of_the_pipeline(core: Page, smoke: Params, processed: Path, case: str) -> None:
    config = row(smoke, case)
    wanted, found = weights(by_torch(smoke, processed, config, SEEDS, STEPS)), by_browser(core, config, SEEDS, STEPS)
    assert np.isfinite(found).all()
    if runtime.promises(PORTABLE):
        np.testing.assert_array_equal(found, wanted)
    else:
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("toy", TOYS)
def test_another_seed_or_learning_rate_gives_other_weights(
    core: Page, smoke: Params, processed: Path, toy: str
) -> None:
    config, alone = row(smoke, toy), range(2000, 2001)
    wanted = weights(by_torch(smoke, processed, config, alone, STEPS))
    other = config | {"optimiser": config["optimiser"] | {"lr": 1.01 * config["optimiser"]["lr"]}}
    assert np.abs(by_browser(core, config, range(2001, 2002), STEPS) - wanted).max() > 0.01
    assert 1e-5 < np.abs(by_browser(core, other, alone, STEPS) - wanted).max() < 0.01


@pytest.mark.parametrize("toy", TOYS)
def test_losses_and_measures_are_those_of_the_pipeline(core: Page, smoke: Params, processed: Path, toy: str) -> None:
    config = row(smoke, toy)
    training = by_torch(smoke, processed, config, SEEDS, STEPS - 1)
    told = loop.summarised(training, loop.train_step(training))
    stats = measured_by_torch(smoke, processed, training)
    for i, seed in enumerate(SEEDS):
        found = trained(core, config, seed, STEPS)
        for key in ("loss_D", "loss_G", "D_real", "D_gen"):
            assert found[0][key] == pytest.approx(told[key][i].item(), abs=1e-5)
        outputs = {f"out_{j}": x for j, x in enumerate(found[1].pop("out", []))}
        shared = {key: value for key, value in (found[1] | outputs).items() if key in stats}
        assert len(shared) >= 3
        for key, value in shared.items():
            assert value == pytest.approx(float(stats[key][i]), abs=1e-6), key


def test_draws_are_those_of_numpy(core: Page) -> None:
    for seed, stream, index in ((0, "z", 0), (2**32 - 1, "real", 7), (2000, "init_G", 39)):
        found = core.evaluate("(at) => [...repliganPlayground.philox(...at, 9)].map(String)", [seed, stream, index])
        assert [int(word) for word in found] == rng(seed, stream, index).integers(
            2**64, size=9, dtype=np.uint64
        ).tolist()


def test_a_product_and_a_sum_are_rounded_once(core: Page) -> None:
    # 1 + 2^-12 squared is 1 + 2^-11 + 2^-24; in float32 the last part is half a unit, and c decides where it goes.
    x = 1 + 2.0**-12
    found = core.evaluate(
        "(all) => all.map((abc) => repliganPlayground.fma(...abc))", [[x, x, c] for c in (0, 2.0**-80, -(2.0**-80))]
    )
    even = 1 + 2.0**-11
    assert found == [even, even + 2.0**-23, even]


@pytest.mark.skipif(not runtime.promises(PORTABLE), reason="torch has other instructions on this machine")
def test_sigmoid_has_the_bits_of_torch(core: Page) -> None:
    x = torch.cat([torch.linspace(-110, 110, 16384), torch.linspace(-1, 1, 16384)])
    found = core.evaluate("(all) => all.map((x) => repliganPlayground.sigmoid(Math.fround(x)))", x.tolist())
    np.testing.assert_array_equal(np.array(found, np.float32), torch.sigmoid(x).numpy())


def test_its_real_data_are_those_of_the_pipeline(core: Page, smoke: Params) -> None:
    evens, box = core.evaluate("[repliganPlayground.EVENS, repliganPlayground.BOX]")
    even, bits = smoke.datasets["even"].source, smoke.datasets["bits1010"].source
    assert even.model_dump() == {"kind": "integers", "start": 0, "stop": 2 * evens, "step": 2}
    assert {key: np.float32(value).tolist() for key, value in bits.model_dump(include={"low", "high"}).items()} == box


def shown(page: Page) -> str:
    return page.locator("#pg-at").text_content() or ""


def step_of(page: Page) -> int:
    return int(shown(page).split()[1].replace(",", ""))


def test_step_run_pause_and_reset(page: Page) -> None:
    page.get_by_text("All settings").click()
    page.get_by_label("stop at step").fill("100000")  # a busy machine may pause late
    page.get_by_label("stop at step").blur()
    before, pictures = shown(page), page.locator("#pg-G").screenshot()
    page.get_by_role("button", name="Step").press("Enter")
    assert step_of(page) == 1
    page.get_by_label("speed").select_option("100 steps a second")
    page.get_by_role("button", name="Run").press("Enter")
    page.wait_for_function("document.getElementById('pg-at').textContent.split(' ')[1] > 10")
    page.get_by_role("button", name="Pause").press("Enter")
    paused = step_of(page)
    page.wait_for_timeout(200)
    assert step_of(page) == paused
    assert page.locator("#pg-state").text_content() == "paused"
    assert page.locator("#pg-G").screenshot() != pictures
    page.get_by_role("button", name="Reset").click()
    assert shown(page) == before
    assert page.locator("#pg-G").screenshot() == pictures


@pytest.mark.parametrize("toy", TOYS)
def test_it_runs_to_the_last_step_and_shows_what_was_measured(page: Page, smoke: Params, toy: str) -> None:
    page.get_by_label("experiment").select_option(toy)
    page.get_by_label("speed").select_option("as fast as it goes")
    page.get_by_role("button", name="Run").click()
    page.wait_for_function("document.getElementById('pg-state').textContent === 'this was the last step'")
    assert step_of(page) == smoke.rows[RowId(experiment=toy)].steps
    config = row(smoke, toy)
    measured = trained(page, config, 2000, config["steps"])[1]
    numbers = [int((item or "").split()[0]) for item in page.locator("#pg-numbers li").all_text_contents()]
    assert numbers == measured.get("sampled", [])
    said = page.locator("#pg-made").get_attribute("aria-label") or ""
    told = [f"{x:.3f}" for x in measured["out"]] if toy == "bits1010" else [f"{measured['evens']} of the ten numbers"]
    assert all(one in said for one in told)


def test_settings_are_those_of_the_row_until_they_are_changed(page: Page, smoke: Params) -> None:
    even, bits = (smoke.rows[RowId(experiment=toy)] for toy in TOYS)
    assert page.get_by_label("experiment").locator("option").all_text_contents() == list(TOYS)
    page.locator("summary").click()
    assert float(page.get_by_label("learning rate of G").input_value()) == even.optimiser.lr
    page.get_by_role("button", name="Step").click()
    page.get_by_label("hidden layers of G").fill("3, 2")
    page.get_by_label("hidden layers of G").press("Tab")
    assert step_of(page) == 0  # a change starts again
    assert "layers of 7, 3, 2, 7;" in (page.locator("#pg-G").get_attribute("aria-label") or "")
    page.get_by_label("experiment").select_option("bits1010")
    assert float(page.get_by_label("learning rate of D").input_value()) == bits.optimiser.lr
    assert page.get_by_label("hidden layers of G").input_value() == "3"
    assert float(page.get_by_label("z, always the same").input_value()) == bits.z.low


def test_what_cannot_be_run_is_said_and_not_run(page: Page) -> None:
    page.locator("summary").click()
    page.get_by_label("batch").fill("0")
    page.get_by_label("batch").press("Tab")
    assert (page.locator("#pg-state").text_content() or "").startswith("batch: ")
    assert page.get_by_role("button", name="Run").is_disabled()
    page.get_by_label("batch").fill("4")
    page.get_by_label("batch").press("Tab")
    assert page.locator("#pg-state").text_content() == "ready"
    page.get_by_role("button", name="Step").click()
    assert step_of(page) == 1


def test_weights_that_are_not_finite_stop_it(page: Page) -> None:
    page.locator("summary").click()
    page.get_by_label("optimiser").select_option("SGD")
    page.get_by_label("learning rate of G").evaluate("(field) => { field.max = ''; field.value = '1e39'; }")
    page.get_by_label("learning rate of D").fill("9")
    page.get_by_label("learning rate of D").press("Tab")
    page.get_by_label("speed").select_option("as fast as it goes")
    page.get_by_role("button", name="Run").click()
    page.wait_for_function("document.getElementById('pg-state').textContent.includes('no longer finite')")
    assert page.get_by_role("button", name="Run").is_enabled()


def test_many_seeds_train_in_the_background(page: Page) -> None:
    page.locator("summary").click()
    page.get_by_label("stop at step").fill("60")
    page.get_by_label("seeds", exact=True).fill("5")
    page.get_by_label("seeds", exact=True).press("Tab")
    page.get_by_role("button", name="Train them").click()
    page.wait_for_function("document.getElementById('pg-outcome').textContent.startsWith('5 of 5')")
    tiles = page.locator("#pg-tiles button")
    assert [text.split(":")[0] for text in tiles.all_text_contents()] == [str(seed) for seed in range(2000, 2005)]
    assert step_of(page) == 0  # the one in view waited
    tiles.nth(3).click()
    page.wait_for_function("document.getElementById('pg-state').textContent === 'this was the last step'")
    assert page.get_by_label("seed", exact=True).input_value() == "2003"
    evens = sum(text.endswith("even") for text in page.locator("#pg-numbers li").all_text_contents())
    assert (tiles.nth(3).text_content() or "").startswith(f"2003: {evens} of 10 even, ")


@pytest.mark.parametrize(
    ("toy", "width", "theme"),
    [("even", 360, "light"), ("even", 1280, "dark"), ("bits1010", 360, "dark"), ("bits1010", 1280, "light")],
)
def test_it_fits_and_axe_finds_nothing(browser: Browser, address: str, toy: str, width: int, theme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)  # type: ignore[arg-type]
    page.goto(address)
    page.locator("summary").click()
    page.get_by_label("experiment").select_option(toy)
    page.get_by_label("stop at step").fill("20")
    page.get_by_label("stop at step").press("Tab")
    page.get_by_role("button", name="Step").click()
    page.get_by_role("button", name="Train them").click()
    page.wait_for_function("document.getElementById('pg-outcome').textContent.startsWith('20 of 20')")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page)
    told = [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found.response["violations"]]
    page.close()
    assert told == []


def test_pictures_follow_the_colours_of_the_page(page: Page) -> None:
    def painted() -> tuple[str, bool]:
        """The page's first colour, and whether the fullest cell has it or the second one."""
        root = page.locator(".playground")
        a, b = root.evaluate("(root) => ['a', 'b'].map((x) => getComputedStyle(root).getPropertyValue(`--pg-${x}`))")
        picture = Image.open(io.BytesIO(page.locator("#pg-made").screenshot())).convert("RGB")
        found = {f"rgb({red}, {green}, {blue})" for _, (red, green, blue) in picture.getcolors(2**24) or []}
        return a, bool({a, b} & found)

    light = painted()
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(100)
    dark = painted()
    page.evaluate("document.documentElement.style.colorScheme = 'light'")
    page.wait_for_timeout(100)
    assert painted() == light
    assert light[0] != dark[0]
    assert [light[1], dark[1]] == [True, True]


def outcomes(params: Params, processed: Path, config: dict[str, Any], steps: list[int]) -> list[dict[str, np.ndarray]]:
    """What the pipeline measures of the first seeds at some steps."""
    training, found = by_torch(params, processed, config, SEEDS, 0), []
    for step in steps:
        while training.step < step:
            done = loop.train_step(training, told=training.step + 1 == step)
        found.append(
            measured_by_torch(params, processed, training)
            | {key: value.numpy() for key, value in loop.summarised(training, done).items()}
        )
    return found


def test_what_to_try_on_even_happens(smoke: Params, processed: Path) -> None:
    config = row(smoke, "even")
    _, at_200, end = outcomes(smoke, processed, config, [100, 200, 1000])
    assert {10, 0} <= set(at_200["evens"])
    assert set(end["evens"]) == {10}
    assert (64 * end["coverage"].min(), 64 * end["coverage"].max()) == (4, 24)
    fast = config | {"optimiser": config["optimiser"] | {"lr": 0.01}}
    at_100, end = outcomes(smoke, processed, fast, [100, 1000])
    assert set(at_100["evens"]) == {10}
    assert set(64 * end["coverage"]) == {1, 2, 3}


def test_what_to_try_on_bits1010_happens(smoke: Params, processed: Path) -> None:
    half, end = outcomes(smoke, processed, row(smoke, "bits1010"), [5000, 10000])
    assert half["match"].sum() > 15
    assert half["inside"].sum() < 5
    assert end["inside"].sum() > 15
    for key in ("D_real", "D_gen"):
        assert end[key].mean() == pytest.approx(0.5, abs=0.02)
