"""What lesson 08 runs in children: the writers write the same images, whole or to where they were killed."""

from pathlib import Path

import numpy as np
import torch

from dlhelpers.course.capped_examples import (
    OneMap,
    every_fourth,
    sum_images,
    write_files,
    write_map,
)
from dlhelpers.course.capped_examples import write_packed as write
from dlhelpers.data import draw_shapes, load
from dlhelpers.machine import run_limited
from dlhelpers.packed import PackedDataset


def test_three_writers_write_the_same_images(tmp_path):
    images, labels = draw_shapes(0, 120, size=64)
    write_files(tmp_path / "files", 120)
    write_map(tmp_path / "one.npy", 120)
    assert write(tmp_path / "packed", 120) == 120
    one, packed = OneMap(tmp_path / "one.npy"), PackedDataset(tmp_path / "packed")
    assert len(one) == len(packed) == 120
    assert np.array_equal(torch.stack([one[k][0] for k in range(120)]).numpy(), images)
    assert np.array_equal(torch.stack([sample.image for sample in packed]).numpy(), images)
    assert [sample.label for sample in packed] == labels.tolist()
    files = load("folder", "train", root=tmp_path / "files")
    assert labels[int(Path(files.names[0]).stem)] == files[0][1]


def test_a_sum_is_the_same_through_a_map(tmp_path):
    write_map(tmp_path / "one.npy", 300)
    expected = int(draw_shapes(0, 300, size=64)[0].sum(dtype=np.int64))
    assert (
        sum_images(tmp_path / "one.npy", None) == sum_images(tmp_path / "one.npy", "r") == expected
    )


def test_killed_writers_leave_what_the_lesson_says(tmp_path):
    for writer, name, last in (
        (write_files, "files", 12),
        (write_map, "one.npy", 100),
        (write, "packed", 700),
    ):
        run = run_limited(
            writer, tmp_path / name, 1_000 if name == "packed" else 300, last, limit=200_000_000
        )
        assert run.outcome != "returned"
    assert len(list((tmp_path / "files").rglob("*.jpg"))) == 12
    one = np.load(tmp_path / "one.npy")
    assert (one.max(axis=(1, 2, 3)) == 0).tolist() == [False] * 100 + [True] * 200
    assert write(tmp_path / "packed", 1_000) == 1_000 - 651
    assert np.array_equal(
        PackedDataset(tmp_path / "packed")[999].image.numpy(),
        draw_shapes(999, 1_000, size=64)[0][0],
    )


def test_every_fourth_pixel_as_floats():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    small = every_fourth(images)
    assert small.shape == (1, 1, 4, 4) and small.dtype == torch.float32
    assert (small * 255).round().int()[0, 0, 0].tolist() == [34, 38, 42, 46]
