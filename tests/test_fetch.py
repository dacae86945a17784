"""Fetching: whatever the server, the network, the disk or a kill does, an archive is whole and right, or refused."""

import hashlib
import http.server
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter, defaultdict

import pytest
from conftest import ROOT

from asc_kit.common import InputError
from asc_kit.data import fetch as fetching
from asc_kit.data.fetch import CHUNK, fetch, read_registry, unpack

HEADER = "dataset\tfilename\turl\tbytes\tmd5\n"
TOP = "TAU-toy"


class Handler(http.server.BaseHTTPRequestHandler):
    """Files with ranges, and the next of the faults that the test wants of this file."""

    def do_GET(self):
        shop, name = self.server.shop, self.path.lstrip("/")
        asked = self.headers.get("Range")
        shop.asked.append((name, asked))
        shop.headers.append(dict(self.headers))
        fault, value = shop.faults[name].pop(0) if shop.faults[name] else ("", None)
        if name not in shop.files:
            fault, value = "status", (404, {})
        if fault == "status":
            return self.head(*value)
        body = shop.files[name]
        start = int(asked[len("bytes=") : -1]) if asked and shop.ranges else 0
        if start >= len(body):
            return self.head(416, {"Content-Range": f"bytes */{len(body)}"})
        if start:
            said = start + (value if fault == "elsewhere" else 0)
            self.head(206, {"Content-Range": f"bytes {said}-{len(body) - 1}/{len(body)}"}, len(body) - start)
        else:
            self.head(200, {}, None if fault in ("no length", "empty") else len(body))
        end = start + value if fault in ("cut", "hold") else len(body)
        end = start if fault == "empty" else end
        shop.sent[name] += min(end, len(body)) - start  # before they are: the test may end with the last byte
        self.wfile.write(body[start:end])
        if fault == "hold":
            shop.held.set()
            shop.patient = shop.release.wait(20)

    def head(self, code, headers, length=0):
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_):
        pass


class Shop:
    """A server on localhost with its registry.

    ``faults[name]`` are taken one a request: ("cut", bytes sent), ("hold", bytes sent), ("status", (code, headers)),
    ("no length", None), ("empty", None), ("elsewhere", shift of the Content-Range).
    """

    def __init__(self, folder):
        self.files, self.lines, self.ranges = {}, [], True
        self.faults, self.asked, self.headers, self.sent = defaultdict(list), [], [], Counter()
        self.held, self.release, self.patient = threading.Event(), threading.Event(), True
        self.registry = folder / "registry.tsv"
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.shop = self
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def add(self, name, data, md5=None, size=None, dataset="toy"):
        self.files[name] = data
        url = f"http://127.0.0.1:{self.server.server_port}/{name}"
        md5 = md5 or hashlib.md5(data).hexdigest()
        self.lines.append("\t".join((dataset, name, url, str(size or len(data)), md5)))
        self.registry.write_text(HEADER + "\n".join(self.lines) + "\n")

    def forget(self):
        self.asked.clear()
        self.sent.clear()

    def close(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "WAITS", (0, 0, 0))
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    shop = Shop(tmp_path)
    yield shop
    shop.close()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


def zipped(members, kind=zipfile.ZIP_STORED):
    """A zip of (name or ZipInfo, bytes), the same bytes at any time of day."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members:
            archive.writestr(name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name), data, kind)
    return file.getvalue()


def audio(number, size=4 * CHUNK):
    return zipped([(f"{TOP}/audio/{number}-{clip}.wav", noise(size // 4, 10 * number + clip)) for clip in range(4)])


def names(folder):
    """Files in a folder, but for the lock."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != ".fetch.lock")


def clips(*numbers):
    return [f"{TOP}/audio/{number}-{clip}.wav" for number in numbers for clip in range(4)]


def refused(shop, root, **options):
    """The one line that a fetch ends with."""
    with pytest.raises(InputError) as caught:
        fetch("toy", root, shop.registry, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def command(shop, root, *more):
    return [sys.executable, "-m", "asc_kit", "fetch", "toy", "--root", root, "--registry", shop.registry, *more]


def start(shop, root):
    """A fetch in a process of its own; SIGINT is as in a terminal, also where the tests run in the background."""
    usual = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command(shop, root), cwd=ROOT, preexec_fn=usual, **pipes)


# What is delivered


def test_package_registry_is_the_five_tau_sets_and_tut_2017():
    table = read_registry(fetching.REGISTRY)
    assert len(table) == 77 and table.filename.is_unique and table.md5.is_unique
    assert table.url.str.startswith("https://zenodo.org/record/").all()
    sets = {name: (len(rows), rows.bytes.sum()) for name, rows in table.groupby("dataset")}
    assert sets == {
        "tau2020_development": (18, 27364817167),
        "tau2020_evaluation": (10, 13139235954),
        "tau2021_evaluation": (8, 8769881565),
        "tau2022_development": (18, 27503592469),
        "tau2022_evaluation": (10, 13249195806),
        "tut2017_development": (13, 10700420548),
    }


def test_archives_are_fetched_checked_unpacked_and_kept(shop, root, capsys):
    shop.add("toy.meta.zip", zipped([(f"{TOP}/", b""), (f"{TOP}/meta.csv", b"filename\n"), (f"{TOP}/empty/", b"")]))
    shop.add("toy.audio.1.zip", audio(1))
    assert fetch("toy", root, shop.registry) == [root / TOP]
    assert names(root) == sorted(["toy.meta.zip", "toy.audio.1.zip", f"{TOP}/meta.csv", *clips(1)])
    assert (root / TOP / "audio" / "1-2.wav").read_bytes() == noise(CHUNK, 12)
    assert (root / "toy.audio.1.zip").read_bytes() == shop.files["toy.audio.1.zip"]
    assert shop.asked == [("toy.meta.zip", None), ("toy.audio.1.zip", None)]
    assert {h["User-Agent"] for h in shop.headers} == {"asc_kit"}
    assert {h["Accept-Encoding"] for h in shop.headers} == {"identity"}
    said = capsys.readouterr()
    assert said.err.startswith("toy: 263 kB to fetch, about ") and said.err.count("\n") == 1
    assert f" free in {root}" in said.err and said.out == ""


def test_second_fetch_asks_nothing_and_rewrites_nothing(shop, root):
    shop.add("toy.audio.1.zip", audio(1))
    fetch("toy", root, shop.registry)
    before = {name: (root / name).stat()[1:9] for name in names(root)}  # inode, size, times
    shop.forget()
    assert fetch("toy", root, shop.registry) == [root / TOP]
    after = {name: (root / name).stat()[1:9] for name in names(root)}
    drop = lambda table: {k: (v[0], v[5], v[7]) for k, v in table.items()}  # noqa: E731  but for the time of reading
    assert shop.asked == [] and drop(after) == drop(before)


def test_command_prints_folders_alone_and_its_status_speaks_of_the_archives(shop, root):
    shop.add("toy.meta.zip", zipped([("flat.csv", b"x"), (f"{TOP}/meta.csv", b"y")]))
    done = subprocess.run(command(shop, root), cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{root}\n{root / TOP}\n")
    assert done.stderr.startswith("toy: ") and done.stderr.count("\n") == 1  # no bar in a batch
    shop.add("lost.zip", b"x")
    del shop.files["lost.zip"]
    done = subprocess.run(command(shop, root), cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith(
        "error: fetch: 1 of 2 archives failed: lost.zip: the server answers 404"
    )


def test_meta_only_leaves_the_audio(shop, root):
    for name in ("toy.doc.zip", "toy.meta.zip"):
        shop.add(name, zipped([(f"{TOP}/{name}.txt", b"x")]))
    shop.add("toy.audio.1.zip", audio(1))
    shop.add("loud.audio.1.zip", audio(2), dataset="loud")
    assert fetch("toy", root, shop.registry, meta_only=True) == [root / TOP]
    assert [name for name, _ in shop.asked] == ["toy.doc.zip", "toy.meta.zip"]
    with pytest.raises(InputError, match="DATASET: .* has no archive of loud without audio"):
        fetch("loud", root, shop.registry, meta_only=True)


def test_archives_of_a_browser_are_taken(shop, root, capsys):
    shop.add("toy.audio.1.zip", audio(1))
    root.mkdir()
    (root / "toy.audio.1.zip").write_bytes(audio(1))
    fetch("toy", root, shop.registry)
    assert shop.asked == [] and names(root) == sorted([*clips(1), "toy.audio.1.zip"])
    assert "toy: 0 bytes to fetch, about 0 bytes to unpack; " in capsys.readouterr().err


def test_only_missing_and_shortened_members_are_extracted(shop, root):
    shop.add("toy.audio.1.zip", audio(1))
    fetch("toy", root, shop.registry)
    folder = root / TOP / "audio"
    (folder / "1-0.wav").unlink()
    (folder / "1-1.wav").write_bytes(b"short")
    kept = (folder / "1-2.wav").stat()
    fetch("toy", root, shop.registry)
    assert [(folder / f"1-{i}.wav").read_bytes() == noise(CHUNK, 10 + i) for i in range(4)] == [True] * 4
    assert (folder / "1-2.wav").stat().st_ino == kept.st_ino


# Transfers that go wrong


def test_broken_transfer_goes_on_where_it_stopped(shop, root, capsys):
    shop.add("toy.audio.1.zip", audio(1))
    size = len(shop.files["toy.audio.1.zip"])
    shop.faults["toy.audio.1.zip"] = [("cut", size // 2 // CHUNK * CHUNK)]
    fetch("toy", root, shop.registry)
    assert shop.asked == [("toy.audio.1.zip", None), ("toy.audio.1.zip", f"bytes={2 * CHUNK}-")]
    assert shop.sent["toy.audio.1.zip"] == size
    assert names(root) == sorted([*clips(1), "toy.audio.1.zip"])
    assert "toy.audio.1.zip: IncompleteRead" in capsys.readouterr().err


def test_attempts_that_make_progress_do_not_count(shop, root):
    shop.add("toy.audio.1.zip", audio(1, 12 * CHUNK))
    shop.faults["toy.audio.1.zip"] = [("cut", CHUNK)] * 10  # more than the attempts without any
    fetch("toy", root, shop.registry)
    assert len(shop.asked) == 11 and shop.sent["toy.audio.1.zip"] == len(shop.files["toy.audio.1.zip"])


def test_without_ranges_it_starts_again(shop, root):
    shop.add("toy.audio.1.zip", audio(1))
    shop.ranges = False
    shop.faults["toy.audio.1.zip"] = [("cut", 2 * CHUNK)]
    fetch("toy", root, shop.registry)
    assert [asked for _, asked in shop.asked] == [None, f"bytes={2 * CHUNK}-"]
    assert (root / "toy.audio.1.zip").read_bytes() == audio(1)


def test_server_that_gets_no_further_is_given_up_and_the_part_kept(shop, root, capsys):
    shop.add("toy.audio.1.zip", audio(1))
    shop.ranges = False
    shop.faults["toy.audio.1.zip"] = [("cut", 2 * CHUNK), ("cut", CHUNK)] * 20
    assert "131 kB of 263 kB are here; the same command goes on from there" in refused(shop, root)
    assert len(shop.asked) == 5  # the first brought something, and none of the four after it anything new
    assert names(root) == ["toy.audio.1.zip.part"]
    assert (root / "toy.audio.1.zip.part").read_bytes() == audio(1)[: 2 * CHUNK]
    shop.faults.clear(), shop.forget(), capsys.readouterr()
    shop.ranges = True
    fetch("toy", root, shop.registry)
    assert " 132 kB to fetch, about 294 kB to unpack; " in capsys.readouterr().err
    assert shop.asked == [("toy.audio.1.zip", f"bytes={2 * CHUNK}-")]


@pytest.mark.parametrize("code", [429, 500, 503])
def test_busy_server_is_asked_again_after_the_time_it_names(shop, root, monkeypatch, code):
    slept = []
    monkeypatch.setattr(fetching.time, "sleep", slept.append)
    monkeypatch.setattr(fetching, "WAITS", (1, 3, 10))
    shop.add("toy.audio.1.zip", audio(1))
    shop.faults["toy.audio.1.zip"] = [("status", (code, {})), ("status", (code, {"Retry-After": "7"})),
                                      ("status", (code, {"Retry-After": "86400"}))]  # fmt: skip
    fetch("toy", root, shop.registry)
    assert slept == [1, 7, fetching.LONGEST_WAIT] and len(shop.asked) == 4


@pytest.mark.parametrize("server", ["right", "wrong"])
@pytest.mark.parametrize("held", ["some", "all", "more"])
def test_part_of_another_file_is_fetched_from_zero_once(shop, root, server, held):
    shop.add("toy.audio.1.zip", audio(1), md5="0" * 32 if server == "wrong" else None)
    size = len(shop.files["toy.audio.1.zip"])
    root.mkdir()
    count = {"some": 2 * CHUNK, "all": size, "more": size + 1}[held]
    (root / "toy.audio.1.zip.part").write_bytes(noise(count, 99))
    ranges = {"some": [f"bytes={2 * CHUNK}-", None], "all": [None], "more": [None]}[held]
    if server == "right":
        fetch("toy", root, shop.registry)
        assert names(root) == sorted([*clips(1), "toy.audio.1.zip"])
    else:
        assert "md5" in refused(shop, root)
        assert names(root) == []
    assert [asked for _, asked in shop.asked] == ranges


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_refusal_is_not_repeated_and_stops_no_other_archive(shop, root, code):
    shop.add("toy.audio.1.zip", audio(1))
    shop.add("toy.audio.2.zip", audio(2))
    shop.faults["toy.audio.1.zip"] = [("status", (code, {}))]
    line = refused(shop, root)
    assert line.startswith(f"fetch: 1 of 2 archives failed: toy.audio.1.zip: the server answers {code} (")
    assert len(shop.asked) == 2 and names(root) == sorted([*clips(2), "toy.audio.2.zip"])


def test_silent_server_is_left_and_asked_again(shop, root, monkeypatch):
    monkeypatch.setattr(fetching, "TIMEOUT", 0.3)
    shop.add("toy.audio.1.zip", audio(1))
    shop.faults["toy.audio.1.zip"] = [("hold", 2 * CHUNK)]
    fetch("toy", root, shop.registry)
    assert shop.asked[1] == ("toy.audio.1.zip", f"bytes={2 * CHUNK}-") and shop.patient


def test_no_server_is_one_line(shop, root):
    shop.add("toy.audio.1.zip", audio(1))
    shop.close()
    assert "toy.audio.1.zip: Connection refused; 0 bytes of 263 kB are here" in refused(shop, root)
    assert names(root) == []


def test_wrong_md5_is_refused_and_the_good_ones_are_there(shop, root):
    shop.add("toy.audio.1.zip", audio(1))
    shop.add("toy.audio.2.zip", audio(2), md5="0" * 32)
    shop.add("toy.audio.3.zip", audio(3))
    line = refused(shop, root)
    assert "1 of 3 archives failed: toy.audio.2.zip: http" in line and "other bytes than the registry's md5" in line
    assert Counter(name for name, _ in shop.asked)["toy.audio.2.zip"] == 1
    assert names(root) == sorted([*clips(1, 3), "toy.audio.1.zip", "toy.audio.3.zip"])


def test_failures_are_all_in_the_line(shop, root, capsys):
    for number in (1, 2, 3):
        shop.add(f"toy.audio.{number}.zip", audio(number), md5="0" * 32 if number == 1 else None)
    del shop.files["toy.audio.3.zip"]
    line = refused(shop, root)
    assert "2 of 3 archives failed: toy.audio.1.zip: http" in line and "; toy.audio.3.zip: the server" in line
    said = capsys.readouterr().err.splitlines()
    assert [text.split(":")[0] for text in said] == ["toy", "toy.audio.1.zip", "toy.audio.3.zip"]


@pytest.mark.parametrize("ranges", [True, False])
def test_file_of_another_size_is_refused_and_the_part_kept(shop, root, ranges):
    shop.add("toy.audio.1.zip", audio(1), size=10**6)
    shop.ranges = ranges
    root.mkdir()
    (root / "toy.audio.1.zip.part").write_bytes(noise(CHUNK))
    size = len(shop.files["toy.audio.1.zip"])
    assert f"toy.audio.1.zip has {size} bytes where the registry has 1000000" in refused(shop, root)
    assert shop.asked == [("toy.audio.1.zip", f"bytes={CHUNK}-")] and shop.sent["toy.audio.1.zip"] <= size
    assert (root / "toy.audio.1.zip.part").read_bytes() == noise(CHUNK)


def test_end_that_comes_early_without_a_length_is_a_break(shop, root):
    shop.add("toy.audio.1.zip", audio(1)[:CHUNK], size=len(audio(1)), md5=hashlib.md5(audio(1)).hexdigest())
    shop.faults["toy.audio.1.zip"] = [("no length", None)]
    assert f"has {CHUNK} bytes where the registry has {len(audio(1))}" in refused(shop, root)
    assert shop.asked[1] == ("toy.audio.1.zip", f"bytes={CHUNK}-")
    assert (root / "toy.audio.1.zip.part").read_bytes() == audio(1)[:CHUNK]


def test_empty_answers_are_given_up(shop, root):
    shop.add("toy.audio.1.zip", audio(1))
    shop.faults["toy.audio.1.zip"] = [("empty", None)] * 20
    assert "toy.audio.1.zip: the connection ends early; 0 bytes of 263 kB are here" in refused(shop, root)
    assert len(shop.asked) == 4


def test_wrong_archive_stays_until_the_right_one_replaces_it(shop, root):
    shop.add("toy.audio.1.zip", audio(1))
    right = shop.files.pop("toy.audio.1.zip")
    root.mkdir()
    (root / "toy.audio.1.zip").write_bytes(noise(len(right), 99))  # of the right size
    assert "404" in refused(shop, root)
    assert (root / "toy.audio.1.zip").read_bytes() == noise(len(right), 99) and names(root) == ["toy.audio.1.zip"]
    shop.files["toy.audio.1.zip"] = right
    fetch("toy", root, shop.registry)
    assert (root / "toy.audio.1.zip").read_bytes() == right


def test_redirection_keeps_the_range(shop, root):
    """Zenodo's old addresses, as in the registry, lead on to its new ones."""
    shop.add("toy.audio.1.zip", audio(1))
    shop.files["new.zip"] = audio(1)
    shop.faults["toy.audio.1.zip"] = [("status", (301, {"Location": "/new.zip"}))] * 2
    shop.faults["new.zip"] = [("cut", 2 * CHUNK)]
    fetch("toy", root, shop.registry)
    assert [asked for name, asked in shop.asked if name == "new.zip"] == [None, f"bytes={2 * CHUNK}-"]


@pytest.mark.parametrize("target", ["", "ftp://127.0.0.1/toy.audio.1.zip"])
def test_address_that_leads_nowhere_is_not_tried_again(shop, root, monkeypatch, target):
    """A circle of redirections, and an address that no server can have."""
    monkeypatch.setattr(fetching, "WAITS", (60, 60, 60))
    shop.add("toy.audio.1.zip", audio(1))
    address = target or f"http://127.0.0.1:{shop.server.server_port}/toy.audio.1.zip"
    shop.faults["toy.audio.1.zip"] = [("status", (302, {"Location": address}))] * 100
    begin = time.monotonic()
    line = refused(shop, root)
    assert "leads nowhere (" in line and "the registry's address is at fault" in line
    assert time.monotonic() - begin < 20 and len(shop.asked) <= 31


# Archives that are not to be trusted


BAD = {
    "parent": [("../evil", b"x")],
    "parent inside": [(f"{TOP}/../../evil", b"x")],
    "parent folder": [("../evil/", b"")],
    "absolute": [("OUTSIDE/evil", b"x")],
}


@pytest.mark.parametrize("kind", BAD)
def test_archive_with_a_bad_member_is_refused_whole(shop, root, tmp_path, kind):
    bad = BAD[kind]
    if kind == "absolute":
        bad = [(name.replace("OUTSIDE", str(tmp_path)), data) for name, data in bad]
    shop.add("bad.zip", zipped([("good.txt", b"good"), *bad]))
    shop.add("toy.audio.1.zip", audio(1))
    outside = sorted(p for p in tmp_path.iterdir() if p != root)
    line = refused(shop, root)
    assert line.startswith("fetch: 1 of 2 archives failed: bad.zip: ")
    assert "evil" in line and "is outside the folder" in line
    assert names(root) == sorted(["bad.zip", *clips(1), "toy.audio.1.zip"])
    assert sorted(p for p in tmp_path.iterdir() if p != root) == outside


@pytest.mark.parametrize("place", [TOP, f"{TOP}/audio", f"{TOP}/audio/1-3.wav"])
def test_nothing_is_written_through_a_link(shop, root, tmp_path, place):
    shop.add("toy.audio.1.zip", audio(1))
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / place).parent.mkdir(parents=True)
    (root / place).symlink_to(outside)
    assert "is outside the folder; nothing is unpacked" in refused(shop, root)
    assert list(outside.iterdir()) == [] and names(root) == ["toy.audio.1.zip"]


@pytest.mark.parametrize("place", [TOP, f"{TOP}/audio/1-3.wav"])
def test_folder_for_a_file_and_file_for_a_folder_are_refused(shop, root, place):
    shop.add("toy.audio.1.zip", audio(1))
    (root / place).parent.mkdir(parents=True)
    (root / place).write_text("mine") if place == TOP else (root / place).mkdir()
    line = refused(shop, root)
    assert str(root / place) in line and ("Not a directory" in line or "Is a directory" in line)
    assert (root / place).is_file() == (place == TOP)


def test_no_zip_with_the_right_md5_is_refused(shop, root):
    shop.add("bad.zip", noise(1000))
    assert "bad.zip: cannot be unpacked (File is not a zip file)" in refused(shop, root)
    assert names(root) == ["bad.zip"]


def test_damaged_member_in_an_archive_with_the_right_md5_is_named(shop, root):
    data = bytearray(audio(1))
    data[data.index(noise(CHUNK, 12)) + 1000] ^= 1
    shop.add("bad.zip", bytes(data))
    assert f"bad.zip: cannot be unpacked (Bad CRC-32 for file '{TOP}/audio/1-2.wav')" in refused(shop, root)
    assert names(root) == [*clips(1)[:2], "bad.zip"]


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_no_damage_gets_past_the_one_line(root, kind):
    """Bytes changed at random, mostly in the zip's own structure: an `InputError` or a file error, never a stack."""
    root.mkdir()
    whole, draw, faults = zipped([(f"{TOP}/{i}.txt", bytes(50)) for i in range(3)], kind), random.Random(1), 0
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        (root / "a.zip").write_bytes(data[: draw.choice([len(data), draw.randrange(len(data))])])
        try:
            unpack(root / "a.zip", root)
        except (InputError, OSError) as error:
            faults += 1
            assert "\n" not in str(error)
        shutil.rmtree(root / TOP, ignore_errors=True)
    assert faults > 50


# Full disks


def on_a_small_disk(shop, tmp_path, code, options="size=1m"):
    """Run a fetch whose folder is a disk of its own; returns its status, its messages and what is there afterwards."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (f"mount -t tmpfs -o {options} tmpfs '{disk}' || exit 77; mkdir '{disk}/data'; '{sys.executable}' {code}; "
              f"echo status $?; cd '{disk}/data'; find . -type f -printf '%P %s\\n'")  # fmt: skip
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    if "status" not in done.stdout:
        pytest.skip(f"this system lets no user mount a small disk: {done.stderr.strip()}")
    status, *there = done.stdout[done.stdout.index("status") :].splitlines()
    sizes = {name: int(size) for name, size in (line.rsplit(" ", 1) for line in there)}
    return status, done.stderr.splitlines(), {name: size for name, size in sizes.items() if name != ".fetch.lock"}


def arguments(shop, tmp_path):
    return f"-m asc_kit fetch toy --root '{tmp_path}/disk/data' --registry '{shop.registry}'"


def test_archives_that_do_not_fit_are_refused_before_anything_is_asked(shop, tmp_path):
    shop.add("toy.audio.1.zip", audio(1, 600_000))
    status, said, there = on_a_small_disk(shop, tmp_path, arguments(shop, tmp_path))
    assert status == "status 1" and shop.asked == [] and there == {}
    assert said[-1].startswith(f"error: --root: toy needs 1 MB in {tmp_path}/disk/data, where 1 MB are free; make room")


def test_contents_that_do_not_fit_are_refused_before_unpacking(shop, tmp_path):
    data = zipped([(f"{TOP}/{i}.wav", bytes(400_000)) for i in range(5)], zipfile.ZIP_DEFLATED)
    shop.add("toy.audio.1.zip", data)
    status, said, there = on_a_small_disk(shop, tmp_path, arguments(shop, tmp_path))
    assert status == "status 1" and there == {"toy.audio.1.zip": len(data)}
    assert "toy.audio.1.zip: needs 2 MB in" in said[-1] and len(shop.asked) == 1


def test_disk_that_fills_in_a_transfer_keeps_the_part(shop, tmp_path):
    """The check before is left out, as when another program writes to the disk meanwhile."""
    shop.add("toy.audio.1.zip", audio(1, 2**21))
    code = ("import pathlib; from asc_kit.data import fetch; fetch._check_space = lambda *_: None; "
            f"fetch.fetch('toy', pathlib.Path('{tmp_path}/disk/data'), pathlib.Path('{shop.registry}'))")  # fmt: skip
    status, said, there = on_a_small_disk(shop, tmp_path, f'-c "{code}"')
    assert status == "status 1" and list(there) == ["toy.audio.1.zip.part"] and 900_000 < there.popitem()[1] <= 2**20
    assert "toy.audio.1.zip: [Errno 28] No space left on device" in said[-1]


def test_disk_that_fills_in_unpacking_leaves_whole_members(shop, tmp_path):
    """It has bytes, and no more names: what the check before cannot see."""
    shop.add("toy.meta.zip", zipped([(f"{TOP}/{i}.txt", b"whole") for i in range(50)]))
    status, said, there = on_a_small_disk(shop, tmp_path, arguments(shop, tmp_path), "size=1m,nr_inodes=30")
    assert status == "status 1" and "toy.meta.zip: [Errno 28] No space left on device" in said[-1]
    there.pop("toy.meta.zip")
    assert 10 < len(there) < 30 and set(there.values()) == {5}


# Interruptions


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_transfer_goes_on_where_it_stopped(shop, root, how):
    shop.add("toy.audio.1.zip", audio(1))
    shop.add("toy.audio.2.zip", audio(2))
    shop.faults["toy.audio.2.zip"] = [("hold", 2 * CHUNK)]
    running, part = start(shop, root), root / "toy.audio.2.zip.part"
    wait_for(lambda: part.exists() and part.stat().st_size == 2 * CHUNK)
    running.send_signal(how)
    _, said = running.communicate(timeout=20)
    if how == signal.SIGINT:
        assert running.returncode == 1
        assert said.splitlines()[-1] == "error: interrupted; the same command goes on where it stopped"
    else:
        assert running.returncode == -9
    assert part.stat().st_size == 2 * CHUNK and not (root / "toy.audio.2.zip").exists()
    fetch("toy", root, shop.registry)
    assert [name for name, _ in shop.asked] == ["toy.audio.1.zip", "toy.audio.2.zip", "toy.audio.2.zip"]
    assert shop.sent == {name: len(data) for name, data in shop.files.items()}
    assert names(root) == sorted([*clips(1, 2), "toy.audio.1.zip", "toy.audio.2.zip"])


KILLS = {
    "the md5 is computed": "hashlib.file_digest",
    "the archive gets its name": "os.replace",
    "the first member is written": "shutil.copyfileobj",
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", KILLS)
def test_killed_at_any_step_loses_and_doubles_nothing(shop, root, step, when):
    shop.add("toy.audio.1.zip", audio(1))
    call = KILLS[step]
    code = f"""
import hashlib, os, pathlib, shutil, signal, sys
from asc_kit.data import fetch
real = {call}
def killed(*a, **k):
    {"real(*a, **k)" if when == "after" else "pass"}
    os.kill(os.getpid(), signal.SIGKILL)
{call} = killed
fetch.fetch("toy", pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
"""
    assert subprocess.run([sys.executable, "-c", code, root, shop.registry], cwd=ROOT).returncode == -9
    fetch("toy", root, shop.registry)
    assert len(shop.asked) == 1 and shop.sent["toy.audio.1.zip"] == len(audio(1))
    assert names(root) == sorted([*clips(1), "toy.audio.1.zip"])
    assert sorted(os.listdir(root)) == [".fetch.lock", TOP, "toy.audio.1.zip"]


def test_a_member_that_was_damaged_is_unpacked_again(shop, root):
    shop.add("toy.audio.1.zip", audio(1))
    fetch("toy", root, shop.registry)
    file = root / TOP / "audio" / "1-2.wav"
    kept = (file.with_name("1-1.wav")).stat().st_ino
    file.write_bytes(bytes(file.stat().st_size))  # of the right length, as a loss of power leaves it
    fetch("toy", root, shop.registry)
    assert (
        file.read_bytes() == noise(CHUNK, 12)
        and file.with_name("1-1.wav").stat().st_ino == kept
        and len(shop.asked) == 1
    )


def test_second_fetch_at_the_same_time_is_refused(shop, root):
    shop.add("toy.audio.1.zip", audio(1))
    shop.faults["toy.audio.1.zip"] = [("hold", 2 * CHUNK)]
    running = start(shop, root)
    assert shop.held.wait(20)
    assert f"--root: another fetch is at work in {root}" in refused(shop, root)
    assert len(shop.asked) == 1
    running.kill()
    running.communicate()


# Registries and parameters


GOOD = ["toy", "a.zip", "http://localhost/a.zip", "10", "0" * 32]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "No such file"),
        ("", "is empty; give it a line that names the columns"),
        (
            "dataset\tfilename\turl\tmd5\n",
            "names no column 'bytes' (it begins 'dataset' and has 4 cells); it needs dataset, filename, url, bytes, md5, TAB",
        ),
        (HEADER.replace("\t", ","), "; it needs dataset, filename"),
        (HEADER + "toy\ta.zip\n", ":2: url '' is not an http"),
        (HEADER + 2 * ("\t".join(GOOD) + "\n"), "filename a.zip is there twice"),
        *[
            (HEADER + "\t".join(GOOD) + "\n\n" + "\t".join(GOOD[:place] + [cell] + GOOD[place + 1 :]), f":4: {what}")
            for place, cell, what in [
                (0, "", "dataset '' is not a name"),
                (1, "", "filename '' is not a plain file name"),
                (1, "../b.zip", "filename '../b.zip'"),
                (1, "/b.zip", "filename '/b.zip'"),
                (1, "c\\b.zip", r"filename 'c\\\\b.zip'"),
                (1, ".fetch.lock", "filename '.fetch.lock'"),
                (2, "ftp://localhost/b.zip", "url 'ftp://localhost/b.zip' is not an http or https address"),
                (2, "file:///etc/passwd", "url 'file:///etc/passwd'"),
                (3, "ten", "bytes 'ten' is not a number of bytes"),
                (3, "-1", "bytes '-1'"),
                (3, "0", "bytes '0'"),
                (3, "1.5", "bytes '1.5'"),
                (4, "0" * 31, "md5 '0000000000000000000000000000000' is not 32 hexadecimal digits"),
                (4, "g" * 32, "md5 'g"),
            ]
        ],
    ],
)
def test_faults_of_a_registry_are_one_line_with_its_place(tmp_path, text, what):
    file = tmp_path / "registry.tsv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError) as caught:
        fetch("toy", tmp_path / "data", file)
    assert str(caught.value).startswith(f"{file}:") and what.replace("\\\\\\\\", "\\\\") in str(caught.value)
    assert "\n" not in str(caught.value) and not (tmp_path / "data").exists()


def test_registry_may_come_from_a_spreadsheet(tmp_path):
    """A byte order mark, Windows line ends, other columns and their order, capital letters."""
    row = {"md5": "A" * 32, "note": "x", "bytes": "7", "url": "https://h/a", "filename": "a (1).zip", "dataset": "toy"}
    text = "\ufeff" + "\r\n".join("\t".join(cells) for cells in (row, row.values())) + "\r\n\r\n"
    (tmp_path / "registry.tsv").write_text(text, newline="")
    table = read_registry(tmp_path / "registry.tsv")
    assert table.to_dict("records") == [
        {"dataset": "toy", "filename": "a (1).zip", "url": "https://h/a", "bytes": 7, "md5": "a" * 32}
    ]


def test_unknown_data_set_names_those_there_are(tmp_path):
    with pytest.raises(InputError, match="no archive of tau2019; its data sets are tau2022_development, .*tau2020_"):
        fetch("tau2019", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_root_that_is_a_file(shop, root):
    shop.add("a.zip", zipped([("a", b"")]))
    root.write_text("mine")
    assert refused(shop, root).startswith(f"--root: {root} cannot be written, ")


@pytest.mark.parametrize("fault", [("elsewhere", 1), ("status", (416, {})), ("status", (206, {}))])
def test_answer_that_does_not_begin_where_asked_starts_again(shop, root, fault):
    shop.add("toy.audio.1.zip", audio(1))
    shop.faults["toy.audio.1.zip"] = [("cut", 2 * CHUNK), fault]
    fetch("toy", root, shop.registry)
    assert [asked for _, asked in shop.asked] == [None, f"bytes={2 * CHUNK}-", None]
    assert (root / "toy.audio.1.zip").read_bytes() == audio(1)


@pytest.mark.parametrize("code", [206, 416])
def test_answer_to_a_range_that_nobody_asked_for_is_refused(shop, root, code):
    shop.add("toy.audio.1.zip", audio(1))
    shop.faults["toy.audio.1.zip"] = [("status", (code, {}))]
    assert f"the server answers {code}, for which it was not asked" in refused(shop, root)
    assert len(shop.asked) == 1 and names(root) == []


def test_more_bytes_than_listed_are_refused(shop, root):
    shop.add("toy.audio.1.zip", audio(1), size=CHUNK)
    shop.faults["toy.audio.1.zip"] = [("no length", None)]
    assert f"toy.audio.1.zip: more than {CHUNK} bytes come" in refused(shop, root)
    assert names(root) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archive_that_has_a_member_twice_is_refused(shop, root):
    shop.add("bad.zip", zipped([("good.txt", b"good"), ("good.txt", b"better")]))
    assert "member 'good.txt' is there twice" in refused(shop, root)
    assert names(root) == ["bad.zip"]
