"""Tests of `packing`, `decoding` and `image_files`: the right pixels, the same bytes whatever happened on the way."""

import io
import json
import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from dlhelpers.data import ImageDataset, NumberedImages, Shapes, load
from dlhelpers.packed import ShardDataset, decoding, pack_dataset, pack_folder, packing, verify
from dlhelpers.packed.decoding import Batch, batches
from dlhelpers.packed.image_files import read_image

SAMPLE = Path(__file__).parents[2] / "shared" / "data" / "cifar10-sample"
FULL = bool(os.environ.get("DLHELPERS_FULL"))
ORIENTATION = 0x0112
QUIET = {"progress": False}


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def paint(path, number, size=(8, 6)):
    """A PNG file whose first pixel is (number // 256, number % 256, 7)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    pixels[0, 0] = number // 256, number % 256, 7
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    """Sixty images of three classes, 8 pixels wide and 6 high; image k is of class k % 3."""
    for number in range(60):
        paint(tmp_path / "images" / f"{'abc'[number % 3]}" / f"{number:03d}.png", number)
    return tmp_path / "images"


def contents(target):
    """The bytes of each file of a dataset, but for the list of skipped ones, which holds no data."""
    return {
        path.name: path.read_bytes() for path in sorted(target.iterdir()) if path.suffix != ".jsonl"
    }


def numbers(target):
    """The numbers that `paint` put into the images of a dataset, in order, and the labels."""
    dataset = ShardDataset(target, check="hash")
    samples = [dataset[k] for k in range(len(dataset))]
    return [int(image[0, 0, 0]) * 256 + int(image[1, 0, 0]) for image, _ in samples], [
        label for _, label in samples
    ]


def spoil(path):
    path.write_bytes(path.read_bytes()[:60])


# One image


def test_pixels_come_out_as_they_are():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(read_image(encoded(Image.fromarray(pixels))), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "mode, colour, kind, expected",
    [
        ("L", 90, "PNG", (90, 90, 90)),
        ("1", 1, "PNG", (255, 255, 255)),
        ("LA", (90, 10), "PNG", (90, 90, 90)),
        ("RGBA", (10, 20, 30, 0), "PNG", (10, 20, 30)),
        ("CMYK", (0, 255, 255, 0), "TIFF", (255, 0, 0)),
        ("I;16", 0x5AFF, "PNG", (0x5A, 0x5A, 0x5A)),
        ("I;16", 0xFFFF, "TIFF", (255, 255, 255)),
    ],
)
def test_every_kind_of_image_becomes_rgb(mode, colour, kind, expected):
    image = read_image(encoded(Image.new(mode, (4, 3), colour), kind))
    assert image.dtype == np.uint8 and image.shape == (3, 3, 4)
    assert np.array_equal(image, np.broadcast_to(np.array(expected).reshape(3, 1, 1), (3, 3, 4)))


def test_a_palette_with_transparency_becomes_rgb_without_a_warning(recwarn):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert read_image(encoded(image, transparency=b"\0\0"))[:, 0, 0].tolist() == [200, 100, 50]
    assert not recwarn.list


@pytest.mark.parametrize(
    "mode, colour, message",
    [
        ("F", 0.5, "its pixels are floats, whose range is unknown: save it as PNG or JPEG"),
        ("I", 70_000, "its pixels have 32 bits: expected 8 or 16"),
    ],
)
def test_pixels_whose_range_is_unknown_are_refused(mode, colour, message):
    with pytest.raises(ValueError, match=message):
        read_image(encoded(Image.new(mode, (4, 4), colour), "TIFF"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [None, 8])
def test_an_image_stands_upright(orientation, size):
    upright = Image.new("RGB", (16, 8))
    upright.paste((250, 0, 0), (4, 0, 8, 4))  # in the upper left of the whole and of its centre
    undo = {
        2: 0,
        3: 3,
        4: 1,
        5: 5,
        6: 2,
        7: 6,
        8: 4,
    }  # Image.Transpose that turns an upright image into the stored one
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = read_image(encoded(stored, exif=exif), size)
    assert image.shape == ((3, 8, 16) if size is None else (3, 8, 8))
    wanted = np.asarray(upright if size is None else upright.crop((4, 0, 12, 8))).transpose(2, 0, 1)
    assert np.array_equal(image, wanted)


@pytest.mark.parametrize("width, height", [(90, 60), (60, 90), (61, 47), (300, 30), (20, 33)])
def test_the_shorter_side_is_scaled_and_the_centre_cut_out(width, height):
    size = 24
    ramp = np.linspace(0, 255, max(width, height))
    long = np.broadcast_to(
        ramp[None, :] if width > height else ramp[:, None], (height, width)
    ).astype(np.uint8)
    image = read_image(encoded(Image.fromarray(long)), size)
    assert image.shape == (3, size, size)
    scaled = image[0].mean(0 if width > height else 1)
    edge = (max(width, height) - min(width, height)) / 2 / max(width, height) * 255
    step = min(width, height) / max(width, height) * 255 / size
    expected = edge + (np.arange(size) + 0.5) * step
    assert (
        np.abs(scaled - expected)[2:-2].max() < 3
        and np.ptp(image[0], axis=0 if width > height else 1).max() <= 1
    )


def test_a_large_jpeg_decoded_at_a_part_of_its_size_looks_as_if_decoded_whole():
    small = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    large = Image.fromarray(small).resize((1600, 1200), Image.Resampling.BICUBIC)
    quick = read_image(encoded(large, "JPEG", quality=95), 64).astype(int)
    whole = read_image(
        encoded(Image.open(io.BytesIO(encoded(large, "JPEG", quality=95)))), 64
    ).astype(int)
    assert np.abs(quick - whole).mean() < 1 and np.abs(quick - whole).max() < 12


# A folder


def test_a_folder_comes_out_whole_and_shuffled(folder, tmp_path):
    report = pack_folder(folder, tmp_path / "out", rows_per_shard=16, **QUIET)
    found, labels = numbers(tmp_path / "out")
    assert sorted(found) == list(range(60)) and labels != sorted(labels)
    assert [number % 3 for number in found] == labels
    assert (
        ShardDataset(tmp_path / "out").classes == ["a", "b", "c"]
        and verify(tmp_path / "out", progress=False).ok
    )
    assert (report.samples, report.classes, report.shape, report.shards) == (60, 3, (3, 6, 8), 4)
    files = [path.stat().st_size for path in (tmp_path / "out").glob("*.npy")]
    assert (
        report.bytes == sum(files)
        and report.skipped == report.ignored == ()
        and report.resumed == 0
    )
    assert "samples  60" in repr(report) and "3 x 6 x 8" in report._repr_html_()


def test_the_order_follows_from_the_seed(folder, tmp_path):
    orders = []
    for name, seed in [("zero", 0), ("again", 0), ("one", 1), ("none", None)]:
        pack_folder(folder, tmp_path / name, shuffle_seed=seed, **QUIET)
        orders.append(numbers(tmp_path / name)[0])
    assert orders[0] == orders[1] != orders[2]
    assert orders[3] == [3 * k + label for label in range(3) for k in range(20)]


@pytest.mark.filterwarnings(
    "ignore:This DataLoader will create 3 worker processes"
)  # more than cores, on purpose
@pytest.mark.parametrize("processes", [2, 3])
def test_any_number_of_processes_writes_the_same_bytes(folder, tmp_path, processes, monkeypatch):
    monkeypatch.setattr(
        decoding, "BATCH_BYTES", 4 * 3 * 8 * 6
    )  # batches of 4 images: workers really take turns
    spoil(folder / "b" / "004.png")
    for name, count in [("one", 1), ("many", processes)]:
        pack_folder(
            folder, tmp_path / name, rows_per_shard=7, processes=count, on_error="skip", **QUIET
        )
    assert contents(tmp_path / "one") == contents(tmp_path / "many")
    assert multiprocessing.active_children() == []


METHODS = ["spawn", "forkserver"] if FULL else ["spawn"]


@pytest.mark.parametrize("method", METHODS)
def test_workers_that_are_not_forked_write_the_same_bytes(folder, tmp_path, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    code = (
        f"import multiprocessing as mp; mp.set_start_method({method!r});"
        " from dlhelpers.packed.packing import pack_folder;"
        f" pack_folder({str(folder)!r}, {str(tmp_path / 'far')!r}, processes=2, progress=False)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    pack_folder(folder, tmp_path / "near", processes=1, **QUIET)
    assert contents(tmp_path / "far") == contents(tmp_path / "near")


def test_a_batch_is_left_alone_until_the_next_is_asked_for(monkeypatch):
    class Numbered:
        shape = (1, 4, 4)

        def __len__(self):
            return 600

        def read(self, positions, pixels):
            pixels[: len(positions)] = np.array(positions).reshape(-1, 1, 1, 1) % 251
            return np.array(positions), []

    monkeypatch.setattr(decoding, "BATCH_BYTES", 10 * 16)
    seen = 5
    for images, labels, _ in batches(Numbered(), 5, 2):
        if seen < 200:
            time.sleep(0.02)  # the workers run ahead as far as they may
        assert (images == torch.from_numpy(labels % 251).view(-1, 1, 1, 1)).all()
        seen += len(labels)
    assert seen == 600


def test_the_callers_random_numbers_are_left_alone(folder, tmp_path):
    torch.manual_seed(0)
    np.random.seed(0)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(0)
    np.random.seed(0)
    pack_folder(folder, tmp_path / "out", processes=2, **QUIET)
    assert (torch.rand(1), np.random.rand()) == expected


def test_one_class_and_one_image_are_enough(tmp_path):
    paint(tmp_path / "images" / "only" / "one.png", 3)
    report = pack_folder(tmp_path / "images", tmp_path / "out", **QUIET)
    assert numbers(tmp_path / "out") == ([3], [0]) and "one class only" in repr(report)


def test_files_of_other_kinds_are_counted_and_hidden_ones_are_not(folder, tmp_path):
    (folder / "a" / "notes.txt").write_text("")
    (folder / "a" / ".DS_Store").write_text("")
    (folder / ".cache").mkdir()
    (folder / "b" / "more").mkdir()
    (folder / "b" / "001.png").rename(folder / "b" / "more" / "001.PNG")
    report = pack_folder(folder, tmp_path / "out", **QUIET)
    assert report.samples == 60 and report.ignored == ("a/notes.txt",)
    assert "1 other files were left out, as a/notes.txt" in repr(report)


def test_a_link_that_leads_up_does_not_count_images_again(folder, tmp_path):
    (folder / "a" / "loop").symlink_to(".")
    (folder / "elsewhere").symlink_to(tmp_path / "linked")
    paint(tmp_path / "linked" / "one.png", 60)
    assert pack_folder(folder, tmp_path / "out", **QUIET).samples == 61


def test_links_between_classes_count_an_image_once_in_a_class(folder, tmp_path):
    (folder / "a" / "l").symlink_to(folder / "b")
    (folder / "b" / "m").symlink_to(folder / "a")
    (folder / "c" / "other").symlink_to(tmp_path / "far" / "other")
    paint(tmp_path / "far" / "61.png", 61)
    paint(tmp_path / "far" / "other" / "62.png", 62)
    (tmp_path / "far" / "other" / "up").symlink_to("..")
    (tmp_path / "far" / "other" / "back").symlink_to(folder)
    pack_folder(folder, tmp_path / "out", shuffle_seed=None, **QUIET)
    found, labels = numbers(tmp_path / "out")
    both = [k for k in range(60) if k % 3 < 2]
    assert [
        sorted(k for k, label in zip(found, labels, strict=True) if label == one)
        for one in range(3)
    ] == [both, both, [*range(2, 60, 3), 62]]


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the sample of CIFAR-10 as JPEG files is not here")
def test_a_real_folder_packs_to_what_the_folder_dataset_reads(tmp_path):
    pack_folder(SAMPLE / "train", tmp_path / "out", shuffle_seed=None, **QUIET)
    packed, read = ShardDataset(tmp_path / "out"), load("folder", root=SAMPLE)
    assert len(packed) == len(read) and list(packed.classes) == read.classes
    for k in range(0, len(read), 37):
        assert torch.equal(packed[k][0].float().div(255), read[k][0]) and packed[k][1] == read[k][1]


# What is refused


def test_images_of_two_sizes_are_refused_with_both_and_the_remedy(folder, tmp_path):
    paint(folder / "c" / "zz.png", 99, size=(5, 9))
    message = r"a/000.png is 8 x 6, c/zz.png is 5 x 9 pixels. A dataset has one size: pass size=5, say \(--size 5\)"
    with pytest.raises(ValueError, match=message):
        pack_folder(folder, tmp_path / "out", **QUIET)
    assert not (tmp_path / "out").exists()
    assert pack_folder(folder, tmp_path / "out", size=5, **QUIET).shape == (3, 5, 5)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_image_that_cannot_be_decoded_is_refused_by_name(folder, tmp_path, processes):
    spoil(folder / "b" / "004.png")
    with pytest.raises(
        ValueError, match=r"b/004.png cannot be packed: .*on_error='skip' \(--skip-bad\)$"
    ) as caught:
        pack_folder(folder, tmp_path / "out", processes=processes, **QUIET)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="unfinished"):
        ShardDataset(tmp_path / "out")
    assert multiprocessing.active_children() == []


def test_an_image_turned_by_what_follows_its_pixels_is_refused_with_its_size(folder, tmp_path):
    path, exif = folder / "b" / "004.png", Image.Exif()
    exif[ORIENTATION] = 6
    head, chunk = path.read_bytes()[:-12], exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = b"eXIf" + chunk
    tail = (
        struct.pack(">I", len(chunk) - 4)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + path.read_bytes()[-12:]
    )
    path.write_bytes(head + tail)
    with pytest.raises(
        ValueError, match="b/004.png cannot be packed: it is 6 x 8 pixels, unlike its header"
    ):
        pack_folder(folder, tmp_path / "out", **QUIET)


def test_a_header_that_cannot_be_read_is_refused_before_anything_is_written(folder, tmp_path):
    (folder / "b" / "004.png").write_text("not a picture")
    with pytest.raises(
        ValueError, match="b/004.png cannot be packed: cannot identify image file.*skip"
    ):
        pack_folder(folder, tmp_path / "out", **QUIET)
    assert not (tmp_path / "out").exists()


def test_bad_images_are_skipped_and_listed(folder, tmp_path):
    spoil(folder / "b" / "004.png")
    (folder / "c" / "005.png").write_bytes(b"")
    report = pack_folder(folder, tmp_path / "out", on_error="skip", **QUIET)
    assert sorted(numbers(tmp_path / "out")[0]) == sorted({*range(60)} - {4, 5})
    assert (
        sorted(name for name, _ in report.skipped) == ["b/004.png", "c/005.png"]
        and report.samples == 58
    )
    assert "0x" not in repr(report) and "skipped b/004.png: " in repr(report)
    listed = [
        json.loads(line)
        for line in (tmp_path / "out" / "skipped.jsonl").read_text().split("\n")
        if line
    ]
    assert [(name, reason) for _, name, reason, _ in listed] == list(report.skipped)
    (folder / "b" / "004.png").unlink()
    (folder / "c" / "005.png").unlink()
    assert pack_folder(folder, tmp_path / "out", overwrite=True, **QUIET).skipped == ()
    assert not (tmp_path / "out" / "skipped.jsonl").exists(), (
        "the old list is gone with the old dataset"
    )


@pytest.mark.parametrize("size", [None, 4])
def test_a_link_that_leads_nowhere_is_an_image_that_cannot_be_read(folder, tmp_path, size):
    (folder / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(
        ValueError, match=r"a/gone.png cannot be packed: .*nowhere.*on_error='skip'"
    ):
        pack_folder(folder, tmp_path / "out", size=size, **QUIET)
    report = pack_folder(folder, tmp_path / "out", size=size, on_error="skip", **QUIET)
    assert report.samples == 60 and [name for name, _ in report.skipped] == ["a/gone.png"]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no permissions of this kind")
def test_what_the_system_cannot_read_is_never_skipped(folder, tmp_path, monkeypatch):
    def read_bytes(path):
        if path.name == "004.png":
            raise PermissionError(13, "Permission denied", str(path))
        return path.open("rb").read()

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(
        ValueError, match="b/004.png cannot be packed: .*Permission denied"
    ) as caught:
        pack_folder(folder, tmp_path / "out", on_error="skip", processes=1, **QUIET)
    assert "--skip-bad" not in str(caught.value)


@pytest.mark.parametrize("size", [None, 4])
def test_a_folder_of_nothing_but_bad_images_is_refused(tmp_path, size):
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "a" / "0.png").write_text("not a picture")
    with pytest.raises(ValueError, match="none of .*1 images"):
        pack_folder(tmp_path / "images", tmp_path / "out", size=size, on_error="skip", **QUIET)
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize(
    "make, kind, message",
    [
        (
            lambda root: None,
            FileNotFoundError,
            "there is no folder .*images: check the name; it is relative to",
        ),
        (
            lambda root: root.mkdir(),
            FileNotFoundError,
            "images holds no images: expected .*images/CLASS/",
        ),
        (
            lambda root: paint(root / "0.png", 0),
            ValueError,
            "0.png lies in no class folder: expected .*images/CLASS/",
        ),
        (
            lambda root: (root / "a").mkdir(parents=True),
            ValueError,
            r"images/a holds no images \(.jpg.*remove it",
        ),
        (
            lambda root: paint(root / "train" / "a" / "0.png", 0),
            ValueError,
            "holds splits, not classes: pack .*/train$",
        ),
    ],
)
def test_a_folder_of_another_layout_is_refused(tmp_path, make, kind, message):
    make(tmp_path / "images")
    with pytest.raises(kind, match=message):
        pack_folder(tmp_path / "images", tmp_path / "out", **QUIET)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"size": 0}, "size is 0: expected a whole number of pixels, at least 1"),
        ({"size": True}, "size is True"),
        ({"on_error": "ignore"}, "on_error is 'ignore': expected 'raise' or 'skip'"),
        ({"processes": 0}, "processes is 0: expected a whole number, at least 1"),
        ({"rows_per_shard": 0}, "rows_per_shard"),
    ],
)
def test_wrong_settings_are_refused(folder, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        pack_folder(folder, tmp_path / "out", **options, **QUIET)
    assert not (tmp_path / "out").exists()


def test_a_target_inside_the_source_is_refused(folder):
    with pytest.raises(
        ValueError, match="out lies in .*images, where it would be taken for a class"
    ):
        pack_folder(folder, folder / "out", **QUIET)


def test_a_finished_dataset_is_kept_unless_told_otherwise(folder, tmp_path):
    pack_folder(folder, tmp_path / "out", **QUIET)
    before = contents(tmp_path / "out")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        pack_folder(folder, tmp_path / "out", shuffle_seed=1, **QUIET)
    assert contents(tmp_path / "out") == before
    pack_folder(folder, tmp_path / "out", shuffle_seed=1, overwrite=True, **QUIET)
    assert contents(tmp_path / "out") != before


def test_a_disk_without_room_is_refused_before_decoding(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "shutil.disk_usage", lambda path: type("Usage", (), {"free": 60 * 3 * 8 * 6})()
    )
    monkeypatch.setattr(packing, "batches", lambda *_: pytest.fail("decoding began"))
    with pytest.raises(OSError, match="is to take .* and its disk has"):
        pack_folder(folder, tmp_path / "out", **QUIET)


# Stopped and resumed

PACK = """
import sys
from dlhelpers.packed import decoding
from dlhelpers.packed import packing
from dlhelpers.packed import shard_writer
decoding.BATCH_BYTES = 5 * 3 * 8 * 6
write, left = shard_writer.write_shard, [int(sys.argv[3])]
def slow(*arguments):
    shard = write(*arguments)
    left[0] -= 1
    if left[0] == 0:
        print("now", flush=True)
        sys.stdin.read()
    return shard
shard_writer.write_shard = slow
packing.pack_folder(sys.argv[1], sys.argv[2], rows_per_shard=7, processes=2, on_error="skip", progress=False)
"""


@pytest.fixture
def stopped(folder, tmp_path):
    """Pack a folder with bad images in a process of its own, and stop it by a signal while it writes its nth shard."""

    def stop(shards, number):
        written = np.random.default_rng(0).permutation(60)
        for index in written[
            [0, 4, 19, 40, 59]
        ]:  # at both ends, and on either side of where it is stopped
            spoil(sorted(folder.rglob("*.png"))[index])
        command = [sys.executable, "-c", PACK, str(folder), str(tmp_path / "out"), str(shards)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout.readline() == b"now\n", process.stderr.read().decode()
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        errors = process.communicate()[1].decode()
        gone, alive = psutil.wait_procs(workers, timeout=30)
        assert bool(workers) == (shards < 8) and not alive, (
            "a worker outlived the process that started it"
        )
        return errors

    return stop


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("shards", [1, 4, 8] if FULL else [4])
def test_a_killed_pack_is_finished_with_the_same_bytes(folder, tmp_path, stopped, shards):
    stopped(shards, signal.SIGKILL)
    with pytest.raises(ValueError, match=f"unfinished dataset: {shards - 1} shard"):
        ShardDataset(tmp_path / "out")
    options = {"rows_per_shard": 7, "on_error": "skip", "processes": 1, **QUIET}
    report = pack_folder(folder, tmp_path / "out", **options)
    unbroken = pack_folder(folder, tmp_path / "unbroken", **options)
    assert report.resumed == 7 * (shards - 1) and report.samples == 55
    assert contents(tmp_path / "out") == contents(tmp_path / "unbroken")
    assert report.skipped == unbroken.skipped and len(report.skipped) == 5


def test_an_interrupt_ends_the_workers_and_the_pack_can_be_finished(folder, tmp_path, stopped):
    assert "KeyboardInterrupt" in stopped(3, signal.SIGINT)
    assert not list((tmp_path / "out").glob("*.partial")) and not list(
        (tmp_path / "out").glob(".writing*")
    )
    report = pack_folder(folder, tmp_path / "out", rows_per_shard=7, on_error="skip", **QUIET)
    bad = {int(Path(name).stem) for name, _ in report.skipped}
    assert (
        report.resumed == 14
        and len(bad) == 5
        and sorted(numbers(tmp_path / "out")[0]) == sorted({*range(60)} - bad)
    )


def test_an_interrupt_while_waiting_ends_the_workers_though_its_traceback_is_kept(
    folder, tmp_path, monkeypatch
):
    def interrupt(iterator):
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "torch.utils.data.dataloader._MultiProcessingDataLoaderIter._next_data", interrupt
    )
    with pytest.raises(KeyboardInterrupt) as caught:  # holds on to the frames, as a notebook does
        pack_folder(folder, tmp_path / "out", processes=2, **QUIET)
    assert multiprocessing.active_children() == [] and caught.tb


class Stop(Exception):
    """What a test raises in the middle of packing."""


@settings(max_examples=150 if FULL else 15, deadline=None)
@given(
    bad=st.sets(st.integers(0, 29), max_size=12),
    rows=st.integers(1, 9),
    batch=st.integers(1, 8),
    stops=st.lists(st.integers(1, 12), max_size=3),
    torn=st.booleans(),
    after=st.booleans(),
)
def test_stopped_anywhere_the_bytes_are_the_same(
    tmp_path_factory, bad, rows, batch, stops, torn, after
):
    class Painted:
        shape = (1, 1, 1)

        def __len__(self):
            return 30

        def read(self, positions, pixels):
            good = [k for k in positions if k not in bad]
            pixels[: len(good)] = np.array(good, np.uint8).reshape(-1, 1, 1, 1)
            reasons = [decoding.Bad(k, f"{k}", "it is bad", True) for k in positions if k in bad]
            return np.array(good, np.int64) % 3, reasons

    def made(source, start, processes):
        for first in range(start, 30, batch):
            pixels = np.empty((batch, 1, 1, 1), np.uint8)
            labels, reasons = source.read(range(first, min(first + batch, 30)), pixels)
            yield Batch(torch.from_numpy(pixels[: len(labels)]), labels, reasons)

    class Stopping(packing.ShardWriter):
        """Stops before or after taking a batch, when so many were taken."""

        calls = 99

        def add(self, images, labels):
            self.calls -= 1
            if self.calls == 0 and not after:
                raise Stop
            super().add(images, labels)
            if self.calls == 0:
                raise Stop

    root = tmp_path_factory.mktemp("stopped")
    listed = []
    with pytest.MonkeyPatch.context() as patch:
        for target, calls in [(root / "broken", n) for n in stops] + [
            (root / "broken", 99),
            (root / "whole", 99),
        ]:
            patch.setattr(packing, "batches", made)
            patch.setattr(Stopping, "calls", calls)
            patch.setattr(packing, "ShardWriter", Stopping)
            try:
                report = packing._pack(
                    Painted(), target, ("a", "b", "c"), {"of": 1}, rows, 1, True, True, False
                )
                listed.append((report.samples, report.skipped))
            except Stop:
                if torn and (target / "unfinished-skipped.jsonl").exists():
                    with (target / "unfinished-skipped.jsonl").open("a") as file:
                        file.write('\n[29, "29", "it')
    assert contents(root / "broken") == contents(root / "whole")
    assert listed[0 if len(listed) == 2 else -2] == listed[-1] and listed[-1][0] == 30 - len(bad)


def test_a_pack_that_met_a_bad_image_goes_on_with_skip_and_not_without(folder, tmp_path):
    spoil(folder / "b" / "004.png")
    options = {"rows_per_shard": 2, "shuffle_seed": None, "processes": 1, **QUIET}
    whole = pack_folder(folder, tmp_path / "whole", on_error="skip", **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "BATCH_BYTES", 3 * 8 * 6)
        with pytest.raises(ValueError, match="b/004.png"):
            pack_folder(folder, tmp_path / "out", **options)
    report = pack_folder(folder, tmp_path / "out", on_error="skip", **options)
    assert report.resumed == 20 and report.skipped == whole.skipped
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_list_of_skipped_images_refuses_where_none_may_be_skipped(folder, tmp_path):
    spoil(folder / "b" / "004.png")
    options = {"rows_per_shard": 2, "shuffle_seed": None, "processes": 1, **QUIET}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing.ShardWriter, "_finish", lambda self: (_ for _ in ()).throw(Stop))
        with pytest.raises(Stop):
            pack_folder(folder, tmp_path / "out", on_error="skip", **options)
    with pytest.raises(ValueError, match="b/004.png cannot be packed"):
        pack_folder(folder, tmp_path / "out", **options)
    assert pack_folder(folder, tmp_path / "out", on_error="skip", **options).resumed >= 58


def test_a_changed_image_starts_the_pack_afresh(folder, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing.ShardWriter, "_finish", lambda self: (_ for _ in ()).throw(Stop))
        with pytest.raises(Stop):
            pack_folder(folder, tmp_path / "out", rows_per_shard=7, **QUIET)
    paint(folder / "a" / "000.png", 300)
    with pytest.warns(UserWarning, match="written anew"):
        report = pack_folder(folder, tmp_path / "out", rows_per_shard=7, **QUIET)
    assert report.resumed == 0 and 300 in numbers(tmp_path / "out")[0]


# Any dataset


@pytest.mark.parametrize("processes", [1, 2])
def test_a_dataset_comes_out_as_rounded_to_255ths(tmp_path, processes):
    images = torch.rand(50, 2, 3, 4)
    dataset = ImageDataset(images, torch.arange(50) % 4, list("abcd"))
    report = pack_dataset(
        dataset,
        tmp_path / "out",
        classes=dataset.classes,
        rows_per_shard=20,
        shuffle_seed=None,
        processes=processes,
        **QUIET,
    )
    packed = ShardDataset(tmp_path / "out", check="hash")
    got, labels = next(iter(DataLoader(packed, batch_size=50)))
    assert torch.equal(got, (images * 255).round().to(torch.uint8)) and labels.tolist() == [
        k % 4 for k in range(50)
    ]
    assert (report.samples, report.shards, report.shape, packed.classes) == (
        50,
        3,
        (2, 3, 4),
        list("abcd"),
    )


def test_a_generated_dataset_packs_to_the_same_bytes_in_any_number_of_processes(tmp_path):
    dataset = Shapes(300, 16)
    for processes in (1, 2):
        pack_dataset(
            dataset,
            tmp_path / f"{processes}",
            classes=dataset.classes,
            processes=processes,
            **QUIET,
        )
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


@pytest.mark.parametrize(
    "samples, kind, message",
    [
        ([], ValueError, "the dataset holds 0 samples: expected at least one"),
        (
            [("image", 0)],
            TypeError,
            r"sample 0: its image is str: expected a tensor \(C, H, W\), uint8 or floats",
        ),
        (
            [(torch.zeros(3, 3), 0)],
            TypeError,
            r"sample 0: its image is torch.float32 \(3, 3\): expected a tensor",
        ),
        (
            [(torch.full((1, 2, 2), 2.0), 0)],
            ValueError,
            "values from 2 to 2: expected 0 to 1. Normalise after reading",
        ),
        ([(torch.full((1, 2, 2), torch.nan), 0)], ValueError, "values from nan to nan"),
        (
            [(torch.zeros(1, 2, 2), 0), (torch.zeros(1, 2, 3), 0)],
            ValueError,
            r"sample 1 .*shape \(1, 2, 3\), the first",
        ),
        (
            [(torch.zeros(1, 2, 2), 2)],
            ValueError,
            "sample 0 .*label is 2: expected 0 to 1, since there are 2 classes",
        ),
        (
            [(torch.zeros(1, 2, 2), 0.5)],
            ValueError,
            "sample 0 .*label is 0.5: expected a class number from 0 to 1",
        ),
    ],
)
def test_a_sample_that_does_not_fit_is_refused_and_named(tmp_path, samples, kind, message):
    with pytest.raises(kind, match=message):
        pack_dataset(samples, tmp_path / "out", classes=["a", "b"], **QUIET)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_progress_counts_images(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    pack_dataset(NumberedImages(3), tmp_path / "out", classes=["a", "b", "c"], processes=1)
    assert "3/3" in (shown := capsys.readouterr().err) and "image/s" in shown


def test_threads_of_the_caller_do_no_harm(folder, tmp_path):
    matrix = torch.rand(
        200, 200
    )  # drawn here: a worker forked while a thread draws would wait for torch's generator
    busy = threading.Thread(target=lambda: [matrix @ matrix for _ in range(50)])
    busy.start()
    assert pack_folder(folder, tmp_path / "out", processes=2, **QUIET).samples == 60
    busy.join()
