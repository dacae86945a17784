"""make site: every page in Debian's chromium, with nothing fetched from outside, no dead link and no bare picture."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from conftest import ROOT
from playwright.sync_api import sync_playwright

pytestmark = pytest.mark.browser
SITE = ROOT / "build" / "site"
OPENED = ("index", "docs/results", "docs/your_data", "notebooks/03_augmentation", "notebooks/04_architecture",
          "notebooks/07_mel_bins", "api/asc_kit/features/index", "search")  # fmt: skip


class Found(HTMLParser):
    """A page's links, and its pictures without alternative text."""

    def __init__(self, page: Path):
        super().__init__()
        self.links, self.bare = [], []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.links += [values[name] for name in ("href", "src") if values.get(name)]
        if tag == "img" and values.get("alt") is None:
            self.bare.append(values)


@pytest.fixture(scope="module")
def site():
    done = subprocess.run(["make", "-C", ROOT, "site"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return SITE


def test_no_link_is_dead_and_no_picture_without_words(site):
    dead, bare, pages = [], [], sorted(site.rglob("*.html"))
    for page in pages:
        found = Found(page)
        bare += [f"{page.relative_to(site)}: {values.get('src', '')[:60]}" for values in found.bare]
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or not parts.path:
                continue
            if not (page.parent / unquote(parts.path)).exists():
                dead.append(f"{page.relative_to(site)}: {link}")
    assert len(pages) > 60 and not dead and not bare, (dead[:20], bare[:20])


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_pages_open_without_a_fault_or_the_network(site, width, dark):
    shots = ROOT / "build" / "screenshots"
    shots.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
        faults, outside = [], []
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda one: outside.append(one.url) if re.match("https?:", one.url) else None)
        for name in OPENED:
            page.goto((site / f"{name}.html").as_uri())
            page.wait_for_load_state("networkidle")
            page.screenshot(path=shots / f"site_{name.replace('/', '_')}_{width}.png")
            assert page.evaluate("document.documentElement.scrollWidth") <= width + 20, name
        browser.close()
    assert not faults and not outside, (faults, outside)
