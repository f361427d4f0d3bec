"""The gradients of one batch: taken whole, or in micro-batches that need less memory and give the same update.

Each micro-batch of n_i samples weighs n_i / n of its batch, so nothing is scaled wrongly when the last one is smaller.
What sees a whole batch, as BatchNorm does, sees micro-batches instead, and dropout draws anew for each of them.
"""

import warnings
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from dlhelpers.devices import autocast, move
from dlhelpers.guards import LossFn, batch_loss, check_first_batch, split_batch
from dlhelpers.memory import is_out_of_memory

Size = int | Literal["auto"] | None


class BatchGradients:
    """Computes gradients of a batch's mean loss. `size` is the largest micro-batch, None for the whole batch.

    With "auto" the batch is whole until memory runs out; then the size is halved and the batch tried again, with
    buffers, gradients and random state put back, so that what is learned does not change.
    Raises ValueError for a size below 1, and torch.OutOfMemoryError where one sample does not fit.
    """

    def __init__(self, model: nn.Module, loss_fn: LossFn, device: torch.device, size: Size = None,
                 amp_dtype: torch.dtype | None = None, scaler: torch.amp.GradScaler | None = None):  # fmt: skip
        if size not in (None, "auto") and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ValueError(f"micro_batch_size is {size!r}: expected a whole number of samples, at least 1, or 'auto'")
        self.model, self.loss_fn, self.device = model, loss_fn, device
        self.auto, self.size = size == "auto", None if size == "auto" else size
        self.amp_dtype, self.scaler = amp_dtype, scaler
        self.micro_batches = 0  # taken so far
        self._checked = False

    def __call__(self, batch: object) -> tuple[Tensor, Tensor, Tensor]:
        """Add the batch's gradients to the parameters; return its mean loss, outputs and targets."""
        inputs, labels = split_batch(batch)
        if not self.auto:
            return self._gradients(inputs, labels)
        while True:
            before = _keep(self.model, self.device)
            try:
                return self._gradients(inputs, labels)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Only here, behind the except block, has the error let go of the tensors that the failed try made.
            _put_back(self.model, self.device, before)
            self._halve(labels.shape[0])

    def _gradients(self, inputs: object, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n, losses, all_outputs, all_targets = labels.shape[0], [], [], []
        for part_inputs, part_labels in self._parts(inputs, labels):
            part_inputs, targets = move(part_inputs, self.device), move(part_labels, self.device)
            with autocast(self.device, self.amp_dtype):
                outputs = self.model(part_inputs)
                if not self._checked:
                    check_first_batch(self.loss_fn, outputs.detach(), targets)
                    self._checked = True
                loss = batch_loss(self.loss_fn, outputs, targets, part_labels)
            share = targets.shape[0] / n
            loss = loss if share == 1 else loss * share
            (self.scaler.scale(loss) if self.scaler else loss).backward()
            losses.append(loss.detach())
            all_outputs.append(outputs.detach())
            all_targets.append(targets)
        self.micro_batches += len(losses)
        if len(losses) == 1:
            return losses[0], all_outputs[0], all_targets[0]
        return torch.stack(losses).sum(), torch.cat(all_outputs), torch.cat(all_targets)

    def _parts(self, inputs: object, labels: Tensor) -> Iterator[tuple[object, Tensor]]:
        """The batch in parts of at most `size` samples, in order; the last may be smaller."""
        n = labels.shape[0]
        if self.size is None or self.size >= n:
            yield inputs, labels
            return
        for start in range(0, n, self.size):
            part = slice(start, start + self.size)
            yield _slice(inputs, part), labels[part]

    def _halve(self, n: int) -> None:
        tried = min(self.size or n, n)
        if tried == 1:
            raise torch.OutOfMemoryError("one sample alone does not fit into memory: use a smaller model or smaller"
                                         " images; micro_batch_size cannot go below 1")  # fmt: skip
        self.size = -(-tried // 2)
        warnings.warn(f"memory ran out at {tried} samples: going on in micro-batches of {self.size}. What is"
                      " learned does not change", stacklevel=4)  # fmt: skip


def _slice(inputs: object, part: slice) -> object:
    """The samples of a part of a batch, whatever the form of its inputs."""
    if isinstance(inputs, dict):
        return {key: _slice(value, part) for key, value in inputs.items()}
    if isinstance(inputs, (list, tuple)):
        return type(inputs)(_slice(value, part) for value in inputs)
    return inputs[part]


def _keep(model: nn.Module, device: torch.device) -> tuple:
    """What a failed try would change: buffers, gradients, and the random state of host and device."""
    random = torch.get_rng_state(), _device_random(device).get_rng_state(device) if device.type != "cpu" else None
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
        _device_random(device).set_rng_state(other, device)
        torch.accelerator.empty_cache()


def _device_random(device: torch.device) -> object:
    """The module that keeps a device's random state, torch.cuda or torch.xpu."""
    return getattr(torch, device.type)
