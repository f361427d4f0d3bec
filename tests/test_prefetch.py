"""Tests of `prefetch`: a download that breaks goes on, a wrong file is thrown away, and the folder is usable."""

import gzip
import hashlib
import http.server
import re
import shutil
import struct
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from torchvision.datasets import FashionMNIST

from dlhelpers.course import prefetch as module
from dlhelpers.course.prefetch import Source, fetch, prefetch
from dlhelpers.data import load


class Site(http.server.BaseHTTPRequestHandler):
    """Serves files from a dict, with ranges, and cuts the connection after `cut` bytes where one is set."""

    files, cut, ranges, asked = {}, None, True, []

    def do_GET(self):
        data = self.files[self.path.lstrip("/")]
        self.asked.append(self.headers.get("Range"))
        start = (
            int(re.findall(r"\d+", self.headers["Range"])[0])
            if self.headers.get("Range") and self.ranges
            else 0
        )
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start : start + self.cut if self.cut else None])

    def log_message(self, *args):
        pass


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    for name, value in (("files", {}), ("cut", None), ("ranges", True), ("asked", [])):
        monkeypatch.setattr(Site, name, value)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        Site.address = f"http://127.0.0.1:{server.server_port}/"
        yield Site
        server.shutdown()


DATA = np.random.default_rng(0).bytes(300_000)
SUM = hashlib.md5(DATA).hexdigest()


def source(site, folder, md5=SUM):
    site.files["data.bin"] = DATA
    return Source(site.address + "data.bin", folder / "data.bin", md5)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_breaks_off_goes_on_where_the_server_can(site, tmp_path, ranges):
    site.cut, site.ranges = 100_000, ranges
    wanted = source(site, tmp_path)
    with pytest.raises(
        ConnectionError,
        match=r"broke off .*; 100.00 kB of it came and is kept .*same command again",
    ):
        fetch(wanted)
    assert not wanted.path.exists()
    site.cut = None
    fetch(wanted)
    assert wanted.path.read_bytes() == DATA and site.asked == [None, "bytes=100000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["data.bin"]
    fetch(wanted)
    assert len(site.asked) == 2  # what is there and right is not asked for again


def test_a_part_that_was_whole_is_only_checked(site, tmp_path):
    wanted = source(site, tmp_path)
    (tmp_path / "data.bin.part").write_bytes(DATA)
    fetch(wanted)
    assert wanted.path.read_bytes() == DATA


def test_a_wrong_checksum_is_named_and_the_file_thrown_away(site, tmp_path):
    with pytest.raises(
        ValueError, match=f"MD5 sum {SUM}, expected {'0' * 32}: it was thrown away.*proxy"
    ):
        fetch(source(site, tmp_path, md5="0" * 32))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_refused_before_a_byte_is_written(site, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    with pytest.raises(OSError, match="1.00 MB free and 1.20 MB are needed: choose another disk"):
        fetch(source(site, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_no_server_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(ConnectionError, match="nothing of it came"):
        fetch(Source("http://127.0.0.1:9/x", tmp_path / "x", SUM))


@pytest.fixture
def small_fashion(site, monkeypatch):
    """Fashion-MNIST's four files with ten images each, and torchvision pointed at them."""
    images = np.random.default_rng(1).integers(0, 256, (10, 28, 28), dtype=np.uint8)
    content = {"images-idx3": struct.pack(">4i", 2051, 10, 28, 28) + images.tobytes()}
    content["labels-idx1"] = struct.pack(">2i", 2049, 10) + bytes(range(10))
    resources = []
    for split in ("train", "t10k"):
        for kind, data in content.items():
            name = f"{split}-{kind}-ubyte.gz"
            site.files[name] = gzip.compress(data, mtime=0)
            resources.append((name, hashlib.md5(site.files[name]).hexdigest()))
    monkeypatch.setattr(FashionMNIST, "mirrors", [site.address])
    monkeypatch.setattr(FashionMNIST, "resources", resources)
    return images


def test_the_folder_can_be_copied_and_pointed_to(site, small_fashion, tmp_path, monkeypatch):
    lines = prefetch(["digits", "fashion_mnist"], tmp_path / "stick")
    assert "nothing to fetch" in lines[0] and "10 training images" in lines[1]
    assert f"DLHELPERS_DATA={tmp_path / 'stick'}" in lines[2]
    asked = len(site.asked)
    assert (
        "is there" in prefetch(["fashion_mnist"], tmp_path / "stick")[0]
        and len(site.asked) == asked == 4
    )
    shutil.copytree(tmp_path / "stick", tmp_path / "desk")
    monkeypatch.setenv("DLHELPERS_DATA", str(tmp_path / "desk"))
    image, label = load("fashion_mnist", "test")[3]
    assert label == 3 and np.array_equal((image[0] * 255).round().numpy(), small_fashion[3])
    assert not [path for path in (tmp_path / "desk").rglob("*") if path.suffix in (".gz", ".part")]


@pytest.mark.parametrize("name", ["folder", "cifar"])
def test_what_cannot_be_fetched_is_refused_before_anything_else(tmp_path, name, monkeypatch):
    monkeypatch.setattr(module, "fetch", lambda source: pytest.fail("asked for a file"))
    with pytest.raises(
        ValueError, match=f"cannot fetch '{name}': expected some of digits, shapes, cifar10"
    ):
        prefetch(["fashion_mnist", name], tmp_path)
