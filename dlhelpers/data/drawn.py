"""Generated images by the batch, for datasets whose size is the point: some hundred thousand a second on one core.

Whole numbers only, and a random stream that can be entered at any place, so that image k of a seed is the same on every
machine, in whichever batch it is made. `datasets.Shapes` draws similar pictures one at a time.
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
    check_whole("seed", seed, 0)
    if not 0 <= start <= stop:
        raise ValueError(f"images {start!r} to {stop!r}: expected 0 <= start <= stop")
    if size < 8 or size % 8:
        raise ValueError(f"size is {size!r}: expected pixels in a multiple of 8, as 32 or 64")
    count, noise_words = stop - start, 3 * size * size // 8
    steps = noise_words // WORDS_A_STEP + 2  # two more steps: eight numbers that say what is drawn
    source = np.random.Philox(key=seed, counter=start * steps)
    words = source.random_raw(count * steps * WORDS_A_STEP).reshape(count, steps * WORDS_A_STEP)
    numbers = (words[:, noise_words:] >> np.uint64(40)).astype(np.int64)  # 24 bits each
    labels = numbers[:, 0] % 3
    images = words[:, :noise_words].astype("<u8").view(np.uint8).reshape(count, 3, size, size) // 3
    masks = _masks(numbers[:, 1:4], labels, size)
    colours = (128 + numbers[:, 4:7] % 128).astype(np.uint8)
    np.copyto(images, colours[:, :, None, None], where=masks[:, None])
    return images, labels


def _masks(numbers: np.ndarray, labels: np.ndarray, size: int) -> np.ndarray:
    """Which pixels (n, size, size) belong to the shape; lengths are in 1000ths of the image's side."""
    middle_y, middle_x, radius = (400 + numbers[:, k] % 200 for k in range(3))
    radius = (radius * 7 // 10).astype(np.int32)[:, None, None]
    line = (np.arange(size, dtype=np.int32) * 1000) // (size - 1)
    y = line[None, :, None] - middle_y.astype(np.int32)[:, None, None]
    x = line[None, None, :] - middle_x.astype(np.int32)[:, None, None]
    masks = np.empty((len(labels), size, size), bool)
    for label, inside in enumerate(
        (
            lambda x, y, r: x * x + y * y < r * r,
            lambda x, y, r: (np.abs(x) * 100 < 85 * r) & (np.abs(y) * 100 < 85 * r),
            lambda x, y, r: (y * 10 < 7 * r) & (y * 10 > 17 * np.abs(x) - 10 * r),
        )
    ):
        chosen = labels == label
        masks[chosen] = inside(x[chosen], y[chosen], radius[chosen])
    return masks
