"""The notebooks in JupyterLab and the page, in Debian's chromium, as a person uses them; pictures in build/screenshots.

make test-browser runs these alone. The notebooks are copies, on the recipe's smoke part: a small synthetic corpus.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
import soundfile
from conftest import ROOT
from playwright.sync_api import Browser, Locator, Page, sync_playwright
from test_train_own import machines

from asc_kit.run import batch

pytestmark = pytest.mark.browser
SHOTS = ROOT / "build" / "screenshots"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run"]  # fmt: skip
SETTINGS = {  # all cells stand in the page, also those out of sight; no news, no pop-ups
    "@jupyterlab/notebook-extension": {"tracker": {"windowingMode": "none"}},
    "@jupyterlab/apputils-extension": {"notification": {"fetchNews": "false", "checkForUpdates": False}},
}
MINUTES = 60_000  # ms


def control(page: Page, name: str) -> Locator:
    """An explorer's control by its description."""
    return page.locator(".widget-inline-hbox").filter(has=page.locator(".widget-label", has_text=name)).first


def slide(page: Page, name: str) -> None:
    """Move a slider by the keyboard."""
    handle = control(page, name).locator(".noUi-handle")
    handle.focus()
    handle.press("ArrowLeft")


def choose(page: Page, name: str, option: str) -> None:
    """Choose in a dropdown."""
    control(page, name).locator("select").select_option(option)


def choose_next(page: Page, name: str) -> None:
    """Choose a dropdown's second option."""
    control(page, name).locator("select").select_option(index=1)


def theme(page: Page, name: str) -> None:
    """Change JupyterLab's theme."""
    page.evaluate(f"jupyterapp.commands.execute('apputils:change-theme', {{theme: 'JupyterLab {name}'}})")
    page.wait_for_function(f"() => document.body.dataset.jpThemeLight == '{str(name == 'Light').lower()}'")


# notebook -> what is done, and words of the text in the place of the picture that it changes
EXPLORERS: dict[str, list[tuple[Callable[[Page], None], str]]] = {
    "01_corpus": [(lambda page: choose_next(page, "class"), "log-mel spectrograms of")],
    "02_features": [(lambda page: slide(page, "mel bins M"), "log-mel of")],
    "04_architecture": [(lambda page: slide(page, "blocks, row 5"), "KB by row")],
    "06_evaluate": [(lambda page: choose_next(page, "confusion"), "taken for")],
    "08_submissions": [(lambda page: choose(page, "curve", "learning_rate"), "by epoch")],
}  # fmt: skip
# Texts whose contrast with what is behind them is below 4.5, and pictures that are not on paper of their own.
UNREADABLE = """() => {
  const colour = text => text.match(/[\\d.]+/g).map(Number);
  const light = rgb => rgb.slice(0, 3).map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => { const rgb = colour(getComputedStyle(e).backgroundColor);
    return (rgb[3] ?? 1) > 0.5 || !e.parentElement ? rgb : behind(e.parentElement); };
  const written = e => e.checkVisibility() && !e.disabled
    && [...e.childNodes].some(node => node.nodeType == 3 && node.data.trim());
  const faint = e => { const text = light(colour(getComputedStyle(e).color)), paper = light(behind(e));
    return (Math.max(text, paper) + 0.05) / (Math.min(text, paper) + 0.05) < 4.5; };
  const bare = image => { const canvas = new OffscreenCanvas(1, 1).getContext("2d");
    canvas.drawImage(image, 0, 0); return canvas.getImageData(0, 0, 1, 1).data[3] < 255; };
  const inside = tag => [...document.querySelectorAll(`.jp-OutputArea-output ${tag}`)];
  return [...inside("*").filter(written).filter(faint).map(e => e.outerHTML.slice(0, 200)),
          ...inside("img").filter(bare).map(e => `on no paper: ${e.alt}`)];
}"""
HEARD = ("01_corpus", "02_features", "06_evaluate")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the notebooks that write beside themselves, a run for those that show one, and settings."""
    home = tmp_path_factory.mktemp("jupyter")
    results = home / "results"
    batch.execute("notebooks/05_train.ipynb", home / "05_train.ipynb", {"results_dir": str(results)})
    shutil.copytree(ROOT / "notebooks" / "pictures", home / "pictures")
    noise = 0.1 * np.random.default_rng(0).standard_normal(2 * 44100)
    soundfile.write(home / "noise.wav", noise, 44100)  # for 10_your_recording
    for name in ("00_start_here", "10_your_recording", "15_your_data", *EXPLORERS):
        book = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        for cell in book.cells:
            if "parameters" in cell.metadata.get("tags", []):
                cell.source = cell.source.replace('"results"', repr(str(results)))
                cell.source = cell.source.replace("config/tau2022.yaml", "config/demo.yaml").replace(
                    '"tau2022"', "None"
                )
                cell.source = cell.source.replace('submission: str = "4"', 'submission: str = "1"')  # 05's
                cell.source = cell.source.replace("audio: str = None", f"audio: str = {str(home / 'noise.wav')!r}")
                cell.source = cell.source.replace("changes: dict = {}", "changes: dict = {'epochs': 2}")
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(book, home / f"{name}.ipynb")
    for extension, plugins in SETTINGS.items():
        for plugin, values in plugins.items():
            file = home / "settings" / extension / f"{plugin}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))
    return home


@pytest.fixture(scope="module")
def lab(home: Path) -> Iterator[str]:
    """JupyterLab on a free port with a token: a function's address with ``{}`` for the notebook."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
               "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
               f"--ServerApp.root_dir={home}", "--LabApp.expose_app_in_browser=True"]  # fmt: skip
    environment = os.environ | {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "PYTHONPATH": str(ROOT)}
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log)
    try:
        wait_for(
            lambda: answers(f"http://127.0.0.1:{port}/api?token={token}"), 60, lambda: (home / "server.log").read_text()
        )
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token={token}&reset"
    finally:
        server.terminate()  # its kernels end with it
        server.wait(30)


def answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except (urllib.error.URLError, OSError):
        return False


def wait_for(done: Callable[[], bool], seconds: float, why: Callable[[], str]) -> None:
    """Until ``done``; else fail with the reason."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, why()
        time.sleep(1)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


def run_all(page: Page, file: Path, command: str = "runmenu:run-all", cells: slice = slice(None)) -> None:
    """Run > Run All Cells, or another command there, until these cells were run and saved without an error."""
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=2 * MINUTES)
    page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=2 * MINUTES)  # the kernel is there
    page.locator(".lm-MenuBar-item", has_text="Run").first.click()
    page.locator(f'.lm-Menu-item[data-command="{command}"]').click()

    def ended() -> bool:
        page.keyboard.press("Control+s")
        try:
            book = nbformat.read(file, as_version=4)
        except nbformat.reader.NotJSONError:  # being written
            return False
        run = [cell for cell in book.cells[cells] if cell.cell_type == "code"]
        faults = [output for cell in run for output in cell.outputs if output.output_type == "error"]
        assert not faults, faults[0].evalue
        return all(cell.execution_count for cell in run)

    try:
        wait_for(ended, 300, lambda: f"{file.name} did not end")
    except AssertionError:
        page.screenshot(path=SHOTS / f"{file.stem}_failed.png")
        raise


@pytest.mark.parametrize("name", EXPLORERS)
def test_explorer(lab: str, home: Path, browser: Browser, name: str) -> None:
    page = browser.new_page(viewport={"width": 1300, "height": 2600})
    page.set_default_timeout(MINUTES)
    page.goto(lab.format(f"{name}.ipynb"))
    run_all(page, home / f"{name}.ipynb")
    page.locator(".jp-OutputArea .widget-html img").first.wait_for()
    for number, (act, alt) in enumerate(EXPLORERS[name], 1):
        pictures = page.locator(f'.widget-html img[alt*="{alt}"]')
        explorer = page.locator(".jp-OutputArea-output > .widget-vbox").filter(has=pictures).first
        explorer.screenshot(path=SHOTS / f"{name}_{number}_before.png")
        before = pictures.first.get_attribute("src")
        act(page)
        page.wait_for_function("([alt, old]) => document.querySelector(`.widget-html img[alt*='${alt}']`).src != old",
                               arg=[alt, before])  # fmt: skip
        page.wait_for_function("() => !document.body.innerText.includes('working …')")
        explorer.screenshot(path=SHOTS / f"{name}_{number}_after.png")
    assert not page.evaluate(UNREADABLE)
    theme(page, "Dark")
    explorer.screenshot(path=SHOTS / f"{name}_dark.png")
    faint = page.evaluate(UNREADABLE)
    theme(page, "Light")  # JupyterLab keeps it
    assert not faint
    if name in HEARD:
        sounds = page.locator("audio")
        assert sounds.count() > 0
        page.wait_for_function("() => [...document.querySelectorAll('audio')].every(sound => sound.duration > 0.1)")
    page.close()


def test_your_recording(lab: str, home: Path, browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 1300, "height": 2600})
    page.set_default_timeout(MINUTES)
    page.goto(lab.format("10_your_recording.ipynb"))
    run_all(page, home / "10_your_recording.ipynb")
    explorer = page.locator(".jp-OutputArea-output > .widget-vbox").first
    picture = explorer.locator(".widget-html img")
    before = picture.get_attribute("src")
    soundfile.write(tmp_path / "mine.wav", 0.1 * np.sin(np.arange(3 * 44100) / 9), 44100)
    with page.expect_file_chooser() as chooser:
        explorer.locator("button.jupyter-button").click()
    chooser.value.set_files(tmp_path / "mine.wav")
    page.wait_for_function("old => document.querySelector('.widget-html img').src != old", arg=before)
    page.wait_for_function("() => [...document.querySelectorAll('audio')].some(s => Math.abs(s.duration - 3) < 0.1)")
    assert "mine.wav" in picture.get_attribute("alt")
    explorer.screenshot(path=SHOTS / "10_your_recording.png")
    page.close()


def test_your_data(lab: str, home: Path, browser: Browser) -> None:
    """A folder is chosen, heard, trained on and judged, and a file classified, as the notebook says."""
    mine = machines(home / "my sounds")
    book = nbformat.read(home / "15_your_data.ipynb", as_version=4)
    (after,) = [number for number, cell in enumerate(book.cells) if cell.source.startswith("folder = chosen.folder")]
    page = browser.new_page(viewport={"width": 1300, "height": 6000})
    page.set_default_timeout(MINUTES)
    page.goto(lab.format("15_your_data.ipynb"))
    cell = page.locator(".jp-Notebook .jp-Cell").nth(after)
    cell.locator(".jp-InputPrompt").click()
    run_all(page, home / "15_your_data.ipynb", "notebook:run-all-above", slice(after))
    box = page.locator(".jp-OutputArea-output > .widget-vbox").first
    box.locator("audio").nth(9).wait_for(state="attached")  # a clip of each of the example's ten classes
    control(page, "folder").locator("input").fill(str(mine))
    control(page, "folder").locator("input").press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.widget-vbox audio').length == 3")
    page.wait_for_function("() => [...document.querySelectorAll('.widget-vbox audio')].every(s => s.duration > 0.4)")
    assert control(page, "go to").locator("option").all_text_contents()[2:] == [
        f"machine\N{NO-BREAK SPACE}{n}" for n in (1, 2, 3)
    ]
    cell.locator(".jp-InputPrompt").click()
    run_all(page, home / "15_your_data.ipynb", "notebook:run-all-below", slice(None))
    text = page.locator(".jp-Notebook").inner_text()
    assert "of 18 clips from places it never heard" in text and "model.onnx" in text
    assert (home / "my sounds-model" / "best" / "model.onnx").is_file()
    page.screenshot(path=SHOTS / "15_your_data.png")
    page.close()


def test_start_here(lab: str, home: Path, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1300, "height": 4000})
    page.set_default_timeout(MINUTES)
    page.goto(lab.format("00_start_here.ipynb"))
    run_all(page, home / "00_start_here.ipynb")
    loaded = page.evaluate("[...document.querySelectorAll('.jp-RenderedMarkdown img')].map(i => i.naturalWidth > 0)")
    assert len(loaded) >= 12 and all(loaded)
    page.screenshot(path=SHOTS / "00_start_here.png")
    page.close()


WIDTHS = {"phone": 390, "desk": 1200}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_page(browser: Browser, width: str, scheme: str) -> None:
    context = browser.new_context(viewport={"width": WIDTHS[width], "height": 900}, color_scheme=scheme)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    address = (ROOT / "results" / "tau2022" / "index.html").as_uri()
    page.goto(address)
    page.wait_for_load_state("networkidle")
    assert not said and [url for url in asked if not url.startswith("data:")] == [address]
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "wider than the screen"
    page.screenshot(path=SHOTS / f"page_{width}_{scheme}.png", full_page=True)
    for _ in range(page.locator("nav a").count() + 2):  # by the keyboard: the contents, the first table, a column
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", "focus is not seen"
    assert page.evaluate("document.activeElement.closest('[role=region]').ariaLabel") == "Table 7"
    head = page.locator("#table-7 + .scroll th", has_text="accuracy").first
    rows = page.locator("#table-7 + .scroll tbody tr")
    for order in ("ascending", "descending"):
        head.locator("button").press("Enter")
        shown = [float(row.locator("td").nth(2).inner_text().partition("%")[0]) for row in rows.all()]
        assert head.get_attribute("aria-sort") == order and shown == sorted(shown, reverse=order == "descending")
    assert page.get_by_role("img", name="What each true class was taken for.").count() == 1
    context.close()
