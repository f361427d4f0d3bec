"""What tests of training have in common: a few samples, a small network, its optimizer, a short `fit`."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dlhelpers.train import fit

LOSS = nn.CrossEntropyLoss()


def data(n=20, classes=3, seed=0):
    """Return n samples of 5 random numbers, each with a class."""
    random = torch.Generator().manual_seed(seed)
    return TensorDataset(
        torch.randn(n, 5, generator=random), torch.randint(classes, (n,), generator=random)
    )


def network(seed=0, hidden=8):
    """Return a network with what depends on mode, batch and random numbers: BatchNorm and dropout."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(5, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(hidden, 3),
    )


def sgd(model, lr=0.1):
    """Return SGD with momentum, which has a state of its own."""
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


def weights(model):
    """Return copies of all parameters and buffers."""
    return [value.clone() for value in model.state_dict().values()]


def same(one, other):
    """Say whether two lists of tensors are equal, bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def batches(n=20, size=8, **options):
    """Return a loader of n samples."""
    return DataLoader(data(n), size, **options)


def run(model, loader, loss_fn=LOSS, optimizer=None, **options):
    """Fit quietly, for one epoch and with SGD where nothing else is asked for; return the history."""
    optimizer = optimizer or sgd(model)
    return fit(model, loader, loss_fn, optimizer, **{"epochs": 1, "progress": False, **options})
