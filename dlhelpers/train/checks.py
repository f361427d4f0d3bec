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
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from dlhelpers.base.checks import check_whole, shown
from dlhelpers.data.counting import describe
from dlhelpers.machine.devices import Device
from dlhelpers.train.batches import part_of
from dlhelpers.train.history import NUMBERS

LossFn = Callable[[Tensor, Tensor], Tensor]
CLASS_LOSSES = (nn.CrossEntropyLoss, nn.NLLLoss)
CLASS_FUNCTIONS = (functional.cross_entropy, functional.nll_loss)
SHAPED_LOSSES = (
    nn.MSELoss,
    nn.L1Loss,
    nn.SmoothL1Loss,
    nn.HuberLoss,
    nn.BCELoss,
    nn.BCEWithLogitsLoss,
)


def tell(message: str) -> None:
    """Warn of something, at the line outside this package that has led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("dlhelpers."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def check_built(name: str, value: object) -> None:
    """TypeError for a class in the place of an object."""
    if isinstance(value, type):
        raise TypeError(
            f"{name} is the class {value.__name__}: build it first, as in {value.__name__}(...)"
        )


def check_model(model: nn.Module, device: Device | None) -> torch.device:
    """Return the device of the model's parameters, or the one asked for where it has none; ValueError for another."""
    check_built("model", model)
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is {shown(model)}: expected a torch.nn.Module")
    try:
        wanted = None if device is None else torch.device(device)
    except RuntimeError:
        raise ValueError(
            f"device is {device!r}, which is not here: expected a name such as 'cpu' or 'cuda'; pick_device() finds one"
        ) from None
    places = set()
    for parameter in model.parameters():
        places.add(parameter.device)
    if len(places) > 1:
        raise ValueError(
            f"the model lies on {', '.join(sorted(map(str, places)))}: move it to one device"
        )
    if not places:
        return wanted or torch.device("cpu")
    place = places.pop()
    if wanted and (wanted.type != place.type or wanted.index not in (None, place.index)):
        raise ValueError(
            f"the model is on {place}, but device={str(wanted)!r} was asked for:"
            f" call model.to({str(wanted)!r}) before you make the optimizer"
        )
    return place


def check_training(
    model: nn.Module,
    optimizer: Optimizer,
    max_norm: float | None,
    micro_batch_size: int | None,
) -> None:
    """ValueError or TypeError for what would train nothing, or something else than was meant."""
    check_built("optimizer", optimizer)
    trained = set()
    for parameter in model.parameters():
        if parameter.requires_grad:
            trained.add(parameter)
    if not trained:
        raise ValueError(
            "no parameter of the model is trained: all have requires_grad=False, or there are none. Was a list of"
            " layers kept in a plain list? nn.Sequential or nn.ModuleList registers them"
        )
    held = set()
    for group in optimizer.param_groups:
        held.update(group["params"])
    if held.isdisjoint(trained):
        raise ValueError(
            "the optimizer holds no parameter of this model that is trained, so nothing would be learned:"
            " make it anew after the model, as torch.optim.SGD(model.parameters(), lr=0.1)"
        )
    if max_norm is not None and not max_norm > 0:
        raise ValueError(f"max_norm is {max_norm!r}: expected a length above 0, or None")
    if micro_batch_size is not None:
        check_whole("micro_batch_size", micro_batch_size, 1, ", or None")
    if frozen := frozen_norms(model):
        tell(
            f"BatchNorm ({', '.join(frozen)}) is in evaluation mode and stays so: its averages are frozen. To train it"
            " with the rest, call model.train() first"
        )


def check_metrics(metrics: Mapping[str, Callable] | None) -> None:
    """TypeError or ValueError unless metrics are functions by name, and none is called as what each result has."""
    if metrics is None:
        return
    if not isinstance(metrics, Mapping):
        raise TypeError(
            f"metrics is {shown(metrics)}: expected functions by name, as {{'accuracy': accuracy}}"
        )
    for name in metrics:
        if name == "loss" or name in NUMBERS:
            raise ValueError(f"a metric is called {name!r}, as a number of each result: rename it")


def check_loader(
    loader: Iterable, phase: str, model: nn.Module, micro_batch_size: int | None = None
) -> None:
    """Refuse a loader without a batch, or one that leaves BatchNorm1d a single sample to train on."""
    if not isinstance(loader, Iterable):
        raise TypeError(f"the {phase} loader is {type(loader).__name__}: expected a DataLoader")
    if not isinstance(loader, DataLoader):
        return
    try:
        empty = not len(loader)
    except TypeError:
        empty = False  # a stream
    layer = _norm_of_rows(model) if phase == "train" else None
    if not (empty or layer or loader.drop_last):
        return
    counts = describe(loader)
    if empty:
        raise ValueError(
            f"the {phase} loader has no batch: {counts.samples} samples, batch_size {counts.batch_size},"
            f" drop_last {counts.drop_last}. Use a smaller batch size, drop_last=False, or more samples"
        )
    if phase != "train" and counts.dropped:
        tell(
            f"the {phase} loader leaves out {counts.dropped} of {counts.samples} samples: the result will"
            " depend on the batch size. Use drop_last=False"
        )
    if layer and counts.last_batch == 1:
        came = f"the last batch holds 1 sample ({counts.samples} samples in batches of {counts.batch_size})"
        raise ValueError(
            f"{came}, and BatchNorm1d ({layer}) needs at least 2 in training: use drop_last=True or another"
            " batch size"
        )
    for n in (counts.batch_size, counts.last_batch):
        size = micro_batch_size or n
        if layer and n and (size == 1 or n > size and n % size == 1):
            raise ValueError(
                f"micro_batch_size {size} leaves 1 sample alone in a batch of {n}, and BatchNorm1d ({layer}) needs at"
                " least 2 in training: use another size or batch size"
            )


def frozen_norms(model: nn.Module) -> list[str]:
    """Return the names of BatchNorm layers that are in evaluation mode in a model that is in training mode."""
    model = getattr(model, "module", model)  # in DistributedDataParallel
    names = []
    for name, part in model.named_modules():
        if model.training and isinstance(part, _BatchNorm) and not part.training:
            names.append(name)
    return names


def _norm_of_rows(model: nn.Module) -> str | None:
    """The name of a BatchNorm1d that will train on rows; behind a Conv1d one sample has many values for it."""
    found = None
    for name, part in model.named_modules():
        if isinstance(part, nn.Conv1d):
            return None
        if isinstance(part, nn.BatchNorm1d) and (part.training or not model.training):
            found = found or name
    return found


class CheckedLoss:
    """A loss function that looks at its first batch, explains its errors, and gives the mean as one number.

    Raises TypeError for what is no loss function, ValueError for one that sums over the batch.
    """

    def __init__(self, loss_fn: LossFn):
        check_built("loss_fn", loss_fn)
        if not callable(loss_fn):
            raise TypeError(
                f"loss_fn is {shown(loss_fn)}: expected a function of (outputs, targets), as nn.CrossEntropyLoss()"
            )
        if getattr(loss_fn, "reduction", "mean") == "sum":
            raise ValueError(
                "loss_fn sums over the batch (reduction='sum'), so its size would follow the batch size:"
                " use reduction='mean', or 'none' for one value a sample"
            )
        self.loss_fn = loss_fn
        self.ignored = getattr(loss_fn, "ignore_index", -100)
        self.wants_classes = isinstance(loss_fn, CLASS_LOSSES) or loss_fn in CLASS_FUNCTIONS
        self.looked = False

    def __call__(self, outputs: Any, targets: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of a batch; `labels` are its targets as the loader gave them.

        Still on the host, they can be checked before a GPU meets a class that does not exist, which would end the
        whole process's use of it.
        """
        if not self.looked:
            self._look_before(outputs, labels)
        elif targets is not labels and self.wants_classes:  # they were moved
            self._check_classes(outputs, labels)
        try:
            loss = self.loss_fn(outputs, targets)
        except (IndexError, RuntimeError, ValueError, TypeError, AttributeError):
            self._explain(outputs, labels)
            raise
        if not self.looked:
            self._look_after(loss, outputs, targets)
        return loss.mean() if loss.ndim else loss

    def _look_before(self, outputs: Any, labels: Tensor) -> None:
        """Refuse shapes that would broadcast in silence, and labels that fit no output."""
        n = len(labels)
        if not isinstance(outputs, Tensor):
            return  # the loss function has to know what to do with it
        if not outputs.ndim:
            raise TypeError("the model returned one number: expected a row for each sample")
        if len(outputs) != n:
            raise ValueError(
                f"the model returned {len(outputs)} outputs for {n} samples: expected the same number"
            )
        if self.wants_classes:
            self._check_classes(outputs, labels)
        if not isinstance(self.loss_fn, SHAPED_LOSSES):
            return
        name = type(self.loss_fn).__name__
        if not labels.is_floating_point():
            raise ValueError(
                f"targets have type {labels.dtype}: {name} expects floating-point numbers;"
                " use targets.float()"
            )
        if outputs.shape != labels.shape:
            raise ValueError(
                f"outputs have shape {tuple(outputs.shape)} and targets {tuple(labels.shape)}: they would be"
                " broadcast. Give both one shape, as targets.unsqueeze(1) or outputs.squeeze(1)"
            )

    def _look_after(self, loss: Any, outputs: Any, targets: Tensor) -> None:
        """Refuse what is no loss, and tell of one that is no mean over samples."""
        self.looked, n = True, len(targets)
        if not isinstance(loss, Tensor) or not loss.is_floating_point():
            raise TypeError(
                f"loss_fn returned {type(loss).__name__}: expected a tensor of floating-point numbers"
            )
        if loss.ndim and len(loss) != n:
            raise ValueError(
                f"loss_fn returned shape {tuple(loss.shape)} for {n} samples: expected one number, the mean over the"
                f" batch, or values for each sample, as shape ({n},)"
            )
        if loss.ndim or n < 2 or not isinstance(outputs, Tensor):
            return
        weight = getattr(self.loss_fn, "weight", None) if self.wants_classes else None
        if weight is None and self._is_mean(loss.detach(), outputs.detach(), targets):
            return
        tell(
            "loss_fn is not a mean over samples, as with class weights, ignored targets or pairs of samples. It trains,"
            " and the loss that is printed is a mean of batches, which depends on the batch size; so does the update"
            " where micro_batch_size or several ranks split a batch"
        )

    def _is_mean(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> bool:
        """Whether two parts of a batch, weighed by their samples, give the loss of the whole; ValueError for a sum."""
        n, parts = len(targets), None
        k = n // 2 + (n % 2 == 0 and n > 2)  # two unequal parts where the batch allows them
        devices = [outputs.device] if outputs.is_cuda else []
        with suppress(Exception), torch.no_grad(), torch.random.fork_rng(devices):
            parts = [
                self.loss_fn(part_of(outputs, cut), part_of(targets, cut)).float()
                for cut in (slice(k), slice(k, None))
            ]
        if parts is None:
            return False  # it cannot take a part of a batch
        (first, second), whole = parts, loss.float()
        together = (first * k + second * (n - k)) / n
        close = 1e-2 if loss.dtype in (torch.float16, torch.bfloat16) else 1e-4
        if torch.isclose(together, whole, rtol=close, atol=close / 100) | ~torch.isfinite(whole):
            return True
        if torch.isclose(first + second, whole, rtol=1e-3):
            raise ValueError(
                f"loss_fn is not a mean over samples but a sum: {n} samples give {whole:.4g}, their two parts"
                f" {first:.4g} and {second:.4g}. Its size would follow the batch size: return the mean, or one value"
                " a sample"
            )
        return False

    def _explain(self, outputs: Any, labels: Tensor) -> None:
        """Where the loss function failed because of outputs or labels, raise our message in the place of its own."""
        if not isinstance(outputs, Tensor):
            raise TypeError(
                f"the model returned {shown(outputs)}, and loss_fn cannot take it: give it the part that it needs, as"
                " in lambda outputs, targets: loss_fn(outputs[0], targets)"
            )
        whole_numbers = not labels.is_floating_point() and not isinstance(
            self.loss_fn, SHAPED_LOSSES
        )
        if self.wants_classes or whole_numbers and outputs.ndim == 2:
            self._check_classes(outputs, labels)

    def _check_classes(self, outputs: Tensor, labels: Tensor) -> None:
        """ValueError unless labels are whole class numbers, shape (n,), below the number of outputs."""
        n, classes = len(labels), outputs.shape[1] if outputs.ndim > 1 else 1
        if labels.is_floating_point() and labels.shape == outputs.shape:
            return  # a probability for each class is a target too
        if labels.dtype != torch.int64:
            raise ValueError(
                f"labels have type {labels.dtype}: expected torch.int64 class numbers; use labels.long()"
            )
        if labels.shape != (n, *outputs.shape[2:]):
            hint = "use labels.squeeze(1) on a column, labels.argmax(dim=1) on one-hot rows"
            if outputs.ndim > 2:
                hint = "classes come second in the outputs, as outputs.transpose(1, 2) puts them"
            raise ValueError(
                f"labels have shape {tuple(labels.shape)}: expected {(n, *outputs.shape[2:])}, one class number each;"
                f" {hint}"
            )
        low, high = labels.min().item(), labels.max().item()
        if self.ignored in (low, high) and not 0 <= low <= high < classes:
            kept = labels[labels != self.ignored]
            low, high = (kept.min().item(), kept.max().item()) if len(kept) else (0, 0)
        if low < 0 or high >= classes:
            raise ValueError(
                f"labels run from {low} to {high}: expected class numbers from 0 to {classes - 1},"
                f" since the model gives {classes} outputs"
            )
