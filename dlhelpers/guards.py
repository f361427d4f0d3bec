"""Refuse at the door what would fail later, or worse, would not fail: each message has the value and the remedy.

These checks run once a call or on the first batch. What only a later batch can break is explained when it breaks.
"""

import warnings
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from dlhelpers.devices import Device
from dlhelpers.distributed import current
from dlhelpers.loaders import describe
from dlhelpers.rank_checks import check_ranks
from dlhelpers.whole_numbers import check_whole

LossFn = Callable[[Tensor, Tensor], Tensor]
CLASS_LOSSES = (nn.CrossEntropyLoss, nn.NLLLoss)
SHAPED_LOSSES = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCELoss, nn.BCEWithLogitsLoss)


def check_model(model: nn.Module, device: Device | None) -> torch.device:
    """Return the device of the model's parameters; ValueError where it has none, or where another was asked for."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is {type(model).__name__}: expected a torch.nn.Module")
    places = {parameter.device for parameter in model.parameters()}
    if not places:
        raise ValueError("the model has no parameters: there is nothing to train. Was a list of layers"
                         " kept in a plain list? nn.Sequential or nn.ModuleList registers them")  # fmt: skip
    if len(places) > 1:
        raise ValueError(f"the model lies on {', '.join(sorted(map(str, places)))}: move it to one device")
    place = places.pop()
    if device is not None and not _same(place, torch.device(device)):
        raise ValueError(
            f"the model is on {place}, but device={str(device)!r} was asked for:"
            f" call model.to({str(device)!r}) before you make the optimizer"
        )
    return place


def check_loader(loader: Iterable, phase: str, model: nn.Module) -> None:
    """ValueError for a loader without a batch, with a last batch of one that BatchNorm1d refuses, or not split."""
    ranks, check = current(), partial(_check_counts, loader, phase, model)
    check() if ranks is None else check_ranks(loader, phase, model, check, ranks)


def _check_counts(loader: Iterable, phase: str, model: nn.Module) -> None:
    if not isinstance(loader, Iterable):
        raise TypeError(f"the {phase} loader is {type(loader).__name__}: expected a DataLoader")
    if not isinstance(loader, DataLoader):
        return
    counts = describe(loader)
    if counts.batches == 0 or counts.samples == 0:
        raise ValueError(
            f"the {phase} loader has no batch: {counts.samples} samples, batch_size {counts.batch_size},"
            f" drop_last {counts.drop_last}. Use a smaller batch size, drop_last=False, or more samples"
        )
    if phase != "train" and counts.dropped:
        warnings.warn(
            f"the {phase} loader leaves out {counts.dropped} of {counts.samples} samples: the result will"
            " depend on the batch size. Use drop_last=False",
            stacklevel=5,
        )
    if phase == "train" and counts.last_batch == 1:
        layer = next((name for name, part in model.named_modules() if isinstance(part, nn.BatchNorm1d)), None)
        if layer is not None:
            raise ValueError(
                f"the last batch holds 1 sample ({counts.samples} samples in batches of {counts.batch_size}), and"
                f" BatchNorm1d ({layer}) needs at least 2 in training: use drop_last=True or another batch size"
            )


def check_epochs(epochs: int) -> None:
    """ValueError for anything but a whole number of epochs, at least 1."""
    check_whole("epochs", epochs, 1)


def check_loss_fn(loss_fn: LossFn) -> None:
    """Refuse what is not callable, a loss class that was not built, and a sum: TypeError or ValueError."""
    if isinstance(loss_fn, type):
        raise TypeError(f"loss_fn is the class {loss_fn.__name__}: build it first, as in {loss_fn.__name__}()")
    if not callable(loss_fn):
        raise TypeError(f"loss_fn is {loss_fn!r}: expected a function of (outputs, targets), as nn.CrossEntropyLoss()")
    if isinstance(loss_fn, CLASS_LOSSES) and loss_fn.weight is not None and loss_fn.reduction == "mean":
        raise ValueError(
            "loss_fn has class weights and divides by their sum, so it is no mean over samples: expected"
            f" {type(loss_fn).__name__}(weight=..., reduction='none'), whose weighted values are then averaged"
        )
    if getattr(loss_fn, "reduction", "mean") == "sum":
        raise ValueError("loss_fn sums over the batch (reduction='sum'), so its size would follow the batch size:"
                         " use reduction='mean', or 'none' for one value a sample")  # fmt: skip


def split_batch(batch: object) -> tuple[Tensor, Tensor]:
    """Return (inputs, targets) of a batch; TypeError for a batch of another form."""
    if isinstance(batch, (tuple, list)) and len(batch) == 2 and isinstance(batch[1], Tensor):
        return batch[0], batch[1]
    form = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else type(batch).__name__
    raise TypeError(f"a batch came as {form}: expected (inputs, targets), two parts, the second a tensor")


def batch_loss(loss_fn: LossFn, outputs: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
    """Return the mean loss of a batch as one number; what PyTorch would say in other words is said in ours.

    `labels` are the targets as the loader gave them: still on the host, they can be checked before
    a GPU meets a class that does not exist, which would end the whole process's use of it.
    """
    if targets is not labels and _wants_classes(loss_fn):  # they were moved
        _check_classes(outputs, labels)
    try:
        loss = loss_fn(outputs, targets)
    except (IndexError, RuntimeError, ValueError):
        _explain(loss_fn, outputs, labels)
        raise
    return loss.mean() if loss.ndim else loss


def check_first_batch(loss_fn: LossFn, outputs: Tensor, targets: Tensor) -> None:
    """Refuse shapes that broadcast in silence, and a loss that is no mean over samples: ValueError or TypeError."""
    n = len(targets)
    if len(outputs) != n:
        raise ValueError(f"the model returned {len(outputs)} outputs for {n} samples: expected the same number")
    if _wants_classes(loss_fn):
        _check_classes(outputs, targets)
    if isinstance(loss_fn, SHAPED_LOSSES) and not targets.is_floating_point():
        raise ValueError(f"targets have type {targets.dtype}: {type(loss_fn).__name__} expects floating-point numbers;"
                         " use targets.float()")  # fmt: skip
    if isinstance(loss_fn, SHAPED_LOSSES) and outputs.shape != targets.shape:
        raise ValueError(
            f"outputs have shape {tuple(outputs.shape)} and targets {tuple(targets.shape)}: they would be broadcast"
            " against each other. Give both one shape, as by targets.unsqueeze(1) or outputs.squeeze(1)"
        )
    loss = batch_loss_shape(loss_fn, outputs, targets)
    if n < 2 or loss.ndim:
        return
    k = n // 2 + (n % 2 == 0 and n > 2)  # two unequal parts where the batch allows them
    first, second = loss_fn(outputs[:k], targets[:k]), loss_fn(outputs[k:], targets[k:])
    parts = (first * k + second * (n - k)) / n
    if torch.isfinite(loss) & ~torch.isclose(parts.float(), loss.float(), rtol=1e-2, atol=1e-4):
        raise ValueError(
            f"loss_fn is not a mean over samples: {n} samples give {loss.item():.4g}, their two parts, weighed,"
            f" {parts.item():.4g}. Expected the mean, or one value a sample; class weights need reduction='none'"
        )


def batch_loss_shape(loss_fn: LossFn, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of a batch; TypeError or ValueError unless it is one number, or one for each sample."""
    try:
        loss = loss_fn(outputs, targets)
    except (IndexError, RuntimeError, ValueError):
        _explain(loss_fn, outputs, targets)
        raise
    if not isinstance(loss, Tensor) or not loss.is_floating_point():
        raise TypeError(f"loss_fn returned {type(loss).__name__}: expected a tensor of floating-point numbers")
    if loss.shape not in ((), (len(targets),)):
        raise ValueError(
            f"loss_fn returned shape {tuple(loss.shape)} for {len(targets)} samples: expected one number, the mean"
            f" over the batch, or one value a sample, shape ({len(targets)},)"
        )
    return loss


def _explain(loss_fn: LossFn, outputs: Tensor, labels: Tensor) -> None:
    """Where the loss function failed because of the labels, raise our message in the place of its own."""
    if not labels.is_floating_point() and not isinstance(loss_fn, SHAPED_LOSSES) or _wants_classes(loss_fn):
        _check_classes(outputs, labels)


def _wants_classes(loss_fn: LossFn) -> bool:
    """Whether the loss is one of PyTorch's that take class numbers."""
    return isinstance(loss_fn, CLASS_LOSSES) or loss_fn in (functional.cross_entropy, functional.nll_loss)


def _check_classes(outputs: Tensor, labels: Tensor) -> None:
    """ValueError unless labels are whole class numbers, shape (n,), below the number of outputs."""
    n, classes = len(labels), outputs.shape[1] if outputs.ndim > 1 else 1
    if labels.is_floating_point() and labels.shape == outputs.shape:
        return  # a probability for each class is a target too
    if labels.dtype != torch.int64:
        raise ValueError(f"labels have type {labels.dtype}: expected torch.int64 class numbers; use labels.long()")
    if labels.shape != (n, *outputs.shape[2:]):
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}: expected ({n},), one class number a sample;"
            " use labels.squeeze(1) on a column, labels.argmax(dim=1) on one-hot rows"
        )
    low, high = labels.min().item(), labels.max().item()
    if low < 0 or high >= classes:
        raise ValueError(f"labels run from {low} to {high}: expected class numbers from 0 to {classes - 1},"
                         f" since the model gives {classes} outputs")  # fmt: skip


def _same(one: torch.device, other: torch.device) -> bool:
    """Whether two devices are one; "cuda" alone means any of them."""
    return one.type == other.type and (other.index is None or one.index == other.index)
