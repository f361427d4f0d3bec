"""Train a copy of a model for a few steps and leave no trace: studies of memory and of speed stand on this.

Model, modes and gradients are safe because the copy has its own; random states and loaders because they are put back.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader

from dlhelpers.machine.devices import Device, autocast, move, synchronize
from dlhelpers.train.checks import CheckedLoss, LossFn, device_of
from dlhelpers.train.loop import make_scaler
from dlhelpers.train.micro_batching import split_batch

OptimizerFn = Callable[[Iterable[nn.Parameter]], Optimizer]


def plain_sgd(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return SGD without momentum, which keeps nothing beside the weights; Adam holds two more numbers for each."""
    return SGD(parameters, lr=0.01)


class Rehearsal:
    """A copy of a model in training mode, with its own optimizer, whose steps the model itself never sees.

    Raises what the guards find, and TypeError where `optimizer_fn` is no function that makes an optimizer.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFn,
        optimizer_fn: OptimizerFn,
        device: Device | None,
        amp_dtype: torch.dtype | None,
    ):
        self.device, self.amp_dtype = torch.device(device or device_of(model)), amp_dtype
        self.loss_fn = CheckedLoss(loss_fn)
        if isinstance(optimizer_fn, Optimizer) or not callable(optimizer_fn):
            raise TypeError(
                f"optimizer_fn is {type(optimizer_fn).__name__}: expected a function of the parameters, since the"
                " copy needs an optimizer of its own, as lambda parameters: torch.optim.Adam(parameters)"
            )
        self.model, self.optimizer_fn = deepcopy(model).train(), optimizer_fn
        self.reset()

    def reset(self) -> None:
        """Drop all gradients and what the optimizer remembers."""
        self.model.zero_grad(set_to_none=True)
        self.optimizer = self.optimizer_fn(self.model.parameters())
        if not isinstance(self.optimizer, Optimizer):
            raise TypeError(
                f"optimizer_fn returned {type(self.optimizer).__name__}: expected a torch.optim.Optimizer"
            )
        self.scaler = make_scaler(self.device, self.amp_dtype)

    def batch(
        self, make_batch: Callable[[int], tuple[Tensor, Tensor]], size: int
    ) -> tuple[Tensor, Tensor]:
        """Return a batch from a factory, on the device; ValueError unless it has the size asked."""
        inputs, targets = split_batch(make_batch(size))
        for name, part in (("inputs", inputs), ("targets", targets)):
            if isinstance(part, Tensor) and part.shape[:1] != (size,):
                came = f"{name} of shape {tuple(part.shape)}: expected {size} samples"
                raise ValueError(
                    f"make_batch({size}) returned {came}; draw with repetition, or lower `limit`"
                )
        return move((inputs, targets), self.device)

    def step(self, batch: object) -> int:
        """Take one optimizer step on a batch of (inputs, targets), as `train_epoch` does; return its samples."""
        inputs, labels = split_batch(batch)
        with torch.enable_grad():
            self.optimizer.zero_grad()
            inputs, targets = move(inputs, self.device), move(labels, self.device)
            with autocast(self.device, self.amp_dtype):
                loss = self.loss_fn(self.model(inputs), targets, labels)
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return len(targets)

    def seconds(self, batch: object, steps: int) -> float:
        """Return what `steps` steps on one batch take; the device is waited for at both ends only."""
        synchronize(self.device)
        begin = perf_counter()
        for _ in range(steps):
            self.step(batch)
        synchronize(self.device)
        return perf_counter() - begin


@contextmanager
def undisturbed(device: torch.device, *others: torch.Generator) -> Iterator[None]:
    """Put the random states of Python, NumPy, PyTorch, `device` and `others` back as they were, whatever happens."""
    states = [
        (random.setstate, random.getstate()),
        (np.random.set_state, np.random.get_state()),
        (torch.set_rng_state, torch.get_rng_state()),
    ]
    states += [(generator.set_state, generator.get_state()) for generator in others]
    if device.type != "cpu":
        module = torch.get_device_module(device)
        place = (
            () if device.type == "mps" else (device,)
        )  # MPS is one device, and takes no argument
        states.append(
            (lambda state: module.set_rng_state(state, *place), module.get_rng_state(*place))
        )
    try:
        yield
    finally:
        for put_back, state in states:
            put_back(state)


def own_loader(loader: Iterable) -> Iterable:
    """Return a shallow copy of a DataLoader, so that workers which persist are ours and end with us.

    Other iterables come back as they are; ValueError for an iterator, which the first look would use up.
    """
    if hasattr(loader, "__next__"):
        raise ValueError(
            f"the loader is a {type(loader).__name__}, which can be read only once: pass the DataLoader"
        )
    if not isinstance(loader, Iterable):
        raise TypeError(f"the loader is {type(loader).__name__}: expected a DataLoader")
    if not isinstance(loader, DataLoader):
        return loader
    own = copy(loader)
    own._iterator = None
    return own
