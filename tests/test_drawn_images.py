"""Images drawn by the batch: the same everywhere, independent of the batch, and what their labels say."""

import hashlib

import numpy as np

from dlhelpers.data import SHAPES, draw_shapes


def test_an_image_does_not_depend_on_the_batch_that_it_is_made_in():
    images, labels = draw_shapes(90, 130, size=108)  # no multiple of 8
    for start, stop in ((90, 91), (97, 120), (129, 130)):
        some, theirs = draw_shapes(start, stop, size=108)
        assert np.array_equal(some, images[start - 90 : stop - 90])
        assert np.array_equal(theirs, labels[start - 90 : stop - 90])


def test_the_images_are_the_same_on_every_machine():
    images, labels = draw_shapes(1_000, 1_064, size=32, seed=7)
    assert (images.shape, labels.shape) == ((64, 3, 32, 32), (64,))
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
    digest = hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()
    assert digest[:16] == "37d6edad5ee33791"


def test_all_classes_come_and_no_image_twice_in_any_of_several_seeds():
    series = [draw_shapes(0, 600, size=16, seed=seed) for seed in range(4)]
    assert len({image.tobytes() for images, _ in series for image in images}) == 4 * 600
    assert min(np.bincount(series[0][1], minlength=len(SHAPES))) > 150


def test_what_is_drawn_is_what_the_label_says():
    images, labels = draw_shapes(0, 200, size=64)
    shape = images.min(axis=1) >= 128  # the ground is darker
    widths = shape.sum(axis=2)
    for mask, width, label in zip(shape, widths, labels, strict=True):
        rows = np.flatnonzero(width)
        fill = mask.sum() / (len(rows) * np.ptp(np.flatnonzero(mask.any(axis=0))) + len(rows))
        lower = width[rows[-1]] / width.max()
        expected = {
            "square": fill == 1,
            "triangle": lower > 0.9 and fill < 0.7,
            "circle": lower < 0.7 and fill > 0.7,
        }
        assert expected[SHAPES[label]], (label, fill, lower)
