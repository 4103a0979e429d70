"""The page in a browser: no error, no request, and everything that can be pressed does something.

Skipped where playwright (`pip install playwright`) or a Chromium is missing; no browser is downloaded.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from latentbench.results.report.build import report

MISSING = [name for name in ("playwright", "plotly", "itables") if find_spec(name) is None]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((path for name in BROWSERS if (path := shutil.which(name))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"the page's tests need: pip install {' '.join(MISSING)}"),
    pytest.mark.skipif(CHROMIUM is None, reason=f"the page's tests need one of {', '.join(BROWSERS)}"),
]

Open = Callable[..., Any]
LARGE_MARKERS = """[...document.querySelectorAll('.picture')]
    .flatMap(p => p.data || []).flatMap(t => t.marker?.size || []).filter(s => s === 15).length"""
LOADED_SECONDS = """new Promise((done, fail) => {
    const player = document.querySelector('audio');
    player.onloadedmetadata = () => done(player.duration);
    player.onerror = () => fail('it could not be loaded');
    player.preload = 'auto';
    player.load();
})"""
TABLES_WITHOUT_CAPTION_OR_SCOPE = """[...document.querySelectorAll('table')]
    .filter(t => !t.caption || [...t.querySelectorAll('thead th')].some(h => h.scope !== 'col')).length"""
CHARTS_WITHOUT_NAME_OR_TABLE = """[...document.querySelectorAll('.picture')]
    .filter(p => !p.getAttribute('aria-label') || !p.closest('figure').querySelector('details table')).length"""
CONTROLS_WITHOUT_NAME = """[...document.querySelectorAll('input, select, button, audio, canvas')]
    .filter(e => !e.labels?.length && !e.getAttribute('aria-label') && !e.textContent.trim()).length"""
MOVE = """([name, value]) => {
    const slider = document.querySelector(`input[name=${name}]`);
    slider.value = value;
    slider.dispatchEvent(new Event('input'));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report([folder], out=tmp_path_factory.mktemp("site") / "report")


@pytest.fixture
def visit(browser: Any, site: Path) -> Iterator[Open]:
    """Opens a view; at the end no page may have complained, asked for anything but files, or run a name as a script."""
    opened = []
    problems: list[str] = []

    def open_view(view: str = "", *, page: Path | None = None, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        tab = context.new_page()
        tab.set_default_timeout(60_000)
        tab.on(
            "console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None
        )
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("request", lambda request: problems.append(request.url) if not local(request.url) else None)
        tab.goto(f"file://{page or site}#{view}")
        tab.wait_for_selector("h1")
        opened.append((context, tab))
        return tab

    yield open_view
    for context, tab in opened:
        assert tab.evaluate("window.hit") is None
        context.close()
    assert problems == []


def move(tab: Any, name: str, value: int) -> None:
    tab.evaluate(MOVE, [name, value])


def local(url: str) -> bool:
    return url.startswith(("file:", "data:", "blob:"))


def first_line(tab: Any, section: int = 0) -> str:
    return str(tab.evaluate(f"report.data.sections[{section}].lines[0]"))


def no_value_is_spelt_out(tab: Any) -> bool:
    """Whether nothing on the page is a missing value in JavaScript's words."""
    return re.search(r"\bnull\b|undefined|NaN|\[object", tab.inner_text("main")) is None


def test_every_view_opens(visit: Open) -> None:
    tab = visit()
    for view in ("Overview", "Explorer", "Tokenizers", "Compare", "Calibration", "Failures (1)"):
        tab.click(f"nav >> text={view}")
        tab.wait_for_function("document.querySelector('nav a[aria-current]') !== null")
        assert tab.inner_text("nav a[aria-current]") == view
        assert no_value_is_spelt_out(tab)


def test_the_overview_of_one_data_set_needs_no_choice(visit: Open, folder: Path, tmp_path: Path) -> None:
    tab = visit(page=report([folder], out=tmp_path / "one.html", where="modality=image"))
    tab.wait_for_selector(".tiles")
    assert no_value_is_spelt_out(tab)


def test_the_overview_answers_draws_and_cuts_at_equal_rate(visit: Open) -> None:
    tab = visit()
    assert "10 of 11" not in tab.inner_text(".tiles")
    assert "40 of 41" in tab.inner_text(".tiles")
    tab.click(".chips >> text=video · video")
    assert "It is better than the other 4" in tab.inner_text(".cards")
    assert tab.locator(".picture .point").count() == 5
    before = tab.inner_text(".slice tbody")
    tab.locator("input[name=rate]").focus()
    tab.keyboard.press("Home")
    assert tab.inner_text(".slice tbody") != before
    assert "vq-vae" in tab.inner_text(".slice tbody")


def names(tab: Any) -> list[str]:
    return [text.strip() for text in tab.locator("table.grid tbody tr td:nth-child(2)").all_inner_texts()]


def test_the_explorer_sorts_filters_groups_and_restores_from_its_address(visit: Open, site: Path) -> None:
    tab = visit("explorer")
    assert tab.locator("table.grid tbody tr").count() == 21
    head = tab.locator("table.grid thead th", has_text="PSNR")
    place = head.evaluate("head => head.cellIndex") + 1
    cells = tab.locator(f"table.grid tbody tr td:nth-child({place})")
    head.click()
    tab.wait_for_selector("table.grid thead th[aria-sort=ascending] >> text=PSNR")
    ascending = cells.all_inner_texts()
    head.click()
    tab.wait_for_selector("table.grid thead th[aria-sort=descending] >> text=PSNR")
    values = [float(text.split(" ")[0]) for text in cells.all_inner_texts() if text != "–"]
    assert values == sorted(values, reverse=True)
    assert len(values) == 20
    assert ascending[-1] == "–"  # what has no value comes last, whichever way
    tab.select_option("select[name=modality]", "video")
    assert tab.locator("table.grid tbody tr").count() == 5
    tab.fill(".dt-search input", "channels=8")
    tab.wait_for_function("document.querySelectorAll('table.grid tbody tr').length === 2")
    assert "2 of 21 lines" in tab.inner_text("p[role=status]")
    tab.select_option("select[name=y]", "viv")
    tab.wait_for_function("document.querySelector('figcaption').textContent.startsWith('VIV over')")
    address = tab.url.partition("#")[2]
    again = visit(address)
    assert names(again) == names(tab)
    assert again.locator("figcaption").first.inner_text().startswith("VIV over")
    assert again.input_value("select[name=modality]") == "video"
    again.fill(".dt-search input", "")
    again.select_option("select[name=group]", "recipe")
    again.wait_for_selector("tr.dtrg-group")
    assert [text.strip() for text in again.locator("tr.dtrg-group").all_inner_texts()] == ["kl-vae (4)", "vq-vae (1)"]


def test_conditions_on_any_column_are_kept_in_the_address(visit: Open) -> None:
    one = {"condition": ">", "data": "PSNR [dB] ↑", "origData": None, "type": "num", "value": ["25"]}
    where = json.dumps({"criteria": [one], "logic": "AND"})
    tab = visit(f"explorer?where={where}")
    tab.wait_for_function("document.querySelectorAll('table.grid tbody tr').length === 4")
    tab.click("summary >> text=Conditions")
    tab.wait_for_selector(".dtsb-criteria")
    assert tab.locator(".dtsb-criteria").count() == 1


def test_a_heat_map_is_of_one_tokenizer(visit: Open) -> None:
    tab = visit("explorer?modality=image&z=psnr")
    tab.wait_for_selector("select[name=map]")
    assert tab.locator("select[name=map] option").all_inner_texts() == ["kl-vae"]  # vq-vae is at one of its points
    tab.wait_for_function("[...document.querySelectorAll('figcaption')].some(c => c.textContent.includes('of kl-vae'))")
    drawn, own = tab.evaluate("""(() => {
        const traces = [...document.querySelectorAll('.picture')].flatMap(p => p.data || []);
        const map = traces.find(t => t.type === 'heatmap');
        const lines = report.data.lines.filter(l => l.section === 0 && l.recipe === 'kl-vae' && l.cells.psnr);
        const at = (y, x) => lines.find(l => l.axes.downsample === y && l.axes.channels === x).cells.psnr[0];
        return [map.z.flatMap(row => [...row]), map.y.flatMap(y => map.x.map(x => at(y, x)))];
    })()""")
    assert drawn == own
    assert len(drawn) == 4
    options = tab.evaluate("""(() => {
        const place = document.createElement('div'), lines = report.data.lines.filter(l => l.section === 0);
        const twice = lines.flatMap(l => ['1', '2'].map(beta => ({...l, axes: {...l.axes, beta}})));
        document.querySelector('main').append(place);
        report.heatmap(place, twice);
        return [...place.querySelectorAll('select[name=map] option')].map(o => o.textContent);
    })()""")
    assert options == ["kl-vae beta=1", "kl-vae beta=2"]


def test_a_selected_line_is_marked_everywhere_and_can_be_compared(visit: Open) -> None:
    tab = visit("explorer?modality=image")
    for box in range(2):
        tab.locator("input[data-pick]").nth(box).focus()
        tab.keyboard.press("Space")
    assert tab.locator("tr.chosen").count() == 2
    assert "2 selected" in tab.inner_text(".chosen-bar")
    assert tab.evaluate(LARGE_MARKERS) == 2
    assert tab.evaluate("document.querySelectorAll('.picture')[1].layout.shapes.length") == 2
    tab.click(".chosen-bar >> text=Compare")
    tab.wait_for_selector("table.side canvas")
    assert tab.locator("table.side tbody tr").count() == 4
    assert tab.locator("table.side canvas").count() == 12
    assert "first is better" in tab.inner_text("main")
    tab.select_option("select[name=line-2]", index=1)
    tab.wait_for_function("document.querySelectorAll('table.side canvas').length === 16")


def test_a_click_on_a_point_selects_its_line(visit: Open) -> None:
    tab = visit("explorer?modality=image&facet=none")
    tab.locator(".picture .point").first.wait_for()
    box = tab.locator(".picture .point").first.bounding_box()
    tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.wait_for_selector(".chosen-bar")
    assert tab.locator("tr.chosen").count() == 1


def test_the_slider_moves_from_the_original_to_the_reconstruction(visit: Open) -> None:
    tab = visit("tokenizer")
    stage = tab.locator("canvas.stage")
    stage.wait_for()

    def drawn(cut: int) -> bytes:
        move(tab, "cut", cut)
        tab.wait_for_timeout(200)
        return bytes(stage.screenshot())

    original, reconstruction = drawn(100), drawn(0)
    assert original != reconstruction != drawn(50) != original
    assert drawn(100) == original
    width = stage.bounding_box()["width"]
    move(tab, "zoom", 3)
    tab.wait_for_function(
        "w => document.querySelector('canvas.stage').getBoundingClientRect().width > 2.9 * w", arg=width
    )
    tab.select_option("select[name=gain]", "4")
    tab.wait_for_function("document.querySelector('canvas.stage').style.filter === 'brightness(4)'")
    tab.select_option("select[name=order]", "worst")
    shown = tab.locator(".pair span").all_inner_texts()
    values = [float(text.rpartition(" ")[2]) for text in shown]
    assert values == sorted(values)


def test_clips_play_frame_by_frame(visit: Open, site: Path) -> None:
    tab = visit("tokenizer")
    tab.evaluate("location.hash = report.address('tokenizer', report.data.sections[1].lines[0])")
    place = tab.locator(".viewer .transport output")
    place.wait_for()
    assert place.inner_text() == "frame 1 of 4"
    tab.locator(".viewer input[aria-label=frame]").focus()
    tab.keyboard.press("ArrowRight")
    assert place.inner_text() == "frame 2 of 4"
    tab.click(".viewer .play")
    tab.wait_for_function("document.querySelector('.viewer .transport output').textContent !== 'frame 2 of 4'")
    assert tab.inner_text(".viewer .play") == "Pause"


def test_sounds_have_players_that_load_waves_and_spectrograms(visit: Open) -> None:
    tab = visit("tokenizer")
    tab.evaluate("location.hash = report.address('tokenizer', report.data.sections[3].lines[0])")
    tab.wait_for_selector("table.sounds audio")
    heads = tab.locator("table.sounds thead th").all_inner_texts()
    assert heads == ["#", "original", "reconstruction", "vocoder only"]
    assert tab.locator("table.sounds audio").count() == 12
    seconds = tab.evaluate(LOADED_SECONDS)
    assert seconds == pytest.approx(0.064, abs=1e-3)
    assert tab.evaluate("document.querySelector('.sound img').naturalWidth") > 0
    assert tab.locator("svg.wave path").first.get_attribute("d").count("L") > 200


def test_operating_points_follow_their_slider(visit: Open) -> None:
    tab = visit("tokenizer")
    tab.wait_for_selector("input[name=point]")
    tab.locator("input[name=point]").focus()
    tab.keyboard.press("Home")
    assert "At 2" in tab.inner_text("main")


def test_dark_and_light_can_be_chosen_and_follow_the_system(visit: Open) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light, dark = visit(color_scheme="light"), visit(color_scheme="dark")
    assert light.evaluate(background) != dark.evaluate(background)
    dark.click("#theme")
    assert light.evaluate(background) == dark.evaluate(background)
    dark.reload()
    dark.wait_for_selector("h1")
    assert light.evaluate(background) == dark.evaluate(background)


@pytest.mark.parametrize("view", ["overview", "explorer", "tokenizer", "compare", "calibration", "failures"])
def test_a_phone_scrolls_down_alone(visit: Open, view: str) -> None:
    tab = visit(view, viewport={"width": 390, "height": 844})
    tab.wait_for_timeout(300)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390


def test_tables_and_charts_can_be_read_aloud(visit: Open) -> None:
    tab = visit("tokenizer")
    tab.wait_for_selector(".picture")
    assert tab.evaluate(TABLES_WITHOUT_CAPTION_OR_SCOPE) == 0
    assert tab.evaluate(CHARTS_WITHOUT_NAME_OR_TABLE) == 0
    assert tab.evaluate(CONTROLS_WITHOUT_NAME) == 0
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to content"


def test_one_file_does_all_that_too(visit: Open, folder: Path, tmp_path: Path) -> None:
    single = report([folder], out=tmp_path / "one.html", where="modality=waveform")
    tab = visit("tokenizer", page=single)
    tab.wait_for_selector("table.sounds audio")
    tab.click("nav >> text=Explorer")
    assert tab.locator("table.grid tbody tr").count() == 5
