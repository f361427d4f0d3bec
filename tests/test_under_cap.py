"""What lesson 10 runs in children: the writers write the same images, whole or to where they were killed."""

from pathlib import Path

import numpy as np
import torch
from capped_examples import every_fourth, write_files
from capped_examples import write_packed as write

from dlhelpers.data import ImageFiles, draw_shapes
from dlhelpers.machine import run_limited
from dlhelpers.packed import PackedDataset


def test_both_writers_write_the_same_images(tmp_path):
    images, labels = draw_shapes(0, 60, size=64)
    write_files(tmp_path / "files", 60)
    assert write(tmp_path / "packed", 60) == 60
    packed = PackedDataset(tmp_path / "packed")
    assert np.array_equal(torch.stack([sample.image for sample in packed]).numpy(), images)
    assert [sample.label for sample in packed] == labels.tolist()
    files = ImageFiles(tmp_path / "files")
    number = int(Path(files.samples[0][0]).stem)
    assert labels[number] == files[0][1]
    error = np.abs(files[0][0].numpy() * 255 - images[number]).mean()
    assert error < 15  # JPEG loses some of the noise


def test_killed_writers_leave_what_the_lesson_says(tmp_path):
    for writer, name, last in ((write_files, "files", 12), (write, "packed", 700)):
        run = run_limited(writer, tmp_path / name, 1_000, last, limit=200_000_000)
        assert run.outcome != "returned"
    assert len(list((tmp_path / "files").rglob("*.jpg"))) == 12
    assert write(tmp_path / "packed", 1_000) == 1_000 - 651
    last = PackedDataset(tmp_path / "packed")[999].image
    assert np.array_equal(last.numpy(), draw_shapes(999, 1_000, size=64)[0][0])


def test_every_fourth_pixel_as_floats():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    small = every_fourth(images)
    assert small.shape == (1, 1, 4, 4) and small.dtype == torch.float32
    assert (small * 255).round().int()[0, 0, 0].tolist() == [34, 38, 42, 46]
