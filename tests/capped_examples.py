"""What a benchmark runs in a child process under a cap on memory, or in a control group: to write a dataset, to train.

Its functions travel as text, so that what they import is imported before the cap holds, as of an installed module.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import cloudpickle
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from dlhelpers.data.drawn_images import SHAPES, draw_shapes
from dlhelpers.data.sampling import BlockShuffleSampler
from dlhelpers.packed.reader import PackedDataset
from dlhelpers.packed.writer import PackedWriter
from dlhelpers.train.loop import fit

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def write_packed(folder: Path, count: int) -> None:
    """Write `count` images as a packed dataset, 50 at a time."""
    options = {"classes": SHAPES, "shape": (3, 64, 64), "source": "shapes"}
    with PackedWriter(folder, samples=count, **options) as writer:
        for k in range(0, count, 50):
            writer.add(*draw_shapes(k, min(k + 50, count), size=64))


def every_fourth(images: Tensor) -> Tensor:
    """Return every fourth pixel of every fourth row, float32 from 0 to 1: a `transform` for large images of bytes."""
    return images[:, :, 2::4, 2::4].float() / 255


def train(folder: Path, model: nn.Module, optimizer: Optimizer) -> Mapping[str, Tensor]:
    """Train for one epoch on a packed dataset and return the weights."""
    dataset = PackedDataset(folder, transform=every_fourth)
    sampler = BlockShuffleSampler(len(dataset), block=256, window=8)
    loader = DataLoader(dataset, batch_size=64, sampler=sampler)
    fit(model, loader, nn.CrossEntropyLoss(), optimizer, epochs=1, progress=False)
    return model.state_dict()
