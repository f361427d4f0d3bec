"""Tests of `prefetch`: the folder is usable elsewhere, nothing is fetched twice, and what is unknown is refused."""

import shutil
import struct
from pathlib import Path
from unittest.mock import Mock

import pytest
from torchvision.datasets import mnist

from dlhelpers.__main__ import main
from dlhelpers.data import load


@pytest.fixture
def fetched(monkeypatch):
    """Fashion-MNIST's files as torchvision fetches them, ten images each, image k of 10 k; the list has their names."""
    names = []

    def fetch(url, download_root, filename, md5):
        names.append(filename)
        content = struct.pack(">2i", 2049, 10) + bytes(range(10))
        if "images" in filename:
            content = struct.pack(">4i", 2051, 10, 28, 28)
            content += b"".join(bytes([10 * k]) * 28 * 28 for k in range(10))
        Path(download_root, filename.removesuffix(".gz")).write_bytes(content)

    monkeypatch.setattr(mnist, "download_and_extract_archive", fetch)
    return names


def test_the_folder_can_be_copied_and_pointed_to(fetched, tmp_path, monkeypatch, capsys):
    stick, desk = tmp_path / "stick", tmp_path / "desk"
    assert main(["prefetch", "digits", "fashion_mnist", "--folder", str(stick)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "digits is there, 1,438 training images"
    assert lines[1] == "fashion_mnist is there, 10 training images"
    assert lines[2].endswith(f"DLHELPERS_DATA={stick}")
    main(["prefetch", "fashion_mnist", "--folder", str(stick)])
    assert len(fetched) == 4, "what is there is not fetched again"
    shutil.copytree(stick, desk)
    monkeypatch.setenv("DLHELPERS_DATA", str(desk))
    image, label = load("fashion_mnist", "test")[3]
    assert label == 3 and (image * 255 == 30).all()


def test_a_fetch_that_breaks_off_is_finished_by_the_same_command(
    fetched, tmp_path, monkeypatch, capsys
):
    command = ["prefetch", "fashion_mnist", "--folder", str(tmp_path)]
    with monkeypatch.context() as broken:
        offline = Mock(side_effect=RuntimeError("no network"))
        broken.setattr(mnist, "download_and_extract_archive", offline)
        assert main(command) == 1 and "no network" in capsys.readouterr().err
    assert main(command) == 0 and "10 training images" in capsys.readouterr().out
