"""The gradients of one batch: taken whole, or in micro-batches that need less memory and give the same update.

Each micro-batch of n_i samples weighs n_i / n of its batch, so nothing is scaled wrongly when the last one is smaller.
What sees a whole batch, as BatchNorm does, sees micro-batches instead, and dropout draws anew for each of them.
"""

import warnings
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dlhelpers.base.checks import check_whole
from dlhelpers.machine.devices import autocast, move
from dlhelpers.machine.memory import is_out_of_memory
from dlhelpers.train.checks import split_batch
from dlhelpers.train.losses import LossFn, batch_loss, check_first_batch


class AutoSize:
    """The size that "auto" has come to, kept from one epoch to the next; None while batches are taken whole."""

    size: int | None = None


Size = int | Literal["auto"] | AutoSize | None


class BatchGradients:
    """Computes gradients of a batch's mean loss. `size` is the largest micro-batch, None for the whole batch.

    With "auto" the batch is whole until memory runs out; then the size is halved and the batch tried again, with
    buffers, gradients and random state put back, so that what is learned does not change.
    A size above the batch's takes it whole. Raises ValueError for a size below 1, or one that leaves BatchNorm1d with
    a single sample, and torch.OutOfMemoryError where one sample does not fit.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFn,
        device: torch.device,
        size: Size = None,
        amp_dtype: torch.dtype | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ):
        auto = (
            AutoSize()
            if isinstance(size, str) and size == "auto"
            else size
            if isinstance(size, AutoSize)
            else None
        )
        if auto is None and size is not None:
            size = check_whole("micro_batch_size", size, 1, ", or 'auto'", of="samples")
        self.model, self.loss_fn, self.device = model, loss_fn, device
        self.auto, self.size = auto, auto.size if auto else size
        self.autocast = autocast(device, amp_dtype)
        self.scale = scaler.scale if scaler and scaler.is_enabled() else None
        self.micro_batches = 0  # taken so far
        self._checked = 0  # samples on which the loss function was checked

    def __call__(self, batch: object) -> tuple[Tensor, Tensor, Tensor]:
        """Add the batch's gradients to the parameters; return its mean loss, outputs and targets."""
        if self.size is None and self.auto is None:
            self.micro_batches += 1
            return self._backward(batch)
        if self.auto is None:
            return self._gradients(batch)
        while True:
            before = _keep(self.model, self.device)
            try:
                return self._gradients(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Only here, behind the except block, has the error let go of the tensors that the failed try made.
            _put_back(self.model, self.device, before)
            self._halve(split_batch(batch)[1].shape[0])

    def _gradients(self, batch: object) -> tuple[Tensor, Tensor, Tensor]:
        inputs, labels = split_batch(batch)
        n = labels.shape[0]
        if self.size is None or self.size >= n:
            whole = self._backward(batch)
            self.micro_batches += 1
            return whole
        parts = [
            self._backward(part, share=part[1].shape[0] / n) for part in self._parts(inputs, labels)
        ]
        self.micro_batches += len(parts)
        losses, outputs, targets = zip(*parts, strict=True)
        outputs, targets = torch.cat([part.detach() for part in outputs]), torch.cat(targets)
        if self._checked == 1:  # a single sample cannot tell a mean from a sum
            check_first_batch(self.loss_fn, outputs, targets)
            self._checked = n
        return torch.stack(losses).sum(), outputs, targets

    def _backward(self, batch: object, share: float | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Forward and backward pass of a batch, or of the part of it that has this share in its samples."""
        inputs, targets, labels = place_batch(batch, self.device)
        with self.autocast:
            outputs = self.model(inputs)
            if not self._checked:
                check_first_batch(self.loss_fn, outputs, targets)
                self._checked = len(targets)
            loss = batch_loss(self.loss_fn, outputs, targets, labels)
        loss = loss if share is None else loss * share
        (self.scale(loss) if self.scale else loss).backward()
        return loss.detach(), outputs, targets

    def _parts(self, inputs: object, labels: Tensor) -> Iterator[tuple[object, Tensor]]:
        """The batch in parts of at most `size` samples, in order; the last may be smaller."""
        n = labels.shape[0]
        layer = next(
            (name for name, part in self.model.named_modules() if isinstance(part, nn.BatchNorm1d)),
            None,
        )
        if layer is not None and (self.size == 1 or n % self.size == 1):
            raise ValueError(
                f"micro_batch_size {self.size} leaves 1 sample alone in a batch of {n}, and BatchNorm1d"
                f" ({layer}) needs at least 2 in training: use another size or batch size"
            )
        for start in range(0, n, self.size):
            part = slice(start, start + self.size)
            yield part_of(inputs, part), labels[part]

    def _halve(self, n: int) -> None:
        tried = min(self.size or n, n)
        if tried == 1:
            raise torch.OutOfMemoryError(
                "one sample alone does not fit into memory: use a smaller model or smaller"
                " images; micro_batch_size cannot go below 1"
            )
        self.size = self.auto.size = -(-tried // 2)
        warnings.warn(
            f"memory ran out at {tried} samples: going on in micro-batches of {self.size}, which give the"
            " same update where the model has neither BatchNorm nor dropout",
            stacklevel=4,
        )


def zero_grad(optimizer: Optimizer) -> None:
    """Forget the gradients of the step before, as `optimizer.zero_grad()` does, without its entry for the profiler.

    That entry takes more than half of what the loop adds to a tiny model's step: see benchmarks/loop_overhead.py.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def place_batch(batch: object, device: torch.device) -> tuple[Any, Tensor, Tensor]:
    """Return a batch's inputs and targets on `device`, and the targets as the loader gave them; see `split_batch`."""
    inputs, labels = split_batch(batch)
    if isinstance(inputs, Tensor) and inputs.device == device == labels.device:
        return inputs, labels, labels  # on a CPU it is every batch
    return move(inputs, device), move(labels, device), labels


def part_of(inputs: object, part: slice) -> object:
    """Return the samples of a part of a batch, whatever the form of its inputs."""
    if isinstance(inputs, tuple) and hasattr(inputs, "_fields"):
        return type(inputs)(*(part_of(value, part) for value in inputs))
    if isinstance(inputs, dict):
        return {key: part_of(value, part) for key, value in inputs.items()}
    if isinstance(inputs, (list, tuple)):
        return type(inputs)(part_of(value, part) for value in inputs)
    if (
        isinstance(inputs, (str, bytes))
        or not hasattr(inputs, "__getitem__")
        or getattr(inputs, "ndim", 1) == 0
    ):
        return inputs  # one for the whole batch
    return inputs[part]


def _keep(model: nn.Module, device: torch.device) -> tuple:
    """What a failed try would change: buffers, gradients, and the random state of host and device."""
    random = (
        torch.get_rng_state(),
        _device_random(device, "get_rng_state") if device.type != "cpu" else None,
    )
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    return [buffer.clone() for buffer in model.buffers()], grads, random


def _put_back(model: nn.Module, device: torch.device, before: tuple) -> None:
    buffers, grads, (host, other) = before
    with torch.no_grad():
        for buffer, old in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(old)
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        parameter.grad = grad
    torch.set_rng_state(host)
    if device.type != "cpu":
        _device_random(device, "set_rng_state", other)
        torch.accelerator.empty_cache()


def _device_random(device: torch.device, name: str, *state: Tensor) -> Tensor | None:
    """Read or set a device's random state; MPS, the only one of its kind in a machine, takes no device."""
    place = () if device.type == "mps" else (device,)
    return getattr(getattr(torch, device.type), name)(*state, *place)
