"""Refuse at the door what would fail later, or worse, would not fail: each message has the value and the remedy.

These checks run once a call; `losses` has those of the first batch.
"""

import warnings
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from dlhelpers.devices import Device
from dlhelpers.distributed import current
from dlhelpers.loaders import describe
from dlhelpers.rank_checks import check_ranks
from dlhelpers.whole_numbers import check_whole


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


def check_optimizer(optimizer: Optimizer, model: nn.Module) -> None:
    """ValueError for an optimizer that would train nothing of this model, or asks for a closure, as LBFGS does."""
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError("optimizer is LBFGS, which looks at a batch several times, by a function that it is given:"
                         " expected one whose step() needs none, as torch.optim.SGD")  # fmt: skip
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ValueError("no parameter of the model is trained: all have requires_grad=False; set it for some")
    if not any(id(parameter) in held for parameter in trained):
        raise ValueError("the optimizer holds no parameter of this model that is trained, so nothing would be learned:"
                         " make it anew after the model, as torch.optim.SGD(model.parameters(), lr=0.1)")  # fmt: skip


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
            came = f"the last batch holds 1 sample ({counts.samples} samples in batches of {counts.batch_size})"
            raise ValueError(f"{came}, and BatchNorm1d ({layer}) needs at least 2 in training:"
                             " use drop_last=True or another batch size")  # fmt: skip


def check_epochs(epochs: int) -> None:
    """ValueError for anything but a whole number of epochs, at least 1."""
    check_whole("epochs", epochs, 1)


def split_batch(batch: object) -> tuple[Tensor, Tensor]:
    """Return (inputs, targets) of a batch; TypeError for a batch of another form, ValueError for one of no samples."""
    if isinstance(batch, (tuple, list)) and len(batch) == 2 and isinstance(batch[1], Tensor) and batch[1].ndim:
        if not batch[1].shape[0]:
            raise ValueError("a batch came with 0 samples: expected at least 1; have collate_fn or stream leave it out")
        return batch[0], batch[1]
    form = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else type(batch).__name__
    hint = ". For single samples, give the DataLoader a batch_size" if form == "2 parts" else ""
    raise TypeError(f"a batch came as {form}: expected (inputs, targets), two parts, the second a tensor{hint}")


def _same(one: torch.device, other: torch.device) -> bool:
    """Whether two devices are one; "cuda" alone means any of them."""
    return one.type == other.type and (other.index is None or one.index == other.index)
