"""Save a training run at the end of an epoch, and go on from there as if it had never stopped.

A checkpoint holds tensors and plain values only, and is loaded with weights_only=True, so it cannot run code. It is
written beside its target and moved there at once: a crash leaves the old file or the new one. Resuming in the middle
of an epoch is left to the lessons about streams.
"""

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
from dlhelpers.base.whole_files import write_whole
from dlhelpers.train.history import History
from dlhelpers.train.ranks import current, unwrap

FORMAT = "dlhelpers checkpoint, version 2"


def check_target(path: str | Path) -> Path:
    """Return the path of a checkpoint, `~` being the home folder, its folder made.

    Raises OSError for a folder, or where none can be made.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder: expected the name of a file, as {path / 'run.pt'}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
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
        "history": history.state_dict(),
        "random": random_state(),
    }
    for name, part in _with_state(optimizer, scheduler, scaler).items():
        content[name] = (_form(part), part.state_dict())
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
    holds the first one's random state, which all take: with a seed they draw different numbers again. A run in
    float16 goes on with the scale it had where both this function and `fit` get one `scaler`. A warning tells of other
    numbers of ranks.
    """
    path = Path(path).expanduser()
    content = _read(path)
    saved, here = _shapes(content["model"]), _shapes(unwrap(model).state_dict())
    for name in [*saved, *here]:
        one, other = saved.get(name, "nothing"), here.get(name, "nothing")
        if one != other:
            raise ValueError(
                f"{path} belongs to another model: under {name!r} it has {one}, and this model {other}."
                " Build the model as it was when the checkpoint was saved"
            )
    given = _with_state(optimizer, scheduler, scaler)
    for name, part in given.items():
        form = content.get(name, ["none"])[0]
        if form != _form(part):
            raise ValueError(
                f"{path} belongs to another {name}: it has {form}, and this one is {_form(part)}. Build it as it was"
                f" when the checkpoint was saved, or leave out {name}="
            )
    before, now = content["ranks"], current().world
    if before != now:
        warnings.warn(
            f"{path} was saved by {before} rank(s), and {now} go on. Model, optimizer and history are whole, but with"
            f" the same batch_size a step takes {now / before:g} times the samples: learning rate and a scheduler that"
            " counts steps may no longer fit. batch_size x ranks should stay what it was",
            stacklevel=2,
        )
    unwrap(model).load_state_dict(content["model"])
    for name, part in given.items():
        part.load_state_dict(content[name][1])
    set_random_state(content["random"])
    return History.from_state_dict(content["history"])


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no checkpoint {path}: check the name; fit(..., checkpoint=path) writes one"
        )
    with path.open("rb") as file:
        try:
            damaged = zipfile.ZipFile(file).testzip()  # torch.load does not look at the checksums
            file.seek(0)
            content = torch.load(file, map_location="cpu", weights_only=True)
            if damaged or content["format"] != FORMAT:
                raise ValueError(damaged)
            return content
        except Exception as error:  # zipfile, pickle and torch each raise their own
            raise ValueError(
                f"{path} is no checkpoint of this course, or one that is cut short or damaged, or it holds more than"
                " tensors and plain values, and could run code when it is read: not loaded. Expected a file written by"
                " save_checkpoint; take an older one"
            ) from error


def _shapes(state: dict[str, Any]) -> dict[str, tuple]:
    """The shape under each name of a model's state; that of another value is ()."""
    return {name: tuple(getattr(value, "shape", ())) for name, value in state.items()}


def _with_state(optimizer: Any, scheduler: Any, scaler: Any) -> dict[str, Any]:
    """The parts that were given, by name; an idle scaler has no state, and is left out."""
    parts = {"optimizer": optimizer, "scheduler": scheduler, "scaler": scaler}
    return {name: part for name, part in parts.items() if part is not None and part.state_dict()}


def _form(part: Any) -> str:
    """What two optimizers, schedulers or scalers must have in common, for one to take the state of the other."""
    sizes = [len(group["params"]) for group in part.state_dict().get("param_groups", ())]
    return f"{type(part).__name__} of {sizes} parameters" if sizes else type(part).__name__


def random_state() -> dict[str, Any]:
    """Return the states of Python's, NumPy's and PyTorch's global generators, with those of CUDA where it is in use."""
    kind, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put the generators back; those of CUDA only where it is in use, with as many devices as there were."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_initialized() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
