"""What people really pass by mistake to the functions that lessons call, and what they read then.

Each line: the call, the error, and of its message the value, what was expected, and the remedy.
"""

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dlhelpers.data import (
    BlockShuffleSampler,
    ImageDataset,
    NumberedImages,
    count,
    describe,
    load,
    split_epoch,
)
from dlhelpers.measure import (
    pipeline_speed,
    study_batch_sizes,
)
from dlhelpers.show import (
    plot_history,
    plot_images,
    show,
)
from dlhelpers.train import History, accuracy, evaluate, fit

LOSS = nn.CrossEntropyLoss()
NET = nn.Linear(4, 3)
SGD = torch.optim.SGD(NET.parameters(), lr=0.1)
IMAGES, LABELS = torch.zeros(6, 1, 2, 2), torch.tensor([0, 1, 2, 0, 1, 2])
DATA = TensorDataset(torch.randn(6, 4), LABELS)
LOADER = DataLoader(DATA, batch_size=3)


def make_batch(size):
    """A batch as a study of batch sizes asks for it."""
    return torch.randn(size, 4), torch.zeros(size, dtype=torch.long)


def train(*args, **options):
    """Call `fit` with what it needs, except where the call says otherwise."""
    fit(
        *args, *(NET, LOADER, LOSS, SGD)[len(args) :], **{"epochs": 1, "progress": False, **options}
    )


def study(*args, **options):
    """Call the study with what it needs, except where the call says otherwise."""
    study_batch_sizes(*args, *(NET, make_batch, LOSS)[len(args) :], **{"limit": 2, **options})


MISTAKES = [
    # data
    (lambda: load("cifar"), ValueError, "unknown dataset 'cifar': there are digits, shapes"),
    (lambda: load("digits", "valid"), ValueError, "split is 'valid': expected 'train' or"),
    (
        lambda: ImageDataset(IMAGES, LABELS[:5], "abc"),
        ValueError,
        "6 images but 5 labels: expected one label an image, in order",
    ),
    (lambda: describe(DATA), TypeError, "loader is a TensorDataset: expected a DataLoad"),
    (
        lambda: count(NumberedImages(9)),
        TypeError,
        "loader is a NumberedImages: expected a D",
    ),
    (lambda: count([["a", "b"]]), TypeError, "a batch holds .*, expected tensors with one"),
    (
        lambda: BlockShuffleSampler(DATA),
        (TypeError, ValueError),
        "TensorDatas",
    ),
    (lambda: split_epoch(9, rank=2, world=2), ValueError, "rank is 2 in a world of 2"),
    # show
    (lambda: show(plt.figure().add_subplot()), ValueError, "no sentence: pass one that says"),
    (lambda: plot_images([DATA[0]], [1]), TypeError, r"image 0 is.*it is sample\[0\]"),
    (lambda: plot_history(History()), KeyError, "it has no finished epoch"),
    # train
    (lambda: train(NET, DATA[0][0]), (TypeError, ValueError), "load|batch"),
    (lambda: train(epochs=-1), ValueError, "epochs is -1"),
    (lambda: evaluate(NET, LOADER, LOSS, metrics=accuracy), TypeError, "metrics.*accuracy"),
    # measure
    (
        lambda: study(start=1),
        ValueError,
        "start is 1.*at least 2, since BatchNo",
    ),
    (
        lambda: study(NET, make_batch, LOSS, SGD),
        TypeError,
        "optimizer_fn is a SGD: expected a function of the parameters",
    ),
    (
        lambda: pipeline_speed(NET, LOADER, nn.MSELoss),
        TypeError,
        "the class MSELoss",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), MISTAKES)
def test_a_mistake_is_named_with_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()
    plt.close("all")
