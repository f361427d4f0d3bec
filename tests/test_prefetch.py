"""Tests of `prefetch`: the folder is usable elsewhere, nothing is fetched twice, and what is unknown is refused."""

import gzip
import hashlib
import shutil
import struct
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from torchvision.datasets import FashionMNIST

from dlhelpers.__main__ import main
from dlhelpers.data import load


@pytest.fixture
def small_fashion(tmp_path, monkeypatch):
    """Fashion-MNIST's four files with ten images each, on a site that torchvision takes for its own."""
    images = np.random.default_rng(1).integers(0, 256, (10, 28, 28), dtype=np.uint8)
    content = {"images-idx3": struct.pack(">4i", 2051, 10, 28, 28) + images.tobytes()}
    content["labels-idx1"] = struct.pack(">2i", 2049, 10) + bytes(range(10))
    site, resources = tmp_path / "site", []
    site.mkdir()
    for split in ("train", "t10k"):
        for kind, data in content.items():
            path = site / f"{split}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(data, mtime=0))
            resources.append((path.name, hashlib.md5(path.read_bytes()).hexdigest()))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(FashionMNIST, "resources", resources)
    handler = partial(SimpleHTTPRequestHandler, directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(FashionMNIST, "mirrors", [address])
        yield images
        server.shutdown()


def test_the_folder_can_be_copied_and_pointed_to(small_fashion, tmp_path, monkeypatch, capsys):
    stick, desk = tmp_path / "stick", tmp_path / "desk"
    assert main(["prefetch", "digits", "fashion_mnist", "--folder", str(stick)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "digits is there, 1,438 training images"
    assert lines[1] == "fashion_mnist is there, 10 training images"
    assert lines[2].endswith(f"DLHELPERS_DATA={stick}")
    shutil.rmtree(tmp_path / "site")
    # what is there is not fetched again
    main(["prefetch", "fashion_mnist", "--folder", str(stick)])
    shutil.copytree(stick, desk)
    monkeypatch.setenv("DLHELPERS_DATA", str(desk))
    image, label = load("fashion_mnist", "test")[3]
    assert label == 3 and np.array_equal((image[0] * 255).round().numpy(), small_fashion[3])


def test_a_fetch_that_breaks_off_is_finished_by_the_same_command(small_fashion, tmp_path, capsys):
    labels = tmp_path / "site" / "t10k-labels-idx1-ubyte.gz"
    content = labels.read_bytes()
    labels.write_bytes(content[:-1])
    command = ["prefetch", "fashion_mnist", "--folder", str(tmp_path / "stick")]
    assert main(command) == 1 and "t10k-labels-idx1-ubyte.gz" in capsys.readouterr().err
    labels.write_bytes(content)
    assert main(command) == 0 and "10 training images" in capsys.readouterr().out
