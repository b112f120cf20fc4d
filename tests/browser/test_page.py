"""Laws of the page of a run in a browser: it draws without errors, networks are pointed at, pinned and compared by mouse and by
keyboard, it fits a phone, and thousands of networks stay fluid."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hwnas.pipeline.report import write_report
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import FrontRow, read_front

sync_api = pytest.importorskip("playwright.sync_api", reason="the test extra is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH"),
    pytest.mark.slow(reason="starts a browser"),
]

DESKTOP = {"width": 1200, "height": 900}
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def run(made_run: Callable[..., RunFolder], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = made_run(tmp_path_factory.mktemp("browser") / "run", final=True)
    write_report(run)
    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"{CHROMIUM} does not start: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page from disk; whatever the console says in the meantime fails the test."""
    pages, said = [], list[str]()

    def open_page(path: Path, viewport: dict[str, int] = DESKTOP, **options: Any) -> Any:
        page = browser.new_page(viewport=viewport, **options)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if not request.url.startswith("file:") else None)
        page.goto(path.as_uri())
        page.wait_for_selector(".point")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert said == []


def point_at(page: Any, number: int) -> None:
    box = page.locator(f".point[data-number='{number}'] .hit").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def pinned(page: Any) -> list[str]:
    heads: list[str] = page.locator("#compared .pair b").all_inner_texts()
    return [head.split(" ")[0] for head in heads]


def scattered(rows: list[FrontRow]) -> tuple[int, int]:
    """The numbers of two networks that are far from each other in the picture: the fastest and the slowest."""
    return 0, len(rows) - 1


def test_the_table_has_the_numbers_of_front_csv(run: RunFolder, opened: Callable[..., Any]) -> None:
    page = opened(run.report)
    for row in read_front(run.front):
        cells = page.locator(f"tr[data-id='{row.arch_id}'] td[data-column]").evaluate_all(
            "cells => cells.map(cell => [cell.dataset.column, cell.dataset.value])"
        )
        assert {"loss_val", "accuracy_test", "predicted_ms", "measured_ms", "params"} <= {name for name, _ in cells}
        for name, value in cells:
            assert json.loads(value) == row.cells[name]


def test_a_network_that_is_pointed_at_is_told_in_words(run: RunFolder, opened: Callable[..., Any]) -> None:
    page, rows = opened(run.report), read_front(run.front)
    assert page.locator("#tip").is_hidden()
    for number in scattered(rows):
        point_at(page, number)
        words = page.locator("#tip").inner_text()
        assert rows[number].arch_id in words and f"p10 {rows[number].measured_ms:.4g}" in words
    page.mouse.move(5, 5)
    assert page.locator("#tip").is_hidden()


def test_two_networks_that_are_clicked_are_compared(run: RunFolder, opened: Callable[..., Any]) -> None:
    page, rows = opened(run.report), read_front(run.front)
    first, second = scattered(rows)
    for number in (first, second):
        point_at(page, number)
        page.mouse.down()
        page.mouse.up()
    assert pinned(page) == [rows[first].arch_id, rows[second].arch_id]
    facts = page.locator("#facts").inner_text()
    assert "B against A" in facts and f"{rows[second].params:,}" in facts
    letters = page.locator("#stages .block small").all_inner_texts()
    assert any(text.startswith("block1, ") and text.endswith(" ms") for text in letters)
    assert page.locator("#bars .bar.a").count() == page.locator("#bars .bar.b").count() > 5
    assert "% too" in page.locator("#compared").inner_text()


def test_the_keyboard_reaches_pins_and_frees_networks(run: RunFolder, opened: Callable[..., Any]) -> None:
    page, rows = opened(run.report), read_front(run.front)
    page.locator("#y").focus()
    page.keyboard.press("Tab")
    assert rows[0].arch_id in page.locator("#tip").inner_text()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert pinned(page) == [rows[0].arch_id, rows[1].arch_id]
    assert page.locator(".point[aria-pressed=true]").count() == 2
    page.keyboard.press("Escape")
    assert pinned(page) == [] and page.locator(".point[aria-pressed=true]").count() == 0


def test_another_axis_moves_the_networks(run: RunFolder, opened: Callable[..., Any]) -> None:
    page = opened(run.report)
    box = page.locator(".point .hit").nth(1).bounding_box()
    page.select_option("#x", "params")
    assert page.locator(".point .hit").nth(1).bounding_box() != box
    assert "parameters" in page.locator("#chart svg").text_content()
    assert page.locator("#chart line.budget").count() == 0  # budgets are of latencies


def test_all_parts_fit_a_phone(run: RunFolder, opened: Callable[..., Any]) -> None:
    page = opened(run.report, PHONE)
    page.get_by_role("button", name="Compare the fastest and the best").click()
    assert len(pinned(page)) == 2
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_dark_mode_has_light_words_on_a_dark_page(run: RunFolder, opened: Callable[..., Any]) -> None:
    def luminance(page: Any, style: str) -> float:
        colour = page.evaluate(f"getComputedStyle(document.body).{style}")
        return sum(int(part) for part in colour.strip("rgb()").split(",")) / 765

    light, dark = (opened(run.report, color_scheme=scheme) for scheme in ("light", "dark"))
    assert luminance(light, "backgroundColor") - luminance(light, "color") > 0.7
    assert luminance(dark, "color") - luminance(dark, "backgroundColor") > 0.7


def test_thousands_of_networks_are_pointed_at(
    made_run: Callable[..., RunFolder], tmp_path: Path, opened: Callable[..., Any], record_property: Any
) -> None:
    run = made_run(tmp_path / "run", 5000)
    path = write_report(run)
    page = opened(path)
    assert path.stat().st_size < 2_000_000
    told = page.evaluate(
        """() => {
          const chart = document.getElementById("chart"), box = chart.getBoundingClientRect(), words = new Set();
          const began = performance.now();
          for (let step = 0; step < 100; step++) {
            const clientX = box.left + 60 + (step / 100) * (box.width - 80), clientY = box.top + box.height * 0.7;
            chart.dispatchEvent(new PointerEvent("pointermove", { clientX, clientY }));
            words.add(document.getElementById("tip").innerText);
          }
          return [(performance.now() - began) / 100, words.size];
        }"""
    )
    record_property("milliseconds_per_hover", told[0])
    print(f"5,000 networks: {told[0]:.1f} ms per hover, page of {path.stat().st_size / 1e6:.2f} MB")
    assert told[1] > 10
