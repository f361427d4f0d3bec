"""Save a training run at the end of an epoch, and go on from there as if it had never stopped.

A checkpoint holds tensors and plain values only, and is loaded with weights_only=True, so it cannot run code. It is
written beside its target and moved there at once: a crash leaves the old file or the new one. Resuming in the middle
of an epoch is left to the lessons about streams.
"""

import os
import pickle
import random
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from dlhelpers.base.checks import check_kind
from dlhelpers.base.files import write_whole
from dlhelpers.train.history import History
from dlhelpers.train.ranks import current, unwrap

FORMAT = "dlhelpers checkpoint, version 1"
PARTS = {"model", "optimizer", "scheduler", "scaler", "history", "random"}
# What schedulers add to an optimizer's groups.
SCHEDULED = {"initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr"}
ZIP = b"PK\3\4"  # how the file of torch.save begins


def check_target(path: str | Path) -> Path:
    """Return the path of a checkpoint, `~` being the home folder, its folder made.

    Raises ValueError for a path that ends in no name, and OSError for a folder, or where no file can be made.
    """
    path = Path(path).expanduser()
    if not path.name:
        raise ValueError(f"path is {str(path)!r}: expected the name of a file")
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder: expected the name of a file, as {path / 'run.pt'}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{path.parent} lets nobody write: choose another folder")
    return path


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
    content = {
        "format": FORMAT,
        "ranks": current().world,
        "model": unwrap(model).state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict() if scheduler is not None else None,
        "scaler": scaler.state_dict() if scaler is not None else None,
        "history": history.state_dict(),
        "random": random_state(),
    }
    with write_whole(check_target(path)) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # Closing its archive, torch complains of a torn one in the place of what has torn it.
            raise error.__context__ or error from None
        file.flush()
        if unsafe := torch.serialization.get_unsafe_globals_in_checkpoint(file.name):
            raise TypeError(
                f"the checkpoint would hold {', '.join(sorted(unsafe))} and could not be loaded again:"
                " use plain numbers and tensors, as float(lr) for a NumPy number"
            )


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
    path = Path(path).expanduser()
    content = _read(path)
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
    before, now = content.get("ranks", 1), current().world
    if before != now:
        warnings.warn(
            f"{path} was saved by {before} rank(s), and {now} go on. Model, optimizer and history are whole, but with"
            f" the same batch_size a step takes {now / before:g} times the samples: learning rate and a scheduler that"
            " counts steps may no longer fit. batch_size x ranks should stay what it was",
            stacklevel=2,
        )
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
            script = any(name.endswith("/constants.pkl") for name in archive.namelist())
        content = None if script else torch.load(path, map_location="cpu", weights_only=True)
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
    if script:
        raise ValueError(
            f"{path} holds a TorchScript model, not a checkpoint: torch.jit.load reads it"
        )
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
    here = unwrap(model).state_dict()
    for name in [*saved, *here]:
        one, other = _form(saved, name), _form(here, name)
        anything = name.endswith("_extra_state") and name in saved and name in here
        if one != other and not anything:
            raise ValueError(
                f"{path} belongs to another model: under {name!r} it has {one}, and this model {other}."
                " Build the model as it was when the checkpoint was saved"
            )


def _form(state: dict[str, Any], name: str) -> object:
    value = state.get(name, "nothing")
    return tuple(value.shape) if isinstance(value, torch.Tensor) else value


def _check_optimizer(saved: dict[str, Any], optimizer: Optimizer, path: str | Path) -> None:
    """ValueError where the saved optimizer held other groups of parameters, or was of another kind."""
    forms = []
    for groups in (saved["param_groups"], optimizer.state_dict()["param_groups"]):
        kinds = [group.get("decoupled_weight_decay") for group in groups]  # Adam or AdamW
        forms.append(
            ([len(group["params"]) for group in groups], set(groups[0]) - SCHEDULED, kinds)
        )
    if forms[0] != forms[1]:
        raise ValueError(
            f"{path} belongs to another optimizer: it has groups of {forms[0][0]} parameters, this one of"
            f" {forms[1][0]}, or other settings. Build the optimizer as it was when it was saved"
        )


def random_state() -> dict[str, Any]:
    """Return the states of Python's, NumPy's and PyTorch's global generators, with those of CUDA where it is in use."""
    version, numbers, spare = random.getstate()
    kind, keys, place, has_spare, gauss = np.random.get_state()
    return {
        "python": (version, list(numbers), spare),
        "numpy": (kind, keys.tolist(), place, has_spare, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put the generators back; those of CUDA only where it is in use, with as many devices as there were."""
    version, numbers, spare = state["python"]
    random.setstate((version, tuple(numbers), spare))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_initialized() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
