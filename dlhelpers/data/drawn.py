"""Drawn images by the batch, for datasets whose size is the point: some hundred thousand a second on one core.

Whole numbers only, and a random stream that can be entered at any place, so that image k of a seed is the same on every
machine, in whichever batch it is made. `datasets.Shapes` draws similar pictures one at a time, of any size.
"""

import numpy as np

from dlhelpers.base.checks import check_whole
from dlhelpers.data.datasets import Shapes

SHAPES = tuple(Shapes.classes)
WORDS_A_STEP = 4  # numbers that the Philox generator makes at each step of its counter


def draw_shapes(
    start: int, stop: int, *, size: int = 32, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return images `start` to `stop` - 1 of an endless series, uint8 (n, 3, size, size), and their labels (n,) int64.

    Each shows a circle, a square or a triangle (labels 0, 1, 2) in a light colour on dark noise.
    Raises ValueError for a range that is negative or backwards, and for a size that is not a multiple of 8.
    """
    start = check_whole("start", start, 0)
    count = check_whole("stop", stop, start, ", as start") - start
    if check_whole("size", size, 8) % 8:
        raise ValueError(f"size is {size!r}: expected pixels in a multiple of 8, as 32 or 64")
    noise_words = 3 * size * size // 8
    steps = noise_words // WORDS_A_STEP + 2  # two more steps: eight numbers that say what is drawn
    source = np.random.Philox(key=check_whole("seed", seed, 0), counter=start * steps)
    words = source.random_raw(count * steps * WORDS_A_STEP).reshape(count, steps * WORDS_A_STEP)
    numbers = (words[:, noise_words:] >> np.uint64(40)).astype(np.int64)  # 24 bits each
    labels = numbers[:, 0] % 3
    images = words[:, :noise_words].astype("<u8").view(np.uint8).reshape(count, 3, size, size) // 3
    colours = (128 + numbers[:, 4:7] % 128).astype(np.uint8)
    masks = _masks(numbers[:, 1:4], labels, size)
    np.copyto(images, colours[:, :, None, None], where=masks[:, None])
    return images, labels


def _masks(numbers: np.ndarray, labels: np.ndarray, size: int) -> np.ndarray:
    """Which pixels (n, size, size) belong to the shape; lengths are in 1000ths of the image's side."""
    middle_y, middle_x, radius = (400 + numbers.T % 200).astype(np.int32)[:, :, None, None]
    radius = radius * 7 // 10
    line = (np.arange(size, dtype=np.int32) * 1000) // (size - 1)
    y, x = line[:, None] - middle_y, line[None, :] - middle_x
    masks = np.empty((len(labels), size, size), bool)
    for label in range(3):
        chosen = labels == label
        v, h, r = y[chosen], x[chosen], radius[chosen]
        if label == 0:
            masks[chosen] = h * h + v * v < r * r
        elif label == 1:
            masks[chosen] = (np.abs(h) * 100 < 85 * r) & (np.abs(v) * 100 < 85 * r)
        else:
            masks[chosen] = (v * 10 < 7 * r) & (v * 10 > 17 * np.abs(h) - 10 * r)
    return masks
