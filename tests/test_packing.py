"""Tests of `packed.packing` and of decoding: whole and shuffled, and the same bytes whatever happened on the way."""

import io
import multiprocessing
import subprocess
import sys

import numpy as np
import pytest
import torch
from long_cases import only_full
from PIL import Image
from torch.utils.data import DataLoader

from dlhelpers.data import ImageDataset
from dlhelpers.data.folders import decode_image
from dlhelpers.packed import PackedDataset, pack_dataset, pack_folder, packing, verify, writer

ORIENTATION = 0x0112


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file


def paint(path, number, size=(8, 6)):
    """A PNG file whose first pixel has this much red, below 256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    pixels[0, 0, 0] = number
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
    assert verify(target).ok
    samples = list(PackedDataset(target))
    return [int(image[0, 0, 0]) for image, _ in samples], [label for _, label in samples]


def spoil(path):
    path.write_bytes(path.read_bytes()[:60])


# One image


@pytest.mark.parametrize(
    "mode, colour, kind, expected",
    [
        ("L", 90, "PNG", (90, 90, 90)),
        ("RGBA", (10, 20, 30, 0), "PNG", (10, 20, 30)),
        ("CMYK", (0, 255, 255, 0), "TIFF", (255, 0, 0)),
        ("I;16", 0x5AFF, "PNG", (0x5A, 0x5A, 0x5A)),
    ],
)
def test_every_kind_of_image_becomes_rgb(mode, colour, kind, expected):
    image = decode_image(encoded(Image.new(mode, (4, 3), colour), kind))
    assert image.dtype == np.uint8 and image.shape == (3, 3, 4)
    assert {*zip(*image.reshape(3, -1).tolist(), strict=True)} == {expected}


@pytest.mark.parametrize("mode, colour", [("F", 0.5), ("I", 70_000)])
def test_pixels_whose_range_is_unknown_are_refused(mode, colour):
    with pytest.raises(ValueError, match="its pixels are floats, or have 32 bits: expected 8 or"):
        decode_image(encoded(Image.new(mode, (4, 4), colour), "TIFF"))


@pytest.mark.parametrize(("orientation", "turned"), [(1, 0), (3, 180), (6, 90)])
@pytest.mark.parametrize("size", [None, 8])
def test_an_image_stands_upright(orientation, turned, size):
    upright = Image.new("RGB", (16, 8))
    upright.paste((250, 0, 0), (4, 0, 8, 4))  # in the upper left of the whole and of its centre
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = decode_image(encoded(upright.rotate(turned, expand=True), exif=exif), size)
    wanted = np.asarray(upright if size is None else upright.crop((4, 0, 12, 8))).transpose(2, 0, 1)
    assert np.array_equal(image, wanted)


def test_a_large_jpeg_decoded_at_a_part_of_its_size_looks_as_if_decoded_whole():
    small = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    large = Image.fromarray(small).resize((1600, 1200), Image.Resampling.BICUBIC)
    quick = decode_image(encoded(large, "JPEG", quality=95), 64).astype(int)
    whole = decode_image(encoded(Image.open(encoded(large, "JPEG", quality=95))), 64).astype(int)
    assert np.abs(quick - whole).mean() < 1 and np.abs(quick - whole).max() < 12


# A folder


def test_a_folder_comes_out_whole_and_shuffled(folder, tmp_path):
    report = pack_folder(folder, tmp_path / "out")
    found, labels = numbers(tmp_path / "out")
    assert sorted(found) == list(range(60)) and labels != sorted(labels)
    assert [number % 3 for number in found] == labels
    dataset = PackedDataset(tmp_path / "out")
    assert dataset.classes == ["a", "b", "c"] and dataset.shape == (3, 6, 8)
    files = [path.stat().st_size for path in (tmp_path / "out").glob("*.npy")]
    assert (report.samples, report.bytes, report.faults, report.resumed) == (60, sum(files), (), 0)
    assert "samples  60" in repr(report)
    pack_folder(folder, tmp_path / "other", shuffle_seed=1)
    assert numbers(tmp_path / "other")[0] != found
    pack_folder(folder, tmp_path / "none", shuffle_seed=None)
    in_order = [3 * k + label for label in range(3) for k in range(20)]
    assert numbers(tmp_path / "none")[0] == in_order


def test_two_processes_write_the_bytes_of_one_and_leave_random_numbers_alone(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(packing, "BATCH_BYTES", 4 * 3 * 8 * 6)  # four images: workers take turns
    spoil(folder / "b" / "004.png")
    before = torch.get_rng_state()
    for name, count in [("one", 1), ("two", 2)]:
        pack_folder(folder, tmp_path / name, processes=count, on_error="skip")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert torch.equal(torch.get_rng_state(), before)
    assert multiprocessing.active_children() == []


@only_full  # each worker imports torch
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_that_are_not_forked_write_the_same_bytes(folder, tmp_path, method):
    code = (
        f"import multiprocessing as mp; mp.set_start_method({method!r});"
        " from dlhelpers.packed.packing import pack_folder;"
        f" pack_folder({str(folder)!r}, {str(tmp_path / 'far')!r}, processes=2)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    pack_folder(folder, tmp_path / "near", processes=1)
    assert contents(tmp_path / "far") == contents(tmp_path / "near")


# What is refused


def test_images_of_two_sizes_are_refused_with_both_and_the_remedy(folder, tmp_path):
    paint(folder / "c" / "zz.png", 99, size=(5, 9))
    message = r"c/zz.png is 5 x 9 pixels, the first image 8 x 6: .* pass size=5"
    with pytest.raises(ValueError, match=message):
        pack_folder(folder, tmp_path / "out")
    pack_folder(folder, tmp_path / "out", size=5)
    assert PackedDataset(tmp_path / "out").shape == (3, 5, 5)


def test_bad_images_are_refused_by_name_or_skipped_and_listed(folder, tmp_path):
    spoil(folder / "a" / "000.png")  # the first, whose size would be that of all
    spoil(folder / "b" / "004.png")
    (folder / "c" / "005.png").write_bytes(b"")
    (folder / "a" / "006.png").unlink()
    (folder / "a" / "006.png").symlink_to(tmp_path / "nowhere.png")
    message = r"^[abc]/00\d.png cannot be used: .*on_error='skip' \(--skip-bad\)$"
    with pytest.raises(ValueError, match=message):
        pack_folder(folder, tmp_path / "out", processes=2)
    assert multiprocessing.active_children() == []
    report = pack_folder(folder, tmp_path / "out", on_error="skip")
    assert sorted(numbers(tmp_path / "out")[0]) == sorted({*range(60)} - {0, 4, 5, 6})
    names = sorted(fault.partition(" cannot be used: ")[0] for fault in report.faults)
    assert names == ["a/000.png", "a/006.png", "b/004.png", "c/005.png"] and report.samples == 56
    assert "0x" not in repr(report) and "Note: b/004.png cannot be used: " in repr(report)
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be used"):
        pack_folder(folder, tmp_path / "other", on_error="skip")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("0.png", "images holds no folders"),
        ("a/0.txt", "a holds no images .*.jpg"),
        ("train/a/0.png", "holds splits, not classes: take .*/train$"),
    ],
)
def test_a_folder_of_another_layout_is_refused(tmp_path, file, message):
    path = tmp_path / "images" / file
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        pack_folder(tmp_path / "images", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Stopped and resumed


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 7 images, in batches of 5."""
    monkeypatch.setattr(writer, "BLOCK_BYTES", 7 * 144)
    monkeypatch.setattr(packing, "BATCH_BYTES", 5 * 144)


@pytest.fixture
def stopped(folder, tmp_path, small_blocks, monkeypatch):
    """Pack a folder with bad images, and interrupt it after its nth block; a kill is a matter of the writer's tests."""

    def stop(blocks):
        for index in np.random.default_rng(0).permutation(60)[[0, 4, 19, 40, 59]]:
            # at both ends, and on either side of where it is stopped
            spoil(sorted(folder.rglob("*.png"))[index])
        write = writer.PackedWriter._write_block

        def interrupted(self):
            write(self)
            if len(self.blocks) == blocks:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(writer.PackedWriter, "_write_block", interrupted)
            pack_folder(folder, tmp_path / "out", processes=2, on_error="skip")
        assert multiprocessing.active_children() == []

    return stop


@pytest.mark.parametrize("blocks", [1, 4, 7])
def test_an_interrupted_pack_is_finished_with_the_same_bytes(folder, tmp_path, stopped, blocks):
    stopped(blocks)
    with pytest.raises(ValueError, match="cannot be used: .*--skip-bad"):
        pack_folder(folder, tmp_path / "out")
    options = {"on_error": "skip", "processes": 1}
    report = pack_folder(folder, tmp_path / "out", **options)
    unbroken = pack_folder(folder, tmp_path / "unbroken", **options)
    assert report.resumed == 7 * blocks and report.samples == 55
    assert contents(tmp_path / "out") == contents(tmp_path / "unbroken")
    assert report.faults == unbroken.faults and len(report.faults) == 5


def test_a_changed_image_starts_afresh(folder, tmp_path, stopped):
    stopped(3)
    paint(folder / "a" / "000.png", 200)
    report = pack_folder(folder, tmp_path / "out", on_error="skip")
    assert report.resumed == 0 and 200 in numbers(tmp_path / "out")[0]


# Any dataset


def test_a_dataset_comes_out_as_rounded_to_255ths(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    images = torch.rand(50, 2, 3, 4)
    dataset = ImageDataset(images, torch.arange(50) % 4, list("abcd"))
    report = pack_dataset(dataset, tmp_path, shuffle_seed=None, processes=2)
    assert "50/50" in (shown := capsys.readouterr().err) and "image/s" in shown
    packed = PackedDataset(tmp_path)
    got, labels = next(iter(DataLoader(packed, batch_size=50)))
    assert torch.equal(got, (images * 255).round().to(torch.uint8))
    assert labels.tolist() == [k % 4 for k in range(50)]
    assert report.samples == 50 and packed.classes == list("abcd")


def test_a_dataset_is_gone_on_with_where_it_was_stopped(tmp_path, small_blocks):
    class Broken(ImageDataset):
        def __getitem__(self, index):
            return super().__getitem__(index) if index != 30 else (None, 0)

    data = torch.rand(50, 3, 6, 8), torch.arange(50) % 2, "ab"
    options = {"classes": "a b".split(), "shuffle_seed": None, "processes": 1}
    with pytest.raises(ValueError, match="sample 30 is None"):
        pack_dataset(Broken(*data), tmp_path / "out", **options)
    assert pack_dataset(ImageDataset(*data), tmp_path / "out", **options).resumed == 28


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (["image"], r"sample 0 is 'image': expected a tensor \(C, H, W\), uint8"),
        ([torch.full((1, 2, 2), 2.0)], "from 2 to 2: .*Normalise after reading"),
        (
            [torch.zeros(1, 2, 2), torch.zeros(1, 2, 3)],
            r"sample 1 .*shape \(1, 2, 3\).*, as \(1, 2, 2\), the first one",
        ),
    ],
)
def test_an_image_that_does_not_fit_is_refused_and_named(tmp_path, images, message):
    with pytest.raises(ValueError, match=message):
        pack_dataset([(image, 0) for image in images], tmp_path, classes=["a", "b"])
    assert not (tmp_path / "manifest.json").exists()
