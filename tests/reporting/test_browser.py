"""The report of the smoke scale in a browser: widths, themes, keyboard, filter, sliders, charts, accessibility."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import chromium, needs_chromium
from emulated import ROOT
from playwright.sync_api import Browser, Locator, Page
from repository import CLAIMS

from repligan.claims import ledger
from repligan.core.files import arrays
from repligan.params import Params
from repligan.reporting import charts, published, results
from repligan.reporting.page import render

pytestmark = needs_chromium
THEMES = ("light", "dark")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def until(page: Page, holds: Callable[[], bool]) -> None:
    """Wait until it holds, at most ten seconds: a page does after an event what it does, when it can."""
    for _ in range(100):
        if holds():
            return
        page.wait_for_timeout(100)
    assert holds()


@pytest.fixture(scope="module")
def report(smoke: Params, made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the smoke scale, beside what is published."""
    found, claims = results.read(smoke, made / "data", made / "reports"), ledger.read(made / "reports")
    values, _ = arrays(made / "data" / "claims" / "values.safetensors")
    beside = published.read(ROOT / "published", smoke.scale)
    file = tmp_path_factory.mktemp("report") / "index.html"
    file.write_text(render(smoke, found, claims, values, charts.runtime(), beside))
    return file


class Opened:
    """The report in a window, and all that it asked for or complained of."""

    def __init__(self, browser: Browser, report: Path, width: int = 1280, theme: str = "light"):
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)  # type: ignore[arg-type]
        self.told: list[str] = []
        self.page.on("console", lambda message: self.told.append(message.text))
        self.page.on("pageerror", lambda error: self.told.append(str(error)))
        self.page.on("request", lambda request: self.asked(request.url))
        self.page.goto(report.as_uri())

    def asked(self, address: str) -> None:
        if not address.startswith(("data:", "blob:")) and not address.endswith("/index.html"):
            self.told.append(address)


@pytest.fixture
def opened(browser: Browser, report: Path) -> Iterator[Opened]:
    window = Opened(browser, report)
    yield window
    window.page.close()


@pytest.fixture
def page(opened: Opened) -> Page:
    return opened.page


@pytest.fixture(scope="module", params=[(360, "dark"), (1280, "light"), (1920, "dark")], ids=["360", "1280", "1920"])
def whole(request: pytest.FixtureRequest, browser: Browser, report: Path) -> Iterator[Opened]:
    """The report in a window of some width and theme, with every claim and table open and all charts drawn."""
    window = Opened(browser, report, *request.param)
    window.page.evaluate(
        """async () => {
            for (const one of document.querySelectorAll("details")) one.open = true;
            for (const one of document.querySelectorAll(".plot")) {
                one.scrollIntoView();
                for (const _ of [1, 2]) await new Promise(requestAnimationFrame);
            }
        }"""
    )
    window.page.wait_for_function("[...document.querySelectorAll('.plot')].every((one) => one.querySelector('canvas'))")
    yield window
    window.page.close()


def test_nothing_is_wider_than_the_window(whole: Opened) -> None:
    width = whole.page.evaluate("innerWidth")
    assert whole.page.evaluate("document.documentElement.scrollWidth") <= width
    wider = whole.page.evaluate(
        """width => [...document.querySelectorAll("body *")]
           .filter((one) => one.getBoundingClientRect().right > width + 1 && !one.closest(".wide, nav, pre, .strip"))
           .map((one) => one.outerHTML.slice(0, 80))""",
        width,
    )
    assert wider == []


def test_all_charts_are_drawn_without_a_word_or_a_request(whole: Opened) -> None:
    sizes = whole.page.eval_on_selector_all(".plot canvas", "all => all.map((one) => one.width * one.height)")
    assert len(sizes) > 30
    assert min(sizes) > 10_000
    assert whole.told == []


def test_axe_finds_nothing(whole: Opened) -> None:
    found = Axe().run(whole.page, options={"resultTypes": ["violations"]})
    assert [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found.response["violations"]] == []


def brightness(page: Page) -> float:
    return sum(map(float, page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3)")))


@pytest.mark.parametrize("theme", THEMES)
def test_the_theme_is_the_systems_until_the_button_says_otherwise(browser: Browser, report: Path, theme: str) -> None:
    page = Opened(browser, report, theme=theme).page
    plot = page.locator(".charts .plot").first
    plot.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.charts .plot canvas')")
    before, chart = brightness(page), plot.screenshot()
    assert (before > 600) == (theme == "light")
    page.get_by_role("button", name="theme").press("Enter")
    assert (brightness(page) > 600) != (theme == "light")
    until(page, lambda: plot.screenshot() != chart)
    page.reload()
    assert (brightness(page) > 600) != (theme == "light")  # it is remembered
    page.close()


def claims_shown(page: Page) -> list[str]:
    return [one.get_attribute("id") or "" for one in page.locator(".ledger details:visible").all()]


def test_the_filter_hides_claims(page: Page) -> None:
    assert claims_shown(page) == [f"claim-{name}" for name in CLAIMS]
    page.get_by_label("Source").select_option(index=1)
    some = claims_shown(page)
    assert 0 < len(some) < len(CLAIMS)
    assert all(name.startswith("claim-even-") for name in some)
    assert page.locator("#shown").text_content() == f"{len(some)} of {len(CLAIMS)} claims"
    page.locator(".counts a").first.click()  # a verdict of all sources
    assert page.get_by_label("Source").input_value() == ""
    kind = page.get_by_label("Verdict").input_value()
    shown = page.locator(".ledger details:visible").all()
    assert {one.get_attribute("data-kind") for one in shown} == {kind}
    assert len(shown) == page.locator(f'.ledger details[data-kind="{kind}"]').count()


def test_a_claim_opens_to_its_evidence(page: Page) -> None:
    claim = page.locator("#claim-even-start")
    assert not claim.locator(".evidence").is_visible()
    claim.locator("summary").press("Enter")
    claim.locator("canvas").first.wait_for()
    assert "even numbers among ten samples at step 0" in (claim.text_content() or "")
    assert "learning rate" in (claim.locator("dl").text_content() or "")


def visible(figure: Locator) -> list[str]:
    return [one.get_attribute("alt") or "" for one in figure.locator("img:visible").all()]


def test_a_slider_moves_through_the_training(page: Page) -> None:
    for figure in page.locator(".frames").all():
        slider = figure.get_by_role("slider")
        last = visible(figure)
        slider.press("Home")
        assert len(last) == len(visible(figure)) == 1
        assert visible(figure)[0].endswith("at step 0")
        assert visible(figure) != last
        assert figure.locator("output").text_content() == slider.get_attribute("aria-valuetext") == "0"


def test_a_slider_moves_through_the_latent_space(page: Page) -> None:
    until(page, lambda: page.locator(".strip input:not([aria-valuetext])").count() == 0)
    for figure in page.locator("section:has(#dcgan-anime) .strip").all():
        figure.scroll_into_view_if_needed()
        slider, canvas = figure.get_by_role("slider"), figure.locator("canvas")
        slider.press("Home")
        first, said = canvas.evaluate("one => one.toDataURL()"), slider.get_attribute("aria-valuetext")
        slider.press("End")
        assert canvas.evaluate("one => one.toDataURL()") != first
        assert slider.get_attribute("aria-valuetext") != said


def domain(page: Page) -> list[float]:
    """The steps that the first chart of losses shows, by the words of its axis."""
    return page.evaluate("window.charts.get(document.querySelector('.charts .plot')).view.scale('x').domain()")


def test_a_chart_is_zoomed_and_hovered(page: Page) -> None:
    plot = page.locator(".charts .plot").first
    plot.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.charts .plot canvas')")
    whole = domain(page)
    plot.press("+")
    until(page, lambda: whole[0] < domain(page)[0] < domain(page)[1] < whole[1])
    plot.press("0")
    until(page, lambda: domain(page) == whole)
    plot.hover()
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    until(page, lambda: domain(page)[1] - domain(page)[0] < whole[1] - whole[0])
    page.locator("#vg-tooltip-element").wait_for()
    told = page.locator("#vg-tooltip-element").text_content() or ""
    assert re.search(r"step[\d,]+loss of D[\d.]+ \([\d.]+ to [\d.]+\)loss of G[\d.]+ \([\d.]+ to [\d.]+\)", told), told


def test_without_scripts_all_pictures_and_numbers_are_there(browser: Browser, report: Path) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(report.as_uri())
    assert page.locator(".stack img").count() == page.locator(".stack img:visible").count() > 10
    page.locator("summary", has_text="Values of even").click()
    assert page.locator("table").first.is_visible()
    assert not page.locator(".filter").is_visible()
    page.context.close()


def test_published_pictures_stand_below_the_own_and_charts_beside_them(opened: Opened) -> None:
    for section in opened.page.locator(".system:has(.published)").all():
        own, other, plots = (section.locator(f".training {one}") for one in (".frames", ".published", ".charts"))
        above, below, beside = own.bounding_box(), other.bounding_box(), plots.bounding_box()
        assert above
        assert below
        assert beside
        assert above["x"] == below["x"]
        assert above["y"] + above["height"] < below["y"]
        assert above["x"] + above["width"] < beside["x"]
        assert beside["y"] == above["y"]
        assert beside["width"] > 2 * above["width"]
    assert opened.page.locator(".published").count() == len(list((ROOT / "published").glob("*/pictures/*.png")))
