"""Refuse at the door what would fail later, or worse, would not fail: each message has the value and the remedy.

These checks run once a call; `losses` has those of the first batch.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from dlhelpers.base.checks import check_whole, shown
from dlhelpers.data.counting import describe
from dlhelpers.machine.devices import Device
from dlhelpers.train.history import NUMBERS
from dlhelpers.train.rank_checks import check_ranks
from dlhelpers.train.ranks import current


def check_model(model: nn.Module, device: Device | None) -> torch.device:
    """Return the device of the model's parameters; ValueError where it has none, or where another was asked for."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is {type(model).__name__}: expected a torch.nn.Module")
    places = {parameter.device for parameter in model.parameters()}
    if not places:
        raise ValueError(
            "the model has no parameters: there is nothing to train. Was a list of layers"
            " kept in a plain list? nn.Sequential or nn.ModuleList registers them"
        )
    if len(places) > 1:
        raise ValueError(
            f"the model lies on {', '.join(sorted(map(str, places)))}: move it to one device"
        )
    place = places.pop()
    if device is not None and not _same(place, torch.device(device)):
        raise ValueError(
            f"the model is on {place}, but device={str(device)!r} was asked for:"
            f" call model.to({str(device)!r}) before you make the optimizer"
        )
    return place


def check_optimizer(optimizer: Optimizer, model: nn.Module) -> None:
    """ValueError for an optimizer that would train nothing of this model, or asks for a closure, as LBFGS does."""
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError(
            "optimizer is LBFGS, which looks at a batch several times, by a function that it is given:"
            " expected one whose step() needs none, as torch.optim.SGD"
        )
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ValueError(
            "no parameter of the model is trained: all have requires_grad=False; set it for some"
        )
    if not any(id(parameter) in held for parameter in trained):
        raise ValueError(
            "the optimizer holds no parameter of this model that is trained, so nothing would be learned:"
            " make it anew after the model, as torch.optim.SGD(model.parameters(), lr=0.1)"
        )


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
        layer = next(
            (name for name, part in model.named_modules() if isinstance(part, nn.BatchNorm1d)), None
        )
        if layer is not None:
            came = f"the last batch holds 1 sample ({counts.samples} samples in batches of {counts.batch_size})"
            raise ValueError(
                f"{came}, and BatchNorm1d ({layer}) needs at least 2 in training:"
                " use drop_last=True or another batch size"
            )


def check_epochs(epochs: int) -> None:
    """ValueError for anything but a whole number of epochs, at least 1."""
    check_whole("epochs", epochs, 1)


def split_batch(batch: object) -> tuple[Tensor, Tensor]:
    """Return (inputs, targets) of a batch; TypeError for a batch of another form, ValueError for one of no samples."""
    if (
        isinstance(batch, (tuple, list))
        and len(batch) == 2
        and isinstance(batch[1], Tensor)
        and batch[1].ndim
    ):
        if not batch[1].shape[0]:
            raise ValueError(
                "a batch came with 0 samples: expected at least 1; have collate_fn or stream leave it out"
            )
        return batch[0], batch[1]
    form = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else type(batch).__name__
    hint = ". For single samples, give the DataLoader a batch_size" if form == "2 parts" else ""
    raise TypeError(
        f"a batch came as {form}: expected (inputs, targets), two parts, the second a tensor{hint}"
    )


def _same(one: torch.device, other: torch.device) -> bool:
    """Whether two devices are one; "cuda" alone means any of them."""
    return one.type == other.type and (other.index is None or one.index == other.index)


def _has(methods: str) -> Callable[[Any], bool]:
    """A question whether a thing has these methods: wrappers of an optimizer, as accelerate's, need no common class."""
    return lambda part: (
        not isinstance(part, type) and all(hasattr(part, method) for method in methods.split())
    )


def _names_functions(metrics: Any) -> bool:
    taken = {"loss", *NUMBERS}
    return (
        isinstance(metrics, Mapping)
        and all(map(callable, metrics.values()))
        and taken.isdisjoint(metrics)
    )


def _number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


# What each part of a training run has to be; where None will do, the words say so.
PARTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "model": (_has("parameters state_dict"), "a torch.nn.Module, built, as nn.Linear(784, 10)"),
    "optimizer": (
        _has("step param_groups state_dict"),
        "an optimizer, as torch.optim.SGD(model.parameters(), lr=0.1)",
    ),
    "scheduler": (_has("step state_dict"), "one of torch.optim.lr_scheduler, or None"),
    "scaler": (_has("scale step update is_enabled"), "a torch.amp.GradScaler, or None"),
    "history": (_has("add epochs state_dict"), "a History, as fit returns it, or None"),
    "bar": (_has("update set_postfix_str"), "a bar of tqdm, or None"),
    "metrics": (
        _names_functions,
        "functions by name, as {'accuracy': accuracy}, none of which is called loss,"
        f" {', '.join(NUMBERS)}, as results have these already; or None",
    ),
    "max_norm": (lambda value: _number(value, Real) and value > 0, "a length above 0, or None"),
    "amp_dtype": (
        lambda kind: kind in (torch.float16, torch.bfloat16, torch.float32),
        "torch.bfloat16, or None",
    ),
    "epoch": (
        lambda value: _number(value, Integral) and 0 <= value < 2**31,
        "a whole number, at least 0",
    ),
    "seed": (
        lambda value: _number(value, Integral) and abs(value) < 2**62,
        "a whole number below 2**62, or None",
    ),
    "checkpoint": (
        lambda path: isinstance(path, (str, os.PathLike)) and str(path),
        "the path of a file, or None",
    ),
    "on_epoch_end": (callable, "a function of two results, training's and validation's, or None"),
}


def check_parts(**parts: object) -> None:
    """TypeError, or ValueError for a number, that names the first of these parts of a run that is none."""
    for name, part in parts.items():
        right, expected = PARTS[name]
        if not (part is None and expected.endswith("None")) and not _is(right, part):
            kind = ValueError if isinstance(part, (int, float)) else TypeError
            raise kind(f"{name} is {shown(part)}: expected {expected}")


def _is(right: Callable[[Any], bool], part: Any) -> bool:
    """Whether a part is right; an array that is asked whether it equals something has no one answer, and is not."""
    try:
        return bool(right(part))
    except (RuntimeError, ValueError, TypeError):
        return False
