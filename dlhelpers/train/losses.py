"""What a loss function has to be: a mean over samples. What is none, or meets labels that fit no output, is refused.

These checks run once a call or on the first batch. What only a later batch can break is explained when it breaks.
"""

from collections.abc import Callable
from copy import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from dlhelpers.base.checks import shown

LossFn = Callable[[Tensor, Tensor], Tensor]
CLASS_LOSSES = (nn.CrossEntropyLoss, nn.NLLLoss)
FUNCTIONS = {functional.cross_entropy: nn.CrossEntropyLoss(), functional.nll_loss: nn.NLLLoss()}
NO_CLASS = -(2**31)  # no label has it, so none is left out
SHAPED_LOSSES = (
    nn.MSELoss,
    nn.L1Loss,
    nn.SmoothL1Loss,
    nn.HuberLoss,
    nn.BCELoss,
    nn.BCEWithLogitsLoss,
)


def check_loss_fn(loss_fn: LossFn) -> LossFn:
    """Return the loss function, one of PyTorch's as a copy for which each label is a class, also -100 (ignore_index).

    Refuses what is not callable, a loss class that was not built, and what is no mean: TypeError or ValueError.
    """
    if isinstance(loss_fn, type):
        raise TypeError(
            f"loss_fn is the class {loss_fn.__name__}: build it first, as in {loss_fn.__name__}()"
        )
    if not callable(loss_fn):
        raise TypeError(
            f"loss_fn is {loss_fn!r}: expected a function of (outputs, targets), as nn.CrossEntropyLoss()"
        )
    if (
        isinstance(loss_fn, CLASS_LOSSES)
        and loss_fn.weight is not None
        and loss_fn.reduction == "mean"
    ):
        raise ValueError(
            "loss_fn has class weights and divides by their sum, so it is no mean over samples: expected"
            f" {type(loss_fn).__name__}(weight=..., reduction='none'), then averaged"
        )
    if getattr(loss_fn, "reduction", "mean") == "sum":
        raise ValueError(
            "loss_fn sums over the batch (reduction='sum'), so its size would follow the batch size:"
            " use reduction='mean', or 'none' for one value a sample"
        )
    loss_fn = next((built for function, built in FUNCTIONS.items() if function is loss_fn), loss_fn)
    if type(loss_fn) in CLASS_LOSSES:  # a class of the learner's own is left as it is
        if loss_fn.ignore_index >= 0:
            if loss_fn.reduction == "none":
                return loss_fn  # zeros for what it leaves out, and a mean over all
            raise ValueError(
                f"loss_fn leaves out class {loss_fn.ignore_index} (ignore_index), so its mean is not over"
                " all samples: take such samples out of the dataset"
            )
        loss_fn = copy(loss_fn)
        loss_fn.ignore_index = NO_CLASS
    return loss_fn


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
    if not isinstance(outputs, Tensor) or not outputs.ndim:
        raise TypeError(
            f"the model returned {shown(outputs)}: expected a tensor, a row for each sample"
        )
    outputs = outputs.detach()
    if len(outputs) != n:
        raise ValueError(
            f"the model returned {len(outputs)} outputs for {n} samples: expected the same number"
        )
    if _wants_classes(loss_fn):
        _check_classes(outputs, targets)
    if isinstance(loss_fn, SHAPED_LOSSES) and not targets.is_floating_point():
        raise ValueError(
            f"targets have type {targets.dtype}: {type(loss_fn).__name__} expects floating-point numbers;"
            " use targets.float()"
        )
    if isinstance(loss_fn, SHAPED_LOSSES) and outputs.shape != targets.shape:
        raise ValueError(
            f"outputs have shape {tuple(outputs.shape)} and targets {tuple(targets.shape)}: they would be"
            " broadcast. Give both one shape, as targets.unsqueeze(1) or outputs.squeeze(1)"
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
        raise TypeError(
            f"loss_fn returned {type(loss).__name__}: expected a tensor of floating-point numbers"
        )
    if loss.shape not in ((), (len(targets),)):
        raise ValueError(
            f"loss_fn returned shape {tuple(loss.shape)} for {len(targets)} samples: expected one number,"
            f" the mean over the batch, or one value a sample, shape ({len(targets)},)"
        )
    return loss


def _explain(loss_fn: LossFn, outputs: Tensor, labels: Tensor) -> None:
    """Where the loss function failed because of the labels, raise our message in the place of its own."""
    if (
        not labels.is_floating_point()
        and not isinstance(loss_fn, SHAPED_LOSSES)
        or _wants_classes(loss_fn)
    ):
        _check_classes(outputs, labels)


def _wants_classes(loss_fn: LossFn) -> bool:
    """Whether the loss is one of PyTorch's that take class numbers."""
    return isinstance(loss_fn, CLASS_LOSSES) or any(loss_fn is function for function in FUNCTIONS)


def _check_classes(outputs: Tensor, labels: Tensor) -> None:
    """ValueError unless labels are whole class numbers, shape (n,), below the number of outputs."""
    n, classes = len(labels), outputs.shape[1] if outputs.ndim > 1 else 1
    if labels.is_floating_point() and labels.shape == outputs.shape:
        return  # a probability for each class is a target too
    if labels.dtype != torch.int64:
        raise ValueError(
            f"labels have type {labels.dtype}: expected torch.int64 class numbers; use labels.long()"
        )
    if labels.shape != (n, *outputs.shape[2:]):
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}: expected ({n},), one class number a sample;"
            " use labels.squeeze(1) on a column, labels.argmax(dim=1) on one-hot rows"
        )
    low, high = labels.min().item(), labels.max().item()
    if low < 0 or high >= classes:
        hint = (
            ". Leave samples without a class (ignore_index) out of the dataset"
            if low == -100
            else ""
        )
        raise ValueError(
            f"labels run from {low} to {high}: expected class numbers from 0 to {classes - 1},"
            f" since the model gives {classes} outputs{hint}"
        )
