"""Train a copy of a model for a few steps and leave no trace: studies of memory and of speed stand on this.

Model, modes and gradients are safe because the copy has its own; random states and loaders because they are put back.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy, deepcopy

from torch import nn
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader

from dlhelpers.base.checks import check_kind
from dlhelpers.train.checkpoints import random_state, set_random_state
from dlhelpers.train.checks import CheckedLoss, LossFn, device_of
from dlhelpers.train.history import EpochResult
from dlhelpers.train.loop import train_epoch
from dlhelpers.train.seeds_and_workers import generators_of

OptimizerFn = Callable[[Iterable[nn.Parameter]], Optimizer]


def plain_sgd(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return SGD without momentum, which keeps nothing beside the weights; Adam holds two more numbers for each."""
    return SGD(parameters, lr=0.01)


class Rehearsal:
    """A copy of a model with its own optimizer, whose training the model itself never sees.

    Raises what the checks find, and TypeError where `optimizer_fn` is no function.
    """

    def __init__(self, model: nn.Module, loss_fn: LossFn, optimizer_fn: OptimizerFn):
        check_kind(
            "optimizer_fn",
            optimizer_fn,
            Callable,
            "a function of the parameters, since the copy needs its own, as torch.optim.Adam",
        )
        self.device, self.loss_fn = device_of(model), CheckedLoss(loss_fn)
        self.model, self.optimizer_fn = deepcopy(model), optimizer_fn
        self.reset()

    def reset(self) -> None:
        """Drop all gradients and what the optimizer remembers."""
        self.model.zero_grad()
        self.optimizer = self.optimizer_fn(self.model.parameters())

    def train(self, batches: Iterable) -> EpochResult:
        """Take one optimizer step for each batch of (inputs, targets), as `fit` does."""
        return train_epoch(self.model, batches, self.loss_fn, self.optimizer)


@contextmanager
def undisturbed(loader: Iterable = ()) -> Iterator[Iterable]:
    """Put the random states of Python, NumPy, PyTorch and of a loader's generators back as they were.

    Gives a shallow copy of a DataLoader, so that workers which persist are ours and end with us; another iterable as it
    is.
    """
    state = random_state()
    generators = [(generator, generator.get_state()) for generator in generators_of(loader)]
    if isinstance(loader, DataLoader):
        loader = copy(loader)
        loader._iterator = None
    try:
        yield loader
    finally:
        set_random_state(state)
        for generator, before in generators:
            generator.set_state(before)
