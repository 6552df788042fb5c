"""The report in a real browser: what it measures in its main states, and what it does when it is used.

The pictures are kept in the folder of each test, for eyes; what is asserted depends on no font. The browser is the
one that RESILIENT_FOUNDRY_CHROMIUM names, or the chromium on PATH.
"""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, BrowserContext, FloatRect, Page, sync_playwright

from resilient_foundry.harness.report.html import page
from tests.harness.report.sample import verifications

CHROMIUM: Final = os.environ.get("RESILIENT_FOUNDRY_CHROMIUM") or shutil.which("chromium")
_ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE, DESK = (360, 740), (1280, 860)
CELL = "streams.end_with_done@1.2.4"
BROKEN = "errors.a_wrong_path@1.2.4"
ENDLESS = f"errors.{'x' * 160}@1.2.4"
DIFFERENCE = "streams.end_with_done@1.2.4~2.2.1"

pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="there is no chromium: put one on PATH, or name it with RESILIENT_FOUNDRY_CHROMIUM"
)

# Every text that is seen: its colour and size, against what is painted behind it.
_CONTRASTS: Final = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((each, i) => (each * a + below[i] * (255 - a)) / 255);
  const light = (colour) => {
    const [r, g, b] = colour.map((each) => (each <= 10 ? each / 3294 : ((each / 255 + .055) / 1.055) ** 2.4));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = (element) => {
    if (!element) return rgba("Canvas").slice(0, 3);
    const colour = rgba(getComputedStyle(element).backgroundColor);
    return colour[3] === 255 ? colour.slice(0, 3) : over(colour, behind(element.parentElement));
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const element = node.parentElement;
    if (!node.data.trim() || element.closest("script, style") || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const below = behind(element);
    const colour = element instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(over(rgba(colour), below)), light(below)].sort((x, y) => y - x);
    found.push([(a + .05) / (b + .05), node.data.trim().slice(0, 40), element.getAttribute("class"), colour]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for this file; its loop must not stay in the process of other tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of all verdicts."""
    file = tmp_path_factory.mktemp("report") / "contracts.html"
    file.write_text(page(verifications()), "utf-8")
    return file


Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, report: Path) -> Iterator[Open]:
    """Opens the report at a place; the console stays silent and nothing is asked for."""
    said: list[str] = []
    contexts: list[BrowserContext] = []

    def open_(at: str = "", size: tuple[int, int] = DESK, *, dark: bool = False, scripts: bool = True) -> Page:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            java_script_enabled=scripts,
        )
        contexts.append(context)
        context.set_default_timeout(10_000)
        context.on("request", lambda request: said.append(request.url))
        context.on("console", lambda message: said.append(message.text))
        context.on("weberror", lambda error: said.append(str(error.error)))
        page = context.new_page()
        page.goto(report.as_uri() + (f"#{at}" if at else ""))
        return page

    yield open_
    for context in contexts:
        context.close()
    assert {each.partition("#")[0] for each in said} <= {report.as_uri()}


STATES = {
    "matrix": ("", DESK, False),
    "matrix-dark": ("", DESK, True),
    "phone": ("", PHONE, False),
    "phone-dark": ("", PHONE, True),
    "stream": (CELL, DESK, False),
    "stream-dark": (CELL, DESK, True),
    "stream-phone": (CELL, PHONE, True),
    "difference": (DIFFERENCE, DESK, False),
    "difference-phone": (DIFFERENCE, PHONE, True),
    "broken": (BROKEN, DESK, False),
    "broken-phone": (BROKEN, PHONE, False),
    "endless-words-phone": (ENDLESS, PHONE, False),
}


@pytest.mark.parametrize("state", STATES)
def test_every_state_can_be_read(opened: Open, state: str, tmp_path: Path) -> None:
    """Nothing is wider than the screen, and a page in the dark is dark.

    Every text stands out against its ground (WCAG 2.2 section 1.4.3, AA).
    """
    at, size, dark = STATES[state]
    page = opened(at, size, dark=dark)
    page.screenshot(path=tmp_path / f"{state}.png")
    widths = page.evaluate(
        "[document.documentElement, ...document.querySelectorAll('dialog[open]')].map(e => e.scrollWidth)"
    )
    assert max(widths) <= size[0]
    edges = page.evaluate("[...document.querySelectorAll('.row td, .row th')].map(e => e.getBoundingClientRect())")
    assert all(0 <= each["left"] < each["right"] <= size[0] for each in edges)
    poor = [each for each in page.evaluate(_CONTRASTS) if each[0] < 4.5]
    assert poor == []
    corner = page.evaluate("getComputedStyle(document.body).backgroundColor")
    shade = sum(int(each) for each in corner.removeprefix("rgb(").rstrip(")").split(",")) / 3
    assert shade < 40 if dark else shade > 215


def luminance(page: Page, box: FloatRect) -> float:
    """The mean lightness of a part of the screen, 0 to 255, as it is painted."""
    picture = base64.b64encode(page.screenshot(clip=box)).decode()
    mean: float = page.evaluate(
        """async (picture) => {
          const bytes = Uint8Array.from(atob(picture), (each) => each.charCodeAt(0));
          const image = await createImageBitmap(new Blob([bytes]));
          const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
          canvas.drawImage(image, 0, 0);
          const data = canvas.getImageData(0, 0, image.width, image.height).data;
          let sum = 0;
          for (let at = 0; at < data.length; at += 4) sum += (data[at] + data[at + 1] + data[at + 2]) / 3;
          return sum / (data.length / 4);
        }""",
        picture,
    )
    return mean


def test_evidence_covers_the_page_at_the_right(opened: Open) -> None:
    """As painted: the sheet is as light as the page was or lighter, and what it leaves of the page is dimmed."""
    page = opened()
    left: FloatRect = {"x": 0, "y": 0, "width": 200, "height": 800}
    right: FloatRect = {"x": 700, "y": 0, "width": 500, "height": 800}
    before = luminance(page, left), luminance(page, right)
    page.locator(f'a.cell[href$="{CELL.replace("@", "%40")}"]').click()
    after = luminance(page, left), luminance(page, right)
    assert after[0] < before[0] * 0.75
    assert 180 < after[1] != before[1]


def test_a_page_in_the_dark_is_painted_dark(opened: Open) -> None:
    whole: FloatRect = {"x": 0, "y": 0, "width": DESK[0], "height": DESK[1]}
    assert luminance(opened(dark=True), whole) < 60
    assert luminance(opened(), whole) > 200


def test_a_cell_opens_its_evidence_and_escape_closes_it(opened: Open) -> None:
    """The address names it, so it can be sent; the focus returns to the cell, and the page has not moved."""
    page = opened()
    cell = page.locator(f'a.cell[href$="{CELL.replace("@", "%40")}"]')
    cell.scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    cell.focus()
    page.keyboard.press("Enter")
    assert page.locator("dialog[open]").count() == 1
    assert page.locator(".panel.shown").get_attribute("id") == CELL
    assert page.evaluate("document.activeElement.closest('dialog[open]') !== null")
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('dialog[open]')")
    assert page.evaluate("document.activeElement.getAttribute('href')") == cell.get_attribute("href")
    assert (page.evaluate("scrollY"), page.evaluate("location.hash")) == (before, "")


def test_back_closes_the_evidence(opened: Open) -> None:
    """On a phone that is what people do."""
    page = opened(size=PHONE)
    page.locator("a.cell").first.click()
    assert page.locator("dialog[open]").count() == 1
    page.go_back()
    page.wait_for_function("!document.querySelector('dialog[open]')")


def test_tabs_lead_to_the_other_runtimes_and_differences(opened: Open) -> None:
    """The neighbour is one press away, and closing leads back to the matrix at once."""
    page = opened()
    page.locator("a.cell").first.click()
    page.locator("dialog[open] .tab.pair").first.click()
    assert page.locator(".panel.shown").get_attribute("id") == "errors.an_unknown_model@1.2.4~2.0.1"
    assert page.locator(".panel.shown .diff tbody tr").count() > 1
    page.locator("dialog[open] .close").click()
    page.wait_for_function("!document.querySelector('dialog[open]')")


def test_the_next_contract_is_that_of_the_same_runtime(opened: Open) -> None:
    page = opened("errors.an_unknown_model@2.0.1")
    page.locator("dialog[open] [rel=next]").click()
    assert page.locator(".panel.shown").get_attribute("id") == "errors.a_wrong_path@2.0.1"


def test_arrows_move_between_cells(opened: Open) -> None:
    page = opened()
    page.locator("a.cell").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.hash") == "#errors.a_wrong_path%402.0.1"


def test_the_time_axis_shows_an_event_for_arrows_and_for_a_finger(opened: Open) -> None:
    """Every mark is within the picture, later ones further right."""
    page = opened(CELL, PHONE)
    plot = page.locator(".panel.shown .plot")
    plot.focus()
    page.keyboard.press("ArrowRight")
    assert "1 · content" in page.locator(".panel.shown .readout").inner_text()
    plot.locator(".m.done").click(force=True)
    assert "[DONE]" in page.locator(".panel.shown .readout").inner_text()
    box = plot.bounding_box()
    assert box is not None
    places = page.evaluate(
        "[...document.querySelectorAll('.panel.shown .plot .m')].map(e => e.getBoundingClientRect().x)"
    )
    assert places == sorted(places)
    assert places[-1] - places[0] > box["width"] / 3
    assert box["x"] <= places[0]
    assert places[-1] <= box["x"] + box["width"]


def test_filters_leave_what_is_asked_for(opened: Open) -> None:
    """By words, area, verdict and difference; none left is said, with a way out."""
    page = opened()
    rows = page.locator(".row:visible")
    every = rows.count()
    page.get_by_label("Area").select_option("streams")
    assert rows.count() == 3
    page.get_by_label("Area").select_option("")
    page.get_by_label("Verdict", exact=True).select_option("broken")
    assert rows.count() == 2
    page.get_by_label("Verdict", exact=True).select_option("")
    page.locator("[name=differ]").check()
    assert rows.count() == 2
    page.get_by_role("searchbox").fill("nobody says this")
    assert rows.count() == 0
    page.get_by_role("button", name="Show them all").click()
    assert rows.count() == every


def test_without_scripts_the_matrix_and_the_evidence_can_be_read(opened: Open) -> None:
    """In a reader, a mail program or a strict browser."""
    page = opened(scripts=False)
    assert page.locator(".row").first.is_visible()
    assert not page.locator(".filters").is_visible()
    assert not page.locator(".panel").first.is_visible()
    page.locator(f'a.cell[href$="{BROKEN.replace("@", "%40")}"]').click()
    assert page.locator(f'[id="{BROKEN}"]').is_visible()
    assert page.locator(f'[id="{BROKEN}"] pre').last.is_visible()
    assert page.locator(".panel:visible").count() == 1


def test_evidence_that_is_kept_elsewhere_is_there_when_it_is_opened(opened: Open) -> None:
    """2.2.1 answers as 2.0.1 does, and the page holds the answer once."""
    page = opened("errors.an_unknown_model@2.2.1")
    assert "No such model" in page.locator(".panel.shown").inner_text()
    assert page.locator(".panel.shown [data-same]").count() == 0


def test_on_paper_the_matrix_stands_without_its_controls(opened: Open) -> None:
    page = opened()
    page.emulate_media(media="print")
    assert not page.locator(".filters").is_visible()
    assert page.locator(".matrix").is_visible()
