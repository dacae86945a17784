"""The page that listens, in Debian's chromium with its fake microphone; pictures in build/screenshots."""

import base64
import functools
import json
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from conftest import ROOT, SHARED
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from asc_kit.deploy import compact, recordings, web

pytestmark = pytest.mark.browser
SHOTS = ROOT / "build" / "screenshots"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
MODEL = ROOT / "results" / "tut2017_full" / "submission_4" / "seed_0" / "model.safetensors"
RATE = 44100
# No name is found but that of an address that is no secure one, to which browsers give no microphone.
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run",
         "--host-resolver-rules=MAP page.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # fmt: skip
FAKE = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
READY = re.compile("^Ready")
WAIT = 120_000  # ms; the machine may be at work
FETCH = "(address) => fetch(address).then(() => 'fetched', () => 'refused')"
LAST = "async () => { const { last } = await import('/app.js'); return last && {...last, samples: [...last.samples ?? []]}; }"
DROP = """(target, [name, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt()), dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name));
  target.dispatchEvent(new DragEvent("dragover", { dataTransfer, bubbles: true, cancelable: true }));
  target.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true })); }"""


class Server:
    """A folder on a free port, as ``python -m http.server``; ``asked``: the paths."""

    def __init__(self, folder: Path):
        self.asked: list[str] = []

        class Handler(SimpleHTTPRequestHandler):
            def log_message(handler, *_: object) -> None:
                self.asked.append(handler.path)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.server.handle_error = lambda *_: None  # a page that is left breaks its connections
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("npm") is None:
        pytest.skip("npm is not here, which brings onnxruntime-web")
    out = tmp_path_factory.mktemp("page") / "out"
    web.write(MODEL, out)
    return out


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def model() -> compact.Model:
    return compact.load(MODEL)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds, 44.1 kHz, 16 bits: a recording of TUT 2017 or, where they are not, brown noise."""
    file = tmp_path_factory.mktemp("clip") / "clip.wav"
    real = SHARED / "tut2017" / "audio" / "b050_50_60.flac"
    if real.exists():
        wave = soundfile.read(real)[0]
    else:
        steps = np.random.default_rng(0).standard_normal(10 * RATE)
        wave = np.cumsum(steps - steps.mean())  # it ends where it began, since it is played in a loop
        wave *= 0.5 / np.abs(wave).max()
    soundfile.write(file, wave, RATE, subtype="PCM_16")
    return file


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        yield playwright


def start(playwright: Playwright, *options: str) -> Browser:
    return playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *options])


@pytest.fixture(scope="module")
def browser(playwright: Playwright, clip: Path) -> Iterator[Browser]:
    browser = start(playwright, *FAKE, f"--use-file-for-fake-audio-capture={clip}")
    yield browser
    browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    yield context
    context.close()


def opened(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda said: page.faults.append(said.text) if said.type == "error" else None)
    page.goto(address)
    expect(page.locator("#status")).to_have_text(READY, timeout=WAIT)
    return page


@pytest.fixture(scope="module")
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """One for all that need nothing of their own."""
    with browser.new_context(viewport={"width": 1200, "height": 900}) as context:
        yield opened(context, server.address)


def status(page: Page, text: str) -> None:
    expect(page.locator("#status")).to_contain_text(text, timeout=WAIT)


def give(page: Page, file: Path) -> None:
    page.locator("#file").set_input_files(file)


def shown(page: Page) -> np.ndarray:
    """The bars' probabilities."""
    return np.array([bar.evaluate("bar => bar.value") for bar in page.locator("progress").all()])


def check(page: Page, file: Path, model: compact.Model, tolerance: float) -> None:
    """What stands in the page of a file is what `predict` says."""
    want = recordings.score(model, file).probabilities
    assert np.abs(shown(page) - want).max() < tolerance
    assert page.locator("#scene").inner_text().startswith(model.classes[want.argmax()].replace("_", " "))
    assert page.locator("tr.best th").inner_text() == model.classes[want.argmax()].replace("_", " ")


def long(wave: np.ndarray) -> np.ndarray:
    return np.concatenate([wave, 0.5 * wave[::-1], wave, 0.1 * wave])[: 37 * RATE]


# name -> what becomes of the clip, format, rate, tolerance of a probability
FILES = {
    "own.wav": (lambda wave: wave, "PCM_16", RATE, 1e-4),
    "deep.flac": (lambda wave: wave, "PCM_24", RATE, 1e-4),
    "stereo.wav": (lambda wave: np.stack([wave, 0.3 * wave[::-1]], 1), "FLOAT", RATE, 1e-4),
    "cancels.wav": (lambda wave: np.stack([0.5 * wave, -wave], 1), "PCM_24", RATE, 1e-4),
    "37 s.wav": (long, "PCM_16", RATE, 1e-4),
    "short.wav": (lambda wave: wave[: round(1.3 * RATE)], "PCM_16", RATE, 1e-4),
    "48k.wav": (lambda wave: wave, "FLOAT", 48000, 1e-3),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_gives_what_predict_gives(
    page: Page, clip: Path, model: compact.Model, tmp_path: Path, name: str
) -> None:
    change, width, rate, tolerance = FILES[name]
    wave = soxr.resample(change(soundfile.read(clip)[0]), RATE, rate, quality="VHQ")
    soundfile.write(tmp_path / name, wave, rate, subtype=width)
    give(page, tmp_path / name)
    status(page, f"{name}: {len(wave) / rate:.1f} s")
    assert ("48000 Hz resampled to 44100 Hz" in page.locator("#status").inner_text()) == (rate == 48000)
    check(page, tmp_path / name, model, tolerance)
    assert re.search(r"s classified in \d+ ms on this device", page.locator("#time").inner_text())
    assert not page.faults


def test_a_dropped_file(page: Page, clip: Path, model: compact.Model) -> None:
    page.locator("body").evaluate(DROP, [clip.name, base64.b64encode(clip.read_bytes()).decode()])
    status(page, "clip.wav: 10.0 s")
    check(page, clip, model, 1e-4)
    page.screenshot(path=SHOTS / "listen_file.png", full_page=True)


def test_files_that_cannot_be_classified(page: Page, clip: Path, model: compact.Model, tmp_path: Path) -> None:
    wave = soundfile.read(clip)[0]
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "empty.wav").touch()
    soundfile.write(tmp_path / "silent.wav", 0 * wave, RATE)
    soundfile.write(tmp_path / "brief.wav", wave[:30000], RATE)
    soundfile.write(tmp_path / "nan.wav", np.where(np.arange(len(wave)) == 9, np.nan, wave), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "whole.wav", 32768 * wave, RATE, subtype="FLOAT")
    with (tmp_path / "large.wav").open("wb") as file:
        file.truncate(65_000_000)
    for name, why in {
        "text.wav": "is no sound that this browser can decode; convert it to wav", "empty.wav": "is no sound that",
        "silent.wav": "is silent; there is nothing to classify", "brief.wav": "lasts 0.68 s; give 1 s or more",
        "nan.wav": "holds NaN", "whole.wav": "holds samples far beyond full scale", "large.wav": "has more than 64 MB",
    }.items():  # fmt: skip
        give(page, tmp_path / name)
        status(page, f"{name}: {why}")
        assert page.locator("#scene").inner_text() == "–" and not shown(page).any()
    soundfile.write(tmp_path / "low.wav", soxr.resample(wave, RATE, 16000), 16000)
    give(page, tmp_path / "low.wav")
    status(page, "doubtful, since it holds nothing above 8000 Hz, where the network hears up to 16000")
    give(page, clip)  # and it goes on
    status(page, "clip.wav: 10.0 s")
    check(page, clip, model, 1e-4)
    assert not page.faults


def heard(page: Page, samples: int) -> dict:
    """The microphone's last result, once its window holds ``samples``."""
    for _ in range(WAIT // 500):
        last = page.evaluate(LAST)
        if last and len(last["samples"]) >= samples:
            return last
        page.wait_for_timeout(500)
    pytest.fail(f"{samples} samples were not heard: {page.locator('#status').inner_text()}")


def place(wave: np.ndarray, piece: np.ndarray) -> int:
    """Where a piece of the clip lies in the clip, played twice; by differences, since brown noise's loudest is low."""
    wave, piece = np.diff(wave), np.diff(piece)
    spectrum = np.fft.rfft(wave) * np.conj(np.fft.rfft(piece, len(wave)))
    return int(np.fft.irfft(spectrum, len(wave))[: len(wave) // 2].argmax())


@pytest.mark.parametrize("rate", [44100, 48000])
def test_the_microphone(context: BrowserContext, server: Server, clip: Path, model: compact.Model, rate: int) -> None:
    """The fake one plays the clip in a loop, so that a window is the clip from another beginning, and its seam.

    What is heard is compared with the clip's samples, its probabilities with `predict` of what is heard, and the label
    with the clip's. At 48 kHz chromium resamples the sound, and the page resamples it back.
    """
    context.add_init_script(
        f"AudioContext = class extends AudioContext {{ constructor() {{ super({{ sampleRate: {rate} }}); }} }};"
    )
    page = opened(context, server.address)
    page.locator("#listen").click()
    last = heard(page, 10 * RATE - 1)
    page.screenshot(path=SHOTS / f"listen_microphone_{rate}.png", full_page=True)
    samples, probabilities = np.array(last["samples"], np.float32), np.array(last["probabilities"])
    assert last["rate"] == rate and abs(len(samples) - 10 * RATE) <= 1
    own = model.probabilities(torch.from_numpy(samples)[None])[0]
    assert np.abs(own - probabilities).max() < 1e-4
    wave = np.tile(soundfile.read(clip)[0], 2)
    pieces = samples[RATE : 9 * RATE].reshape(
        32, -1
    )  # of a quarter of a second: a machine at work drops samples between
    likeness = [np.corrcoef(wave[k : k + len(piece)], piece)[0, 1] for piece in pieces for k in [place(wave, piece)]]
    assert np.median(likeness) > (0.99999 if rate == RATE else 0.99)  # resampled, it lies between two samples
    want = recordings.score(model, clip).probabilities
    assert probabilities.argmax() == want.argmax() and np.abs(probabilities - want).max() < 0.1
    status(page, "Listening: 10.0 s heard, level -")
    page.locator("#listen").click()
    status(page, "Stopped.")
    assert not page.faults


HIDE = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true}); document.dispatchEvent(new Event('visibilitychange')); }"


def test_out_of_sight_it_pauses_and_begins_anew(page: Page, clip: Path, model: compact.Model) -> None:
    page.locator("#listen").click()
    heard(page, 3 * RATE)
    page.evaluate(HIDE, True)
    status(page, "Paused: nothing is heard while this page is out of sight")
    before = page.evaluate(LAST)
    page.wait_for_timeout(2500)
    assert page.evaluate(LAST) == before
    page.evaluate(HIDE, False)
    status(page, "Listening: ")
    assert len(page.evaluate(LAST)["samples"]) < 2.9 * RATE  # no window across the pause
    give(page, clip)  # a file ends the listening
    status(page, "clip.wav: 10.0 s")
    assert page.locator("#listen").inner_text() == "Listen"
    page.wait_for_timeout(1500)
    status(page, "clip.wav: 10.0 s")
    check(page, clip, model, 1e-4)
    assert not page.faults


@pytest.mark.parametrize(("options", "said"), [
    (["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream=deny"], "The microphone was refused. Allow it"),
    (["--use-fake-ui-for-media-stream"], "There is no microphone. Connect one"),
], ids=["refused", "none"])  # fmt: skip
def test_without_a_microphone_files_still_work(
    playwright: Playwright, server: Server, clip: Path, model: compact.Model, options: list[str], said: str
) -> None:
    browser = start(playwright, *options)
    page = opened(browser.new_context(viewport={"width": 390, "height": 800}), server.address)
    page.locator("#listen").click()
    status(page, said)
    page.screenshot(path=SHOTS / f"listen_{said.split()[-1]}.png")
    give(page, clip)
    status(page, "clip.wav: 10.0 s")
    check(page, clip, model, 1e-4)
    browser.close()


def test_a_silent_microphone(playwright: Playwright, server: Server, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(3 * RATE), RATE)
    browser = start(playwright, *FAKE, f"--use-file-for-fake-audio-capture={tmp_path / 'silent.wav'}")
    page = opened(browser.new_context(), server.address)
    page.locator("#listen").click()
    status(page, "The microphone gives silence. Is it muted?")
    assert page.locator("#scene").inner_text() == "–"
    browser.close()


def test_a_microphone_that_goes_away_and_one_that_alters_the_sound(context: BrowserContext, server: Server) -> None:
    context.add_init_script("""const own = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = async (asked) => { window.asked = asked; window.track = (window.stream = await own(asked)).getAudioTracks()[0];
        window.track.getSettings = () => ({noiseSuppression: true, sampleRate: 16000}); return window.stream; };""")
    page = opened(context, server.address)
    page.locator("#listen").click()
    status(page, "heard, level")
    status(page, "Doubtful: the browser alters the sound (noiseSuppression); it holds nothing above 8000 Hz, where the")
    assert set(page.evaluate("window.asked.audio").values()) == {False}  # made for speech, they take the scene away
    page.evaluate("window.track.dispatchEvent(new Event('ended'))")
    status(page, "The microphone went away. Connect it again")
    assert page.evaluate("window.track.readyState") == "ended" and page.locator("#listen").inner_text() == "Listen"


def test_an_address_that_is_not_secure(
    context: BrowserContext, server: Server, clip: Path, model: compact.Model
) -> None:
    page = opened(context, server.address.replace("127.0.0.1", "page.test"))
    page.locator("#listen").click()
    status(page, "Browsers give a microphone to https addresses and http://localhost alone")
    give(page, clip)
    status(page, "clip.wav: 10.0 s")
    check(page, clip, model, 1e-4)


def test_a_browser_without_simd_is_told(context: BrowserContext, server: Server) -> None:
    context.add_init_script("WebAssembly.validate = () => false;")
    page = context.new_page()
    page.goto(server.address)
    status(page, "This browser has no WebAssembly with SIMD")
    assert page.locator("#listen").is_disabled() and page.locator("#file").is_disabled()


def test_opened_as_a_file_it_says_how_to_open_it(context: BrowserContext, folder: Path) -> None:
    page = context.new_page()
    page.goto((folder / "index.html").as_uri())
    page.wait_for_timeout(500)
    status(page, "python -m http.server")


def test_a_file_of_it_that_is_not_there(context: BrowserContext, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "cut", ignore=shutil.ignore_patterns("model.onnx"))
    server = Server(tmp_path / "cut")
    page = context.new_page()
    page.goto(server.address)
    status(page, "The page cannot start: ")
    server.stop()


def test_nothing_is_fetched_from_outside_nor_sent(
    context: BrowserContext, server: Server, clip: Path, folder: Path, tmp_path: Path
) -> None:
    asked, other = [], Server(tmp_path)
    context.on("request", lambda request: asked.append((request.method, request.url, request.post_data)))
    server.asked.clear()
    page = opened(context, server.address)
    give(page, clip)
    status(page, "clip.wav: 10.0 s")
    page.locator("#listen").click()
    heard(page, RATE)
    own = {server.address, *(f"{server.address}{file.name}" for file in folder.iterdir())}
    ours = {url for method, url, data in asked if url.startswith(server.address) and method == "GET" and data is None}
    assert ours <= own and f"{server.address}model.onnx" in ours
    assert all(url.startswith("blob:") for _, url, _ in asked if url not in ours)
    assert {path.lstrip("/") for path in server.asked} <= {"", *(file.name for file in folder.iterdir())}
    # Nor could they be: in the page and in the network's worker the browser refuses.
    (worker,) = (worker for worker in page.workers if worker.url.startswith("blob:"))
    for place in (page, worker):
        assert place.evaluate(FETCH, other.address) == "refused"
        assert place.evaluate(FETCH, f"{server.address}model.json") == "fetched"
    assert not other.asked
    other.stop()


def test_without_a_network_it_works(context: BrowserContext, folder: Path, clip: Path, model: compact.Model) -> None:
    server = Server(folder)
    page = opened(context, server.address)
    expect(page.locator("#offline")).to_contain_text("it works without a network", timeout=WAIT)
    server.stop()
    page.reload()
    expect(page.locator("#status")).to_have_text(READY, timeout=WAIT)
    give(page, clip)
    status(page, "clip.wav: 10.0 s")
    check(page, clip, model, 1e-4)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_how_it_looks(browser: Browser, server: Server, folder: Path, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 780}, color_scheme=scheme)
    page = opened(context, server.address)
    page.locator("#listen").click()
    heard(page, 3 * RATE)
    page.screenshot(path=SHOTS / f"listen_{width}_{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "wider than the screen"
    about, told = json.loads((folder / "model.json").read_text()), page.locator("#about").inner_text()
    for text in (about["licence"], about["origin"]["run"], f"these {len(about['classes'])} scenes"):
        assert text in told
    if width == 360:  # a thumb's size
        assert page.locator("#listen").bounding_box()["height"] >= 40
    for name in ("listen", "file"):  # by the keyboard
        page.keyboard.press("Tab") if name == "file" else page.locator("#listen").focus()
        assert page.evaluate("document.activeElement.id") == name
    assert page.evaluate("getComputedStyle(document.querySelector('label.button')).outlineStyle") == "solid"
    context.close()
