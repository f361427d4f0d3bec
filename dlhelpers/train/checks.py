"""Refuse at the door what would fail later, or worse, would not fail: each message has the value and the remedy.

`fit` checks once, before its first batch; `train_epoch` and `evaluate` do it where they are called directly.
"""

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from dlhelpers.base.checks import check_kind, shown

LossFn = Callable[[Tensor, Tensor], Tensor]
SHAPED_LOSSES = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)


def tell(message: str) -> None:
    """Warn of something, at the line outside this package that has led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_globals.get("__name__", "").startswith("dlhelpers."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def check_all(
    model: nn.Module,
    loaders: Mapping[str, Iterable],
    loss_fn: LossFn,
    metrics: Mapping[str, Callable] | None,
    optimizer: Optimizer | None = None,
) -> "CheckedLoss":
    """Raise for what could not train or be measured; return the loss function as one that checks its batches."""
    check_kind("model", model, nn.Module, "a torch.nn.Module; build it first, as nn.Linear(4, 2)")
    if optimizer is not None:
        check_optimizer(optimizer, model)
    if metrics is not None:
        check_kind("metrics", metrics, Mapping, "functions by name, as {'accuracy': accuracy}")
    for phase, loader in loaders.items():
        check_loader(loader, phase, model)
    return CheckedLoss(loss_fn)


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's parameters; the CPU for a model without."""
    for parameter in model.parameters():
        return parameter.device
    return torch.device("cpu")


def check_optimizer(optimizer: Optimizer, model: nn.Module) -> None:
    """Refuse what is no optimizer, or would train nothing of this model."""
    check_kind(
        "optimizer",
        optimizer,
        Optimizer,
        "a torch.optim.Optimizer; build it first, as torch.optim.SGD(model.parameters(), lr=0.1)",
    )
    trained = {parameter for parameter in model.parameters() if parameter.requires_grad}
    held = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    if held.isdisjoint(trained):
        raise ValueError(
            f"the optimizer holds no parameter of this model that is trained, of which there are {len(trained)}, so"
            " nothing would be learned: make it anew after the model, as torch.optim.SGD(model.parameters(), lr=0.1)."
            " Not trained is what has requires_grad=False, or lies in a plain list: nn.ModuleList registers layers"
        )


def check_loader(loader: Iterable, phase: str, model: nn.Module) -> None:
    """Refuse a DataLoader without a batch, or one that leaves BatchNorm1d a single sample to train on."""
    if not isinstance(loader, DataLoader):
        return
    try:
        samples, batches = len(loader.sampler), len(loader)
    except TypeError:
        return  # a stream
    size, drop = loader.batch_size, loader.drop_last
    if not batches:
        raise ValueError(
            f"the {phase} loader has no batch: {samples} samples, batch_size {size}, drop_last {drop}."
            " Use a smaller batch size, drop_last=False, or more samples"
        )
    rest = samples % size if size else 0  # a batch sampler does not say
    if phase != "train":
        if drop and rest:
            tell(
                f"the {phase} loader leaves out {rest} of {samples} samples: the result will depend on the batch size."
                " Use drop_last=False"
            )
        return
    layers = {}
    for name, part in model.named_modules():
        if part.training or not model.training:  # it will train
            layers[type(part)] = name
    alone = size == 1 or rest == 1 and not drop
    # Behind a Conv1d one sample has many values for it.
    if alone and nn.BatchNorm1d in layers and nn.Conv1d not in layers:
        raise ValueError(
            f"the last batch holds 1 sample ({samples} samples in batches of {size}), and BatchNorm1d"
            f" ({layers[nn.BatchNorm1d]}) needs at least 2 in training: use drop_last=True or another batch size"
        )


class CheckedLoss:
    """A loss function that looks at its first batch, explains its errors, and gives the mean as one number.

    Raises TypeError for what is no loss function, ValueError for one that sums over the batch.
    """

    def __init__(self, loss_fn: LossFn):
        if isinstance(loss_fn, type) or not callable(loss_fn):
            raise TypeError(
                f"loss_fn is {shown(loss_fn)}: expected a function of (outputs, targets); build it first, as"
                " nn.CrossEntropyLoss()"
            )
        self.loss_fn, self.looked = loss_fn, False
        self.wants_classes = isinstance(loss_fn, (nn.CrossEntropyLoss, nn.NLLLoss))
        self.wants_classes |= loss_fn in (functional.cross_entropy, functional.nll_loss)

    def __call__(self, outputs: Any, targets: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of a batch; `labels` are its targets as the loader gave them.

        Still on the host, they can be checked before a GPU meets a class that does not exist, which would end the
        whole process's use of it.
        """
        first, self.looked = not self.looked, True
        if self.wants_classes and (first or targets is not labels):  # they were moved
            self._explain(outputs, labels)
        if first and isinstance(self.loss_fn, SHAPED_LOSSES) and isinstance(outputs, Tensor):
            if outputs.shape != labels.shape or not labels.is_floating_point():
                raise ValueError(
                    f"outputs have shape {tuple(outputs.shape)} and targets {tuple(labels.shape)}, {labels.dtype}:"
                    f" {type(self.loss_fn).__name__} expects floating-point targets of the outputs' shape, others would"
                    " be broadcast. Use targets.float(), and targets.unsqueeze(1) or outputs.squeeze(1)"
                )
        try:
            loss = self.loss_fn(outputs, targets)
        except Exception:
            self._explain(outputs, labels)
            raise
        if not isinstance(loss, Tensor):
            raise TypeError(f"loss_fn returned {shown(loss)}: expected a tensor, without .item()")
        loss = loss.mean() if loss.ndim else loss
        if first and not self._is_mean(loss, outputs, targets):
            tell(
                "loss_fn is not a mean over samples, as with class weights, ignored targets or pairs of samples. It"
                " trains, and the loss that is printed is a mean of batches, which depends on the batch size; so does"
                " the update where micro_batch_size or several ranks split a batch"
            )
        return loss

    def _is_mean(self, whole: Tensor, outputs: Any, targets: Tensor) -> bool:
        """Whether two parts of a batch, weighed by their samples, give the loss of the whole; ValueError for a sum."""
        n, parts = len(targets), []
        if n < 2 or not isinstance(outputs, Tensor):
            return True  # as far as can be told
        k = n // 2 + (n % 2 == 0 and n > 2)  # two unequal parts where the batch allows them
        devices = [outputs.device] if outputs.is_cuda else []
        with suppress(Exception), torch.no_grad(), torch.random.fork_rng(devices):
            for cut in (slice(k), slice(k, None)):
                parts.append(self.loss_fn(outputs[cut], targets[cut]).mean())
        if len(parts) < 2:
            return False  # it cannot take a part of a batch
        first, second = parts
        together = (first * k + second * (n - k)) / n
        close = max(1e-4, 2 * torch.finfo(whole.dtype).eps)
        if torch.isclose(together, whole, rtol=close, atol=close / 100, equal_nan=True):
            return True
        if torch.isclose(first + second, whole, rtol=1e-3):
            raise ValueError(
                f"loss_fn is not a mean over samples but a sum: {n} samples give {whole:.4g}, their two parts"
                f" {first:.4g} and {second:.4g}. Its size would follow the batch size: return the mean, as with"
                " reduction='mean', or one value a sample"
            )
        return False

    def _explain(self, outputs: Any, labels: Tensor) -> None:
        """Raise our message where a loss function cannot take outputs or labels: class numbers that there are not."""
        if not isinstance(outputs, Tensor):
            raise TypeError(
                f"the model returned {shown(outputs)}, and loss_fn cannot take it: give it the part that it needs, as"
                " in lambda outputs, targets: loss_fn(outputs[0], targets)"
            )
        floating = labels.is_floating_point()
        if not self.wants_classes and (floating or outputs.ndim != 2):
            return  # it may mean something else
        if floating and labels.shape == outputs.shape:
            return  # a probability for each class is a target too
        expected = (len(outputs), *outputs.shape[2:])
        if outputs.ndim < 2 or labels.shape != expected or labels.dtype != torch.int64:
            raise ValueError(
                f"labels have shape {tuple(labels.shape)} and type {labels.dtype}, outputs {tuple(outputs.shape)}:"
                f" expected labels of shape {expected}, one class number each. Use labels.long(), labels.squeeze(1) on"
                " a column, labels.argmax(dim=1) on one-hot rows, outputs.transpose(1, 2) where classes come last"
            )
        classes, ignored = outputs.shape[1], getattr(self.loss_fn, "ignore_index", -100)
        kept = labels[labels != ignored]
        low, high = (kept.min().item(), kept.max().item()) if len(kept) else (0, 0)
        if low < 0 or high >= classes:
            raise ValueError(
                f"labels run from {low} to {high}: expected class numbers from 0 to {classes - 1},"
                f" since the model gives {classes} outputs"
            )
