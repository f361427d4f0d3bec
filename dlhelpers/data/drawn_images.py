"""Drawn images by the batch, for datasets whose size is the point: some hundred thousand a second on one core.

Whole numbers only, and a random stream that can be entered at any place, so that image k of a seed is the same on every
machine, in whichever batch it is made.
"""

import numpy as np

SHAPES = ("circle", "square", "triangle")
WORDS_A_STEP = 4  # numbers that the Philox generator makes at each step of its counter


def draw_shapes(
    start: int, stop: int, *, size: int = 32, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return images `start` to `stop` - 1 of an endless series, uint8 (n, 3, size, size), and their labels (n,) int64.

    Each shows a circle, a square or a triangle (labels 0, 1, 2) in a light colour on dark noise.
    Raises ValueError for a range that is negative or backwards, and for a size that is not a multiple of 4.
    """
    count, noise_words = stop - start, 3 * size * size // 8
    steps = -(-noise_words // WORDS_A_STEP) + 2  # two more: eight numbers that say what is drawn
    source = np.random.Philox(key=seed, counter=start * steps)
    words = source.random_raw(count * steps * WORDS_A_STEP).reshape(count, steps * WORDS_A_STEP)
    numbers = (words[:, noise_words:] >> np.uint64(40)).astype(np.int64)  # 24 bits each
    labels = numbers[:, 0] % 3
    images = words[:, :noise_words].astype("<u8").view(np.uint8).reshape(count, 3, size, size) // 3
    # lengths are in 1000ths of the image's side
    middle_y, middle_x, radius = (400 + numbers[:, 1:4].T % 200).astype(np.int32)[..., None, None]
    line = np.arange(size, dtype=np.int32) * 1000 // (size - 1)
    y, x, radius = line[:, None] - middle_y, line - middle_x, radius * 7 // 10
    colours = (128 + numbers[:, 4:7] % 128).astype(np.uint8)[:, :, None, None]
    masks = np.empty((count, size, size), bool)
    for label in range(3):
        k = labels == label
        masks[k] = _inside(label, y[k], x[k], radius[k])
    np.copyto(images, colours, where=masks[:, None])
    return images, labels


def _inside(label: int, y: np.ndarray, x: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Where a circle, square or triangle (label 0, 1, 2) of this radius around (0, 0) holds a point (y, x)."""
    if label == 0:
        return x * x + y * y < radius * radius
    if label == 1:
        return (100 * abs(x) < 85 * radius) & (100 * abs(y) < 85 * radius)
    return (10 * y < 7 * radius) & (10 * y > 17 * abs(x) - 10 * radius)
