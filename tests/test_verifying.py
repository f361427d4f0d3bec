"""Tests of `packed.verifying` and `packed.manifest`: which damage is found, where, and what is refused."""

import hashlib
import json

import numpy as np
import pytest
from long_cases import FULL

from dlhelpers.packed import PackedDataset, PackedWriter, verify
from dlhelpers.packed import writer as writer_module

IMAGES = np.random.default_rng(1).integers(0, 256, (30, 1, 4, 4), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "BLOCK_BYTES", 160)  # three blocks of ten
    with PackedWriter(tmp_path / "é", classes=["été", "b"], shape=(1, 4, 4)) as writer:
        writer.add(IMAGES, np.arange(30) % 2)
    return tmp_path / "é"


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def faults(folder):
    return verify(folder).faults


def test_what_was_written_has_no_faults(folder, capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    report = verify(folder)
    assert report.ok and report.faults == () and report.samples == 30
    assert report.bytes == 256 + 30 * (16 + 8)
    assert [line.split() for line in str(report).splitlines()[1:]] == [
        ["samples", "30"],
        ["bytes", "976", "bytes"],
        ["faults", "0"],
    ]
    assert "verify" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "row"), [("images.npy", 16), ("labels.npy", 8)])
def test_a_flipped_bit_is_named_by_its_rows(folder, name, row):
    for number in (0, 9, 10, 29):
        flip(folder / name, 8 * (128 + number * row) + 3)
        PackedDataset(folder)  # opening reads no rows
        first = number // 10 * 10
        (fault,) = faults(folder)
        assert fault.startswith(
            f"{name}, rows {first} to {first + 9}: other bytes than were written"
        )
        flip(folder / name, 8 * (128 + number * row) + 3)
    assert verify(folder).ok


def test_every_fault_is_listed(folder):
    flip(folder / "images.npy", 8 * 130)
    flip(folder / "images.npy", 8 * (128 + 29 * 16))
    (folder / "labels.npy").unlink()
    missing, first, last = faults(folder)
    assert missing == "labels.npy cannot be read (No such file or directory)"
    assert first.startswith("images.npy, rows 0 to 9") and last.startswith(
        "images.npy, rows 20 to 29"
    )


@pytest.mark.parametrize("name", ["images.npy", "labels.npy"])
def test_every_flipped_bit_of_a_header_is_found(folder, name):
    for bit in range(0, 128 * 8, 1 if FULL else 23):
        flip(folder / name, bit)
        assert faults(folder) == (f"{name} has another header than was written",)
        with pytest.raises(ValueError, match="another header than was written"):
            PackedDataset(folder)
        flip(folder / name, bit)


def test_every_flipped_bit_of_a_manifest_is_found_and_nothing_reaches_a_terminal_raw(folder):
    path = folder / "manifest.json"
    for bit in range(0, 8 * path.stat().st_size, 1 if FULL else 23):
        flip(path, bit)
        (fault,) = faults(folder)
        assert "manifest.json" in fault and fault.isprintable()
        with pytest.raises(ValueError) as refusal:
            PackedDataset(folder)
        assert str(refusal.value) == fault
        flip(path, bit)
    assert verify(folder).ok


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"null", b'{"version": [2]}', b"\xff"])
def test_what_is_no_manifest_is_refused(folder, content):
    (folder / "manifest.json").write_bytes(content)
    (fault,) = faults(folder)
    assert "manifest.json" in fault and "\n" not in fault


def forge(folder, **changes):
    """Write a manifest that is whole, with other entries."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text()) | changes
    del content["sha256"]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    path.write_text(json.dumps({"sha256": digest, **content}, indent=1) + "\n")


def test_a_manifest_that_somebody_made_is_no_program(folder):
    sound = (folder / "manifest.json").read_bytes()
    forge(folder)
    assert (folder / "manifest.json").read_bytes() == sound
    for changes, message in [
        ({"classes": ["a", "b\x1b[2J"]}, "control character"),
        ({"shape": [1, 4, -4]}, "a side of shape is -4"),
        ({"blocks": []}, "damaged"),
        ({"blocks": [[-3, "a", "b"]]}, "rows is -3"),
        ({"blocks": [[10, "a"]]}, "damaged"),
        ({"blocks": [[10**30, "a", "b"]]}, "images.npy holds"),
    ]:
        (folder / "manifest.json").write_bytes(sound)
        forge(folder, **changes)
        assert any(message in fault for fault in faults(folder)), changes
        with pytest.raises(ValueError):
            PackedDataset(folder)


def test_another_version_says_what_to_do(folder):
    for version, remedy in ((2, "pack it again"), ("\x1b[2J", "update")):
        (folder / "manifest.json").write_text(json.dumps({"version": version}))
        (fault,) = faults(folder)
        assert remedy in fault and fault.isprintable()


def test_a_folder_without_a_dataset_is_an_error(folder, tmp_path):
    for read in (verify, PackedDataset):
        for empty in (tmp_path, tmp_path / "nowhere"):
            told = f"{empty} holds no dataset: there is no {empty}/manifest.json"
            with pytest.raises(FileNotFoundError, match=told):
                read(empty)
    (folder / "manifest.json").unlink()
    (folder / "unfinished.jsonl").touch()
    assert "unfinished dataset" in faults(folder)[0]
    with pytest.raises(ValueError, match="unfinished dataset.* Run the same command again"):
        PackedDataset(folder)
