"""Save a training run at the end of an epoch, and go on from there as if it had never stopped.

A checkpoint holds tensors and plain values only, and is loaded with weights_only=True, so it cannot run code. It is
written beside its target and moved there at once: a crash leaves the old file or the new one. Resuming in the middle
of an epoch is left to the lessons about streams.
"""

import os
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from dlhelpers.base.checks import check_kind
from dlhelpers.train.checks import check_parts
from dlhelpers.train.history import History
from dlhelpers.train.random_states import random_state, set_random_state
from dlhelpers.train.ranks import current, unwrap

FORMAT = "dlhelpers checkpoint, version 1"
PARTS = {"model", "optimizer", "scheduler", "scaler", "history", "random"}
SCHEDULED = {
    "initial_lr",
    "max_lr",
    "min_lr",
    "base_momentum",
    "max_momentum",
    "swa_lr",
}  # what schedulers add
ZIP = b"PK\3\4"  # how the file of torch.save begins


def check_target(path: str | Path) -> tuple[Path, Path]:
    """Return the path of a checkpoint, its folder made, and that of the file in which it is prepared.

    Raises ValueError for a path that ends in no name, and OSError for a folder, or where no file can be made.
    """
    path = Path(path)
    if not path.name:
        raise ValueError(f"path is {str(path)!r}: expected the name of a file")
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder: expected the name of a file, as {path / 'run.pt'}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not a file of tempfile, which nobody else may read.
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.touch()
    partial.unlink()
    return path, partial


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: Optimizer,
    *,
    history: History,
    scheduler: Any = None,
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Write model, optimizer, scheduler, scaler, history and random state to one file, at once or not at all.

    Raises OSError where the disk refuses, and TypeError for more than tensors and plain values, which could not be
    loaded again; the file that was there before is then untouched.
    """
    check_kind("history", history, History, "a History, as fit returns it")
    check_parts(model=model, optimizer=optimizer, scheduler=scheduler, scaler=scaler)
    content = {
        "format": FORMAT,
        "ranks": getattr(current(), "world", 1),
        "model": unwrap(model).state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict() if scheduler is not None else None,
        "scaler": scaler.state_dict() if scaler is not None else None,
        "history": history.state_dict(),
        "random": random_state(),
    }
    path, partial = check_target(path)
    try:
        with partial.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())  # on the disk before the name points to it
        if unsafe := torch.serialization.get_unsafe_globals_in_checkpoint(partial):
            raise TypeError(
                f"the checkpoint would hold {', '.join(sorted(unsafe))} and could not be loaded again:"
                " use plain numbers and tensors, as float(lr) for a NumPy number"
            )
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, RuntimeError) and isinstance(
            error.__context__, (OSError, KeyboardInterrupt)
        ):
            raise error.__context__ from None  # torch.save, closing its archive, complains about a torn one instead
        raise


def load_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: Optimizer | None = None,
    *,
    scheduler: Any = None,
    scaler: torch.amp.GradScaler | None = None,
) -> History:
    """Put model, optimizer, scheduler, scaler and random state back, and return the history, to be given to `fit`.

    Raises FileNotFoundError or PermissionError, or ValueError for a file that is cut short, holds code, is no
    checkpoint, or belongs to another model, optimizer or scheduler; in each case nothing is changed. Not in the file:
    a generator given to the DataLoader (give `fit` a seed too) and what persistent workers draw. Of several ranks it
    holds the first one's random state, which all take: with a seed they draw different numbers again. A warning tells
    of other numbers of ranks, and of a scale of float16 for which no `scaler` was given.
    """
    check_parts(model=model, scheduler=scheduler, scaler=scaler)
    if optimizer is not None:
        check_parts(optimizer=optimizer)
    content = _read(Path(path))
    _check_model(content["model"], model, path)
    if scaler is not None and not scaler.is_enabled():
        scaler = None  # an idle one has nothing to remember
    elif scaler is None and content["scaler"]:
        warnings.warn(
            f"{path} holds the scale of a float16 scaler: give load_checkpoint and fit one scaler=, or the"
            " steps that overflow will be others than in an unbroken run",
            stacklevel=2,
        )
    given = {"optimizer": optimizer, "scheduler": scheduler, "scaler": scaler}
    for name, part in given.items():
        if part is not None and not content[name]:
            raise ValueError(
                f"{path} was saved without a {name}: leave out {name}=, or start it afresh"
            )
    if optimizer is not None:
        _check_optimizer(content["optimizer"], optimizer, path)
    if scheduler is not None and set(content["scheduler"]) != set(scheduler.state_dict()):
        raise ValueError(
            f"{path} belongs to another scheduler than {type(scheduler).__name__}: build it as it was"
        )
    history = History.from_state_dict(content["history"])
    _tell_of_ranks(content.get("ranks", 1), content["scheduler"], history, path)
    unwrap(model).load_state_dict(content["model"])
    for name, part in given.items():
        if part is not None:
            part.load_state_dict(content[name])
    set_random_state(content["random"])
    return history


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no checkpoint {path}: check the name; fit(..., checkpoint=path) writes one"
        )
    try:
        with path.open("rb") as file:
            if not ZIP.startswith(file.read(len(ZIP))):
                raise pickle.UnpicklingError(
                    "no file of torch.save, which is a zip archive: nothing of it was read"
                )
        with zipfile.ZipFile(path) as archive:
            if broken := archive.testzip():  # torch.load does not look at the checksums
                raise zipfile.BadZipFile(f"the checksum of {broken} is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise  # not damaged: another user's
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors and plain values, and could run code when it is read: not"
            " loaded. Expected a file written by save_checkpoint"
        ) from error
    except (zipfile.BadZipFile, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        words = f"{path} is cut short or damaged ({type(error).__name__}): take an older checkpoint"
        raise ValueError(words) from error
    if (
        not isinstance(content, dict)
        or content.get("format") != FORMAT
        or not content.keys() >= PARTS
    ):
        raise ValueError(
            f"{path} is no checkpoint of this course: expected a file written by save_checkpoint"
        )
    return content


def _check_model(saved: dict[str, Any], model: nn.Module, path: str | Path) -> None:
    """ValueError that names the first difference between the saved model and this one."""
    saved, here = (
        {
            name: tuple(v.shape) if isinstance(v, torch.Tensor) else f"a {type(v).__name__}"
            for name, v in side.items()
        }
        for side in (
            saved,
            unwrap(model).state_dict(),
        )  # in which a get_extra_state may put anything
    )
    for name in [*saved, *here]:
        one, other = saved.get(name, "nothing"), here.get(name, "nothing")
        if one != other and not (name.endswith("_extra_state") and name in saved and name in here):
            raise ValueError(
                f"{path} belongs to another model: under {name!r} it has {one}, and this model {other}."
                " Build the model as it was when the checkpoint was saved"
            )


def _check_optimizer(saved: dict[str, Any], optimizer: Optimizer, path: str | Path) -> None:
    """ValueError where the saved optimizer held other groups of parameters."""
    sides = saved["param_groups"], optimizer.state_dict()["param_groups"]
    one, other = ([len(group["params"]) for group in side] for side in sides)
    options = [
        (set(side[0]) - SCHEDULED, [group.get("decoupled_weight_decay") for group in side])
        for side in sides
    ]
    if one != other or options[0] != options[1]:
        raise ValueError(
            f"{path} belongs to another optimizer: it has groups of {one} parameters, this one of {other},"
            " or other settings. Build the optimizer as it was when it was saved"
        )


def _tell_of_ranks(
    before: int, scheduler: dict[str, Any] | None, history: History, path: str | Path
) -> None:
    """A warning where another number of ranks goes on: what is whole, and what is no longer the same."""
    now = getattr(current(), "world", 1)
    if before == now:
        return
    words = (
        f"{path} was saved by {before} rank(s), and {now} go on. Model, optimizer and history are whole, but with"
        f" the same batch_size a step takes {now / before:g} times the samples: the learning rate may no longer"
        " fit. batch_size x ranks should stay what it was"
    )
    if scheduler and scheduler.get("last_epoch", history.epochs) != history.epochs:
        words += ", above all since the scheduler counts steps, and would otherwise come to its end too early or late"
    warnings.warn(words, stacklevel=3)
