"""Tests of `packed.packing`: whole and shuffled, and the same bytes whatever happened on the way."""

import io
import json
import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from dlhelpers.data import ImageDataset, NumberedImages, Shapes, Stream, folders, load
from dlhelpers.data.folders import decode_image
from dlhelpers.packed import PackedDataset, pack_dataset, pack_folder, packing, verify, writer

SAMPLE = Path(__file__).parents[2] / "shared" / "data" / "cifar10-sample"
FULL = bool(os.environ.get("DLHELPERS_FULL"))
ORIENTATION = 0x0112
QUIET = {"progress": False}


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file


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
    return {path.name: path.read_bytes() for path in sorted(target.iterdir())}


def numbers(target):
    """The numbers that `paint` put into the images of a dataset, in order, and the labels."""
    assert verify(target, progress=False).ok
    dataset = PackedDataset(target)
    samples = [dataset[k] for k in range(len(dataset))]
    return [int(image[0, 0, 0]) * 256 + int(image[1, 0, 0]) for image, _ in samples], [
        label for _, label in samples
    ]


def spoil(path):
    path.write_bytes(path.read_bytes()[:60])


# One image


def test_pixels_come_out_as_they_are():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(decode_image(encoded(Image.fromarray(pixels))), pixels.transpose(2, 0, 1))


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
    image = decode_image(encoded(Image.new(mode, (4, 3), colour), kind))
    assert image.dtype == np.uint8 and image.shape == (3, 3, 4)
    assert np.array_equal(image, np.broadcast_to(np.array(expected).reshape(3, 1, 1), (3, 3, 4)))


def test_a_palette_with_transparency_becomes_rgb_without_a_warning(recwarn):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert decode_image(encoded(image, transparency=b"\0\0"))[:, 0, 0].tolist() == [200, 100, 50]
    assert not recwarn.list


@pytest.mark.parametrize(
    "mode, colour, message",
    [
        ("F", 0.5, "its pixels are floats, or have 32 bits: expected 8 or 16 bits"),
        ("I", 70_000, "its pixels are floats, or have 32 bits"),
    ],
)
def test_pixels_whose_range_is_unknown_are_refused(mode, colour, message):
    with pytest.raises(ValueError, match=message):
        decode_image(encoded(Image.new(mode, (4, 4), colour), "TIFF"))


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
    image = decode_image(encoded(stored, exif=exif), size)
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
    image = decode_image(encoded(Image.fromarray(long)), size)
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
    quick = decode_image(encoded(large, "JPEG", quality=95), 64).astype(int)
    whole = decode_image(encoded(Image.open(encoded(large, "JPEG", quality=95))), 64).astype(int)
    assert np.abs(quick - whole).mean() < 1 and np.abs(quick - whole).max() < 12


# A folder


def test_a_folder_comes_out_whole_and_shuffled(folder, tmp_path):
    report = pack_folder(folder, tmp_path / "out", **QUIET)
    found, labels = numbers(tmp_path / "out")
    assert sorted(found) == list(range(60)) and labels != sorted(labels)
    assert [number % 3 for number in found] == labels
    assert (
        PackedDataset(tmp_path / "out").classes == ["a", "b", "c"]
        and verify(tmp_path / "out", progress=False).ok
    )
    assert (report.samples, report.classes, report.shape) == (60, 3, (3, 6, 8))
    files = [path.stat().st_size for path in (tmp_path / "out").glob("*.npy")]
    assert (
        report.bytes == sum(files)
        and report.skipped == ()
        and not report.ignored
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
        packing, "BATCH_BYTES", 4 * 3 * 8 * 6
    )  # batches of 4 images: workers really take turns
    spoil(folder / "b" / "004.png")
    for name, count in [("one", 1), ("many", processes)]:
        pack_folder(folder, tmp_path / name, processes=count, on_error="skip", **QUIET)
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
    assert report.samples == 60 and report.ignored == ["a/notes.txt"]
    assert "1 other files were left out, as a/notes.txt" in repr(report)


def test_a_class_may_be_a_link_and_a_link_in_a_class_is_not_followed(folder, tmp_path):
    (folder / "a" / "loop").symlink_to(".")
    (folder / "elsewhere").symlink_to(tmp_path / "linked")
    paint(tmp_path / "linked" / "one.png", 60)
    report = pack_folder(folder, tmp_path / "out", **QUIET)
    assert (report.samples, report.ignored) == (61, ["a/loop"])


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the sample of CIFAR-10 as JPEG files is not here")
def test_a_real_folder_packs_to_what_the_folder_dataset_reads(tmp_path):
    pack_folder(SAMPLE / "train", tmp_path / "out", shuffle_seed=None, **QUIET)
    packed, read = PackedDataset(tmp_path / "out"), load("folder", root=SAMPLE)
    assert len(packed) == len(read) and list(packed.classes) == read.classes
    for k in range(0, len(read), 37):
        assert torch.equal(packed[k][0].float().div(255), read[k][0]) and packed[k][1] == read[k][1]


# What is refused


def test_images_of_two_sizes_are_refused_with_both_and_the_remedy(folder, tmp_path):
    paint(folder / "c" / "zz.png", 99, size=(5, 9))
    message = (
        r"a/000.png is 8 x 6, c/zz.png is 5 x 9 pixels. A dataset has one size: pass size=5, say"
    )
    with pytest.raises(ValueError, match=message):
        pack_folder(folder, tmp_path / "out", **QUIET)
    assert not (tmp_path / "out").exists()
    assert pack_folder(folder, tmp_path / "out", size=5, **QUIET).shape == (3, 5, 5)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_image_that_cannot_be_decoded_is_refused_by_name(folder, tmp_path, processes):
    spoil(folder / "b" / "004.png")
    with pytest.raises(
        ValueError, match=r"b/004.png cannot be used: .*on_error='skip' \(--skip-bad\)$"
    ) as caught:
        pack_folder(folder, tmp_path / "out", processes=processes, **QUIET)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="unfinished"):
        PackedDataset(tmp_path / "out")
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
        ValueError, match="b/004.png cannot be used: it is 6 x 8 pixels, unlike its header"
    ):
        pack_folder(folder, tmp_path / "out", **QUIET)


def test_a_header_that_cannot_be_read_is_refused_before_anything_is_written(folder, tmp_path):
    (folder / "b" / "004.png").write_text("not a picture")
    with pytest.raises(
        ValueError, match="b/004.png cannot be used: cannot identify image file.*skip"
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
    listed = json.loads((tmp_path / "out" / "manifest.json").read_text())["skipped"]
    assert [tuple(entry) for entry in listed] == list(report.skipped)
    (folder / "b" / "004.png").unlink()
    (folder / "c" / "005.png").unlink()
    assert pack_folder(folder, tmp_path / "out", overwrite=True, **QUIET).skipped == ()


@pytest.mark.parametrize("size", [None, 4])
def test_a_link_that_leads_nowhere_is_an_image_that_cannot_be_read(folder, tmp_path, size):
    (folder / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(
        ValueError, match=r"a/gone.png cannot be used: .*No such file.*on_error='skip'"
    ):
        pack_folder(folder, tmp_path / "out", size=size, **QUIET)
    report = pack_folder(folder, tmp_path / "out", size=size, on_error="skip", **QUIET)
    assert report.samples == 60 and [name for name, _ in report.skipped] == ["a/gone.png"]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no permissions of this kind")
def test_what_the_system_cannot_read_is_never_skipped(folder, tmp_path, monkeypatch):
    def decode(path, size):
        if path.name == "004.png":
            raise PermissionError(13, "Permission denied", str(path))
        return decode_image(path, size)

    monkeypatch.setattr(folders, "decode_image", decode)
    with pytest.raises(ValueError, match="b/004.png cannot be used: .*Permission denied") as caught:
        pack_folder(folder, tmp_path / "out", on_error="skip", processes=1, **QUIET)
    assert "--skip-bad" not in str(caught.value)


@pytest.mark.parametrize("size", [None, 4])
def test_a_folder_of_nothing_but_bad_images_is_refused(tmp_path, size):
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "a" / "0.png").write_text("not a picture")
    with pytest.raises(ValueError, match="none of .*1 images|was given 0 samples"):
        pack_folder(tmp_path / "images", tmp_path / "out", size=size, on_error="skip", **QUIET)
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize(
    "make, kind, message",
    [
        (
            lambda root: paint(root / "a" / "b\x1b[2J.png", 0),
            ValueError,
            r"a/b.x1b\[2J.png' holds a control character: rename",
        ),
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
            "holds splits, not classes: take .*/train$",
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
        ({"size": 0}, "size is 0: expected a whole number, at least 1"),
        ({"size": True}, "size is True"),
        ({"on_error": "ignore"}, "on_error is 'ignore': expected 'raise' or 'skip'"),
        ({"processes": 0}, "processes is 0: expected a whole number, at least 1"),
        ({"shuffle_seed": -1}, "shuffle_seed is -1: expected a whole number, at least 0"),
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


# Stopped and resumed

PACK = """
import sys
from dlhelpers.packed import pack_folder, packing, writer
packing.BATCH_BYTES, writer.BLOCK_BYTES = 5 * 144, 7 * 144
write, left = writer.PackedWriter._write_block, [int(sys.argv[3])]
def slow(*arguments):
    write(*arguments)
    left[0] -= 1
    if left[0] == 0:
        print("now", flush=True)
        sys.stdin.read()
writer.PackedWriter._write_block = slow
pack_folder(sys.argv[1], sys.argv[2], processes=2, on_error="skip", progress=False)
"""


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 7 images, in batches of 5."""
    monkeypatch.setattr(writer, "BLOCK_BYTES", 7 * 144)
    monkeypatch.setattr(packing, "BATCH_BYTES", 5 * 144)


@pytest.fixture
def stopped(folder, tmp_path):
    """Pack a folder with bad images in a process of its own, and stop it by a signal after its nth block."""

    def stop(blocks, number):
        written = np.random.default_rng(0).permutation(60)
        for index in written[
            [0, 4, 19, 40, 59]
        ]:  # at both ends, and on either side of where it is stopped
            spoil(sorted(folder.rglob("*.png"))[index])
        command = [sys.executable, "-c", PACK, str(folder), str(tmp_path / "out"), str(blocks)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout.readline() == b"now\n", process.stderr.read().decode()
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        errors = process.communicate()[1].decode()
        gone, alive = psutil.wait_procs(workers, timeout=30)
        assert bool(workers) == (blocks < 8) and not alive, (
            "a worker outlived the process that started it"
        )
        return errors

    return stop


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("blocks", [1, 4, 8] if FULL else [4])
def test_a_killed_pack_is_finished_with_the_same_bytes(
    folder, tmp_path, stopped, blocks, small_blocks
):
    stopped(blocks, signal.SIGKILL)
    with pytest.raises(ValueError, match="unfinished dataset"):
        PackedDataset(tmp_path / "out")
    options = {"on_error": "skip", "processes": 1, **QUIET}
    report = pack_folder(folder, tmp_path / "out", **options)
    unbroken = pack_folder(folder, tmp_path / "unbroken", **options)
    assert report.resumed == 7 * min(blocks, 7) and report.samples == 55
    assert contents(tmp_path / "out") == contents(tmp_path / "unbroken")
    assert report.skipped == unbroken.skipped and len(report.skipped) == 5


def test_an_interrupt_ends_the_workers_and_the_pack_can_be_finished(
    folder, tmp_path, stopped, small_blocks
):
    assert "KeyboardInterrupt" in stopped(3, signal.SIGINT)
    report = pack_folder(folder, tmp_path / "out", on_error="skip", **QUIET)
    bad = {int(Path(name).stem) for name, _ in report.skipped}
    assert (
        report.resumed == 21
        and len(bad) == 5
        and sorted(numbers(tmp_path / "out")[0]) == sorted({*range(60)} - bad)
    )


def test_a_pack_that_met_a_bad_image_goes_on_with_skip_and_not_without(
    folder, tmp_path, small_blocks
):
    spoil(folder / "b" / "004.png")
    options = {"shuffle_seed": None, "processes": 1, **QUIET}
    whole = pack_folder(folder, tmp_path / "whole", on_error="skip", **options)
    with pytest.raises(ValueError, match="b/004.png"):
        pack_folder(folder, tmp_path / "out", **options)
    report = pack_folder(folder, tmp_path / "out", on_error="skip", **options)
    assert report.resumed == 21 and report.skipped == whole.skipped
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_list_of_skipped_images_refuses_where_none_may_be_skipped(
    folder, tmp_path, stopped, small_blocks
):
    stopped(4, signal.SIGTERM)
    with pytest.raises(ValueError, match="cannot be used: .*--skip-bad"):
        pack_folder(folder, tmp_path / "out", **QUIET)
    assert pack_folder(folder, tmp_path / "out", on_error="skip", **QUIET).resumed == 28


def test_a_changed_image_starts_the_pack_afresh(folder, tmp_path, stopped, small_blocks):
    stopped(4, signal.SIGTERM)
    paint(folder / "a" / "000.png", 300)
    report = pack_folder(folder, tmp_path / "out", on_error="skip", **QUIET)
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
        shuffle_seed=None,
        processes=processes,
        **QUIET,
    )
    packed = PackedDataset(tmp_path / "out")
    got, labels = next(iter(DataLoader(packed, batch_size=50)))
    assert torch.equal(got, (images * 255).round().to(torch.uint8)) and labels.tolist() == [
        k % 4 for k in range(50)
    ]
    assert (report.samples, report.shape, packed.classes) == (
        50,
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
            Stream(NumberedImages(3)),
            TypeError,
            "dataset is a Stream: .* Write a stream with PackedWriter",
        ),
        (
            [("image", 0)],
            ValueError,
            r"sample 0 .*its image is 'image': expected a tensor \(C, H, W\), uint8 or floats",
        ),
        (
            [(torch.zeros(3, 3), 0)],
            ValueError,
            r"sample 0 .*its image is .*\(3, 3\).*: expected a tensor",
        ),
        (
            [(torch.full((1, 2, 2), 2.0), 0)],
            ValueError,
            "from 2 to 2: expected uint8, or 0 to 1. Normalise after reading",
        ),
        ([(torch.full((1, 2, 2), torch.nan), 0)], ValueError, "from nan to nan"),
        (
            [(torch.zeros(1, 2, 2), 0), (torch.zeros(1, 2, 3), 0)],
            ValueError,
            r"sample 1 .*shape \(1, 2, 3\), the first",
        ),
        (
            [(torch.zeros(1, 2, 2), 2)],
            ValueError,
            "sample 0 .*label is 2: expected 0 to 1",
        ),
        (
            [(torch.zeros(1, 2, 2), 0.5)],
            ValueError,
            "sample 0 .*cannot be interpreted as an integer",
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
