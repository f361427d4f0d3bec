"""What the doors ask of an argument beside its size: is it of the right kind? Each message has the value and a remedy.

This module stands below all others of the package; `whole_numbers` asks for those, `guards` what only training asks.
"""

import os
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any

import torch

PLAIN = (bool, int, float, str, bytes, list, tuple, dict, set, range, PurePath, type(None))
NUMBERS = (  # of each EpochResult, beside its loss and metrics
    "samples", "batches", "micro_batches", "optimizer_steps", "skipped_steps", "seconds", "data_seconds",
    "samples_per_second",
)  # fmt: skip


def shown(value: object) -> str:
    """Return a value as a message names it: a short plain one as it is, of others what they are."""
    if isinstance(value, PLAIN) and len(repr(value)) <= 60:
        return repr(value)
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"a {type(value).__name__} of shape {tuple(value.shape)}, {value.dtype}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"{value.__name__}, a function" if hasattr(value, "__name__") else f"a {type(value).__name__}"


def check_kind(name: str, value: object, kind: type | tuple[type, ...], expected: str) -> None:
    """TypeError unless a value is of a kind; `expected` says in words what to give instead."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {shown(value)}: expected {expected}")


def check_callable(name: str, value: object, expected: str) -> None:
    """TypeError unless a value can be called."""
    if not callable(value):
        raise TypeError(f"{name} is {shown(value)}: expected {expected}")


def _has(methods: str) -> Callable[[Any], bool]:
    """A question whether a thing has these methods: wrappers of an optimizer, as accelerate's, need no common class."""
    return lambda part: not isinstance(part, type) and all(hasattr(part, method) for method in methods.split())


def _names_functions(metrics: Any) -> bool:
    taken = {"loss", *NUMBERS}
    return isinstance(metrics, Mapping) and all(map(callable, metrics.values())) and taken.isdisjoint(metrics)


def _number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


# What each part of a training run has to be; where None will do, the words say so.
PARTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "model": (_has("parameters state_dict"), "a torch.nn.Module, built, as nn.Linear(784, 10)"),
    "optimizer": (_has("step param_groups state_dict"), "an optimizer, as torch.optim.SGD(model.parameters(), lr=0.1)"),
    "scheduler": (_has("step state_dict"), "one of torch.optim.lr_scheduler, or None"),
    "scaler": (_has("scale step update is_enabled"), "a torch.amp.GradScaler, or None"),
    "history": (_has("add epochs state_dict"), "a History, as fit returns it, or None"),
    "bar": (_has("update set_postfix_str"), "a bar of tqdm, or None"),
    "metrics": (_names_functions, "functions by name, as {'accuracy': accuracy}, none of which is called loss,"
                                  f" {', '.join(NUMBERS)}, as results have these already; or None"),
    "max_norm": (lambda value: _number(value, Real) and value > 0, "a length above 0, or None"),
    "amp_dtype": (lambda kind: kind in (torch.float16, torch.bfloat16, torch.float32), "torch.bfloat16, or None"),
    "epoch": (lambda value: _number(value, Integral) and 0 <= value < 2**31, "a whole number, at least 0"),
    "seed": (lambda value: _number(value, Integral) and abs(value) < 2**62, "a whole number below 2**62, or None"),
    "checkpoint": (lambda path: isinstance(path, (str, os.PathLike)) and str(path), "the path of a file, or None"),
    "on_epoch_end": (callable, "a function of two results, training's and validation's, or None"),
}  # fmt: skip


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
