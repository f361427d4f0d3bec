"""Tests of `checkpoints`: going on as if nothing had happened, saves that break off, and files that are refused."""

import errno
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import network
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, Dataset, TensorDataset

from dlhelpers.train import (
    EpochResult,
    History,
    accuracy,
    fit,
    load_checkpoint,
    save_checkpoint,
)
from dlhelpers.train.loop import make_scaler

LOSS = nn.CrossEntropyLoss()
CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="this machine has no CUDA device"
)
needs_fork = pytest.mark.skipif(
    sys.platform != "linux", reason="the child process is forked, as on Linux"
)


class Noisy(Dataset):
    """20 samples that PyTorch, NumPy and Python each change at random when asked for."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(20, 5, generator=generator)
        self.labels = torch.randint(3, (20,), generator=generator)
        self.tensors = self.inputs, self.labels

    def __len__(self):
        return 20

    def __getitem__(self, index):
        return self.inputs[index] + torch.rand(
            ()
        ) + np.random.rand() + random.random(), self.labels[index]


def adam(model):
    return torch.optim.AdamW(model.parameters(), lr=0.05)


def disturb():
    """Draw random numbers of every kind, as whatever happens between two sessions would."""
    torch.rand(100), np.random.rand(100), random.random()


def state_of(*parts):
    """Everything that training depends on, as one text."""
    randoms = torch.get_rng_state().tolist(), np.random.get_state()[1:], random.getstate()
    return repr(([_plain(part.state_dict()) for part in parts], _plain(randoms)))


def _plain(value):
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def losses(history):
    return history.to_dict()


# Going on as if nothing had happened

SCHEDULES = {
    "none": None,
    "step": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=12),
    "epoch": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 4),
    "plateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(
        optimizer, patience=0, threshold=9.0
    ),
}


CASES = [(0, seed, schedule) for seed in (None, 7) for schedule in SCHEDULES]


@pytest.mark.parametrize("workers, seed, schedule", [*CASES, (2, None, "step"), (2, 7, "none")])
def test_two_epochs_and_two_resumed_are_bit_equal_to_four(tmp_path, workers, seed, schedule):
    make = SCHEDULES[schedule]

    def start(at):
        model = network(at)
        optimizer = adam(model)
        return model, optimizer, make(optimizer) if make else None

    def train(model, optimizer, scheduler, history, epochs):
        loader = DataLoader(Noisy(), 8, shuffle=True, num_workers=workers)
        return fit(
            model,
            loader,
            LOSS,
            optimizer,
            epochs=epochs,
            valid_loader=DataLoader(Noisy(), 8),
            scheduler=scheduler,
            scheduler_unit="step" if schedule == "step" else "epoch",
            history=history,
            seed=seed,
            metrics={"right": accuracy},
            checkpoint=tmp_path / "run.pt",
            progress=False,
        )

    random.seed(1), np.random.seed(1)
    whole = start(0)
    at_once = train(*whole, None, 4)
    after = state_of(*filter(None, whole))

    random.seed(1), np.random.seed(1)
    train(*start(0), None, 2)
    resumed = start(5)  # other weights, which the checkpoint replaces
    disturb()
    history = load_checkpoint(tmp_path / "run.pt", *resumed[:2], scheduler=resumed[2])
    assert history.epochs == 2 and history.stop_reason is None
    train(*resumed, history, 2)
    assert state_of(*filter(None, resumed)) == after
    assert losses(history) == losses(at_once) and history.epochs == 4
    assert state_of(*filter(None, start(0))) != after


@pytest.mark.parametrize("seed", [None, 7])
def test_an_order_does_not_depend_on_whether_workers_are_old_or_new(tmp_path, seed):
    def train(epochs, persistent, history=None, at=0):
        model = network(at)
        optimizer, workers = adam(model), {"num_workers": 1, "persistent_workers": persistent}
        if history is None:
            random.seed(1), np.random.seed(1)
        else:
            history = load_checkpoint(tmp_path / "run.pt", model, optimizer)
        plain = TensorDataset(*Noisy().tensors)  # workers that live on draw their numbers on
        loaders = [DataLoader(plain, 8, shuffle=True, **workers) for _ in range(2)]
        history = fit(
            model,
            loaders[0],
            LOSS,
            optimizer,
            epochs=epochs,
            valid_loader=loaders[1],
            history=history,
            seed=seed,
            checkpoint=tmp_path / "run.pt",
            progress=False,
        )
        return state_of(model, optimizer), losses(history)

    unbroken = train(4, persistent=False)
    assert train(4, persistent=True) == unbroken
    train(2, persistent=True)
    assert train(2, persistent=True, history=True, at=5) == unbroken


def test_a_scale_that_nobody_takes_is_told(tmp_path):
    model = network()
    history = fit(
        model,
        DataLoader(Noisy(), 8),
        LOSS,
        adam(model),
        epochs=1,
        amp_dtype=torch.float16,
        progress=False,
        checkpoint=tmp_path / "run.pt",
    )
    with pytest.warns(
        UserWarning,
        match="run.pt holds the scale of a float16 scaler: give load_checkpoint and fit",
    ):
        assert losses(load_checkpoint(tmp_path / "run.pt", model)) == losses(history)
    load_checkpoint(tmp_path / "run.pt", model, scaler=make_scaler(CPU, torch.float16))


def test_saving_changes_nothing(tmp_path):
    model = network()
    optimizer = adam(model)
    before = state_of(model, optimizer)
    save_checkpoint(tmp_path / "run.pt", model, optimizer, history=History())
    assert state_of(model, optimizer) == before


def test_float16_goes_on_with_the_scale_it_had(tmp_path):
    def start():
        model = network()
        return (
            model,
            adam(model),
            torch.amp.GradScaler("cpu", init_scale=2.0**20, growth_interval=2),
        )

    def train(model, optimizer, scaler, history, epochs):
        return fit(
            model,
            DataLoader(Noisy(), 8),
            LOSS,
            optimizer,
            epochs=epochs,
            amp_dtype=torch.float16,
            scaler=scaler,
            max_norm=1.0,
            history=history,
            seed=3,
            checkpoint=tmp_path / "run.pt",
            progress=False,
        )

    random.seed(1), np.random.seed(1)
    whole = start()
    train(*whole, None, 4)
    after = state_of(*whole)
    random.seed(1), np.random.seed(1)
    train(*start(), None, 2)
    resumed = start()
    history = load_checkpoint(tmp_path / "run.pt", *resumed[:2], scaler=resumed[2])
    assert resumed[2].get_scale() != 2.0**20
    train(*resumed, history, 2)
    assert state_of(*resumed) == after


@pytest.mark.parametrize("form", [str, Path])
def test_paths_may_be_strings_and_folders_are_made(tmp_path, form):
    path, model = tmp_path / "new" / "folder" / "run.pt", network()
    optimizer = adam(model)
    fit(
        model,
        DataLoader(Noisy(), 8),
        LOSS,
        optimizer,
        epochs=1,
        checkpoint=form(path),
        progress=False,
    )
    assert os.listdir(path.parent) == ["run.pt"]
    fresh = network(3)
    assert load_checkpoint(form(path), fresh).epochs == 1
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), fresh.state_dict().values(), strict=True)
    )


def test_a_history_comes_back_with_all_it_held(tmp_path):
    history, model = History(), network()
    history.add(
        EpochResult(
            "train", 1, 0.1 + 0.2, {"right": 1 / 3}, 20, 3, 2, 1, 1.5, 0.5, 10**10, micro_batches=7
        )
    )
    history.add(EpochResult("valid", 1, float("inf"), complete=False))
    history.stop_reason = "interrupted"
    save_checkpoint(tmp_path / "run.pt", model, adam(model), history=history)
    found = load_checkpoint(tmp_path / "run.pt", model)
    assert list(found) == list(history) and found.interrupted and type(found[0].metrics) is dict


def test_early_stopping_leaves_the_best_epoch_in_a_file_of_its_own(tmp_path):
    model, history = network(), History()
    model[3].p = 0.0
    optimizer = adam(model)
    kept = {}

    def keep_the_best(trained, valid):
        if history.best().epoch == valid.epoch:
            save_checkpoint(tmp_path / "best.pt", model, optimizer, history=history)
            kept.update({name: value.clone() for name, value in model.state_dict().items()})
        return valid.epoch - history.best().epoch >= 2

    fit(
        model,
        DataLoader(Noisy(), 8),
        LOSS,
        optimizer,
        epochs=60,
        valid_loader=DataLoader(Noisy(), 20),
        seed=0,
        history=history,
        on_epoch_end=keep_the_best,
        progress=False,
    )
    best = history.best()
    assert history.epochs == best.epoch + 2 < 60 and history.stop_reason.startswith(
        "on_epoch_end returned True"
    )
    fresh = network(9)
    assert load_checkpoint(tmp_path / "best.pt", fresh).epochs == best.epoch
    assert all(torch.equal(value, kept[name]) for name, value in fresh.state_dict().items())


# Saves that break off


class Breaking:
    """A file that does something after so many bytes, or when it is flushed."""

    def __init__(self, file, after, act):
        self.file, self.left, self.act = file, after, act

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def write(self, data):
        if self.left is not None and len(data) > self.left:
            self.file.write(bytes(data)[: self.left])
            self.file.flush()
            self.act()
        self.left = None if self.left is None else self.left - len(data)
        return self.file.write(data)

    def flush(self):
        self.file.flush()

    def __getattr__(self, name):
        return getattr(self.file, name)


MOMENTS = [0, 1, 100, 5000, 12000, "fsync", "replace"]


def break_at(patch, moment, act):
    """Let a save do `act` at a moment: after a number of bytes, before the disk is asked, or before the renaming."""
    true_open = Path.open

    def breaking(path, mode="r", **options):
        file = true_open(path, mode, **options)
        return Breaking(file, moment, act) if mode == "wb" else file

    if isinstance(moment, int):
        patch.setattr(Path, "open", breaking)
    else:
        patch.setattr(os, moment, lambda *args: act())


def filled(value):
    """A model whose every weight is `value`, its optimizer, and a history of that many epochs."""
    model, history = network(), History()
    for parameter in model.parameters():
        nn.init.constant_(parameter, value)
    for epoch in range(1, value + 1):
        history.add(EpochResult("train", epoch, 1.0, optimizer_steps=3))
    return model, adam(model), history


def save_filled(path, value):
    model, optimizer, history = filled(value)
    save_checkpoint(path, model, optimizer, history=history)


def loaded(path):
    """The number of epochs in a checkpoint, which has to be that in every weight."""
    model, optimizer, _ = filled(0)
    epochs = load_checkpoint(path, model, optimizer).epochs
    assert all((parameter == epochs).all() for parameter in model.parameters())
    return epochs


def killed_at(path, moment):
    break_at(pytest.MonkeyPatch(), moment, lambda: os.kill(os.getpid(), signal.SIGKILL))
    save_filled(path, 2)


def run_child(target, *args):
    child = multiprocessing.get_context("fork").Process(target=target, args=args)
    child.start()
    return child


@needs_fork
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_save_leaves_the_last_good_file(tmp_path, moment):
    path = tmp_path / "run.pt"
    save_filled(path, 1)
    before = path.read_bytes()
    child = run_child(killed_at, path, moment)
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2  # what was begun lies beside it
    assert path.read_bytes() == before and loaded(path) == 1
    save_filled(path, 3)
    assert loaded(path) == 3


def save_for_ever(path):
    for value in range(1, 10**6):
        save_filled(path, value % 50)


@needs_fork
@pytest.mark.parametrize("wait", [0.0, 0.003, 0.007, 0.012, 0.02])
def test_a_process_killed_at_any_time_leaves_a_file_that_loads(tmp_path, wait):
    path = tmp_path / "run.pt"
    child = run_child(save_for_ever, path)
    end = time.monotonic() + 60
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(wait)
    child.kill()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL and 0 <= loaded(path) < 50


def full_disk():
    raise OSError(errno.ENOSPC, "no space left on device")


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("act, kind", [(full_disk, OSError), (interrupt, KeyboardInterrupt)])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("first", [True, False])
def test_a_failed_save_leaves_no_temporary_file(tmp_path, monkeypatch, moment, act, kind, first):
    path = tmp_path / "run.pt"
    if not first:
        save_filled(path, 1)
    before = [(file.name, file.read_bytes()) for file in tmp_path.iterdir()]
    model, optimizer, history = filled(2)
    with monkeypatch.context() as patch, pytest.raises(kind):
        break_at(patch, moment, act)
        save_checkpoint(path, model, optimizer, history=history)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == before
    save_checkpoint(path, model, optimizer, history=history)
    assert loaded(path) == 2


def test_a_target_that_is_a_folder_is_refused_and_left_as_it_was(tmp_path):
    (tmp_path / "run.pt").mkdir()
    with pytest.raises(OSError):
        save_filled(tmp_path / "run.pt", 1)
    assert os.listdir(tmp_path) == ["run.pt"] and os.listdir(tmp_path / "run.pt") == []


def untrainable():
    """Batches that must not be asked for."""
    raise AssertionError("training began")
    yield


@pytest.mark.parametrize(
    "blocked, kind, words",
    [
        (
            "a folder",
            IsADirectoryError,
            r"run.pt is a folder: expected the name of a file, as .*run.pt.run.pt",
        ),
        ("a file in place of its folder", OSError, "run.pt"),
    ],
)
def test_fit_finds_a_checkpoint_that_cannot_be_written_before_it_trains(
    tmp_path, blocked, kind, words
):
    path, model = tmp_path / "run.pt", network()
    if blocked == "a folder":
        path.mkdir()
    else:
        path.write_text("in the way")
        path = path / "run.pt"
    before = os.listdir(tmp_path)
    with pytest.raises(kind, match=words):
        fit(model, untrainable(), LOSS, adam(model), epochs=1, checkpoint=path, progress=False)
    assert os.listdir(tmp_path) == before


def test_fit_asks_whether_a_folder_lets_it_write_before_it_trains(tmp_path, monkeypatch):
    model = network()
    monkeypatch.setattr(os, "access", lambda path, how: False)  # root may write everywhere
    with pytest.raises(PermissionError, match="lets nobody write: choose another folder"):
        path = tmp_path / "run.pt"
        fit(model, untrainable(), LOSS, adam(model), epochs=1, checkpoint=path, progress=False)


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    model, loader = network(), DataLoader(Noisy(), 8)
    fit(model, loader, LOSS, adam(model), epochs=1, checkpoint="~/runs/x.pt", progress=False)
    assert (tmp_path / "home/runs/x.pt").is_file() and os.listdir(tmp_path) == ["home"]
    assert load_checkpoint("~/runs/x.pt", network()).epochs == 1


def test_the_epoch_after_which_on_epoch_end_stops_is_in_the_checkpoint(tmp_path):
    model, path, seen = network(), tmp_path / "run.pt", []

    def stop(trained, valid):
        seen.append(load_checkpoint(path, network(3)).epochs)
        return trained.epoch == 2

    options = {"checkpoint": path, "on_epoch_end": stop, "progress": False}
    history = fit(model, DataLoader(Noisy(), 8), LOSS, adam(model), epochs=5, **options)
    assert seen == [1, 2] and history.epochs == 2
    assert load_checkpoint(path, network(3)).epochs == 2


def test_a_torchscript_file_is_no_checkpoint(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is being given up
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "script.pt")
        refuse(ValueError, "or no checkpoint", tmp_path / "script.pt")


def test_the_door_of_fit_leaves_an_older_checkpoint_and_no_file_of_its_own(tmp_path):
    path, model = tmp_path / "run.pt", network()
    save_filled(path, 1)
    with pytest.raises(AssertionError, match="training began"):
        fit(model, untrainable(), LOSS, adam(model), epochs=1, checkpoint=path, progress=False)
    assert loaded(path) == 1 and os.listdir(tmp_path) == ["run.pt"]


def test_a_full_disk_during_training_keeps_history_and_file(tmp_path, monkeypatch):
    path, model, history = tmp_path / "run.pt", network(), History()
    optimizer, loader = adam(model), DataLoader(Noisy(), 8)
    fit(model, loader, LOSS, optimizer, epochs=1, history=history, checkpoint=path, progress=False)
    break_at(monkeypatch, 5000, full_disk)
    with pytest.raises(OSError, match="the disk is full .free some space.*run.pt"):
        fit(
            model,
            loader,
            LOSS,
            optimizer,
            epochs=3,
            history=history,
            checkpoint=path,
            progress=False,
        )
    assert (
        history.epochs == 2
        and load_checkpoint(path, network()).epochs == 1
        and os.listdir(tmp_path) == ["run.pt"]
    )


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_while_saving_is_an_interrupt_of_the_training(tmp_path, monkeypatch, moment):
    path, model = tmp_path / "run.pt", network()
    optimizer, loader = adam(model), DataLoader(Noisy(), 8)
    history = fit(model, loader, LOSS, optimizer, epochs=1, checkpoint=path, progress=False)
    with monkeypatch.context() as patch:
        break_at(patch, moment, interrupt)
        fit(
            model,
            loader,
            LOSS,
            optimizer,
            epochs=3,
            history=history,
            checkpoint=path,
            progress=False,
        )
    assert history.interrupted and history.epochs == 2
    assert load_checkpoint(path, network()).epochs == 1 and os.listdir(tmp_path) == ["run.pt"]


def test_what_could_not_be_loaded_again_is_not_saved(tmp_path):
    path, model = tmp_path / "run.pt", network()
    save_filled(path, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=np.float64(0.1))
    with pytest.raises(
        TypeError,
        match=r"would hold .*numpy.* could not be loaded again: use plain numbers.*float\(lr\)",
    ):
        save_checkpoint(path, model, optimizer, history=History())
    assert loaded(path) == 1 and os.listdir(tmp_path) == ["run.pt"]


# Files that are refused


class Code:
    """What runs code when it is unpickled without care."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def refuse(kind, text, path, **parts):
    """Loading raises by name, and changes neither the given parts nor any random state."""
    given = {"model": network(4), **parts}
    if "optimizer" not in given:
        given["optimizer"] = adam(given["model"])
    before = state_of(*given.values())
    with pytest.raises(kind, match=text) as caught:
        load_checkpoint(path, **given)
    assert str(path) in str(caught.value) and state_of(*given.values()) == before


@pytest.fixture
def good(tmp_path):
    """A checkpoint of an AdamW run with a scheduler, and without a scaler."""
    model, history = network(), History()
    optimizer = adam(model)
    fit(
        model,
        DataLoader(Noisy(), 8),
        LOSS,
        optimizer,
        epochs=1,
        scheduler=lr_scheduler.StepLR(optimizer, 1),
        history=history,
        checkpoint=tmp_path / "good.pt",
        progress=False,
    )
    disturb()
    return tmp_path / "good.pt"


OTHER_MODELS = {
    "another shape": (
        lambda: network(hidden=9),
        r"under '0.weight' it has \(8, 5\), and this model \(9, 5\)",
    ),
    "a layer less": (
        lambda: network()[:4],
        r"under '4.weight' it has \(3, 8\), and this model nothing",
    ),
    "a layer more": (
        lambda: network().append(nn.Linear(3, 2)),
        r"under '5.weight' it has nothing, and this model \(2, 3",
    ),
    "another name": (
        lambda: nn.ModuleDict({"one": network()}),
        r"under '0.weight' it has .*nothing",
    ),
}


@pytest.mark.parametrize("name", OTHER_MODELS)
def test_another_model_is_refused_by_its_first_difference(good, name):
    make, text = OTHER_MODELS[name]
    refuse(
        ValueError,
        f"belongs to another model: {text}.*Build the model as it was",
        good,
        model=make(),
    )


class WithState(nn.Linear):
    """A layer whose own state, of any kind, goes into the checkpoint."""

    def __init__(self, state):
        super().__init__(2, 2)
        self.state = state

    def get_extra_state(self):
        return self.state

    def set_extra_state(self, state):
        self.state = state


def test_a_state_of_a_models_own_comes_back_whatever_kind_it_had_before(tmp_path):
    path, model, fresh = tmp_path / "run.pt", WithState({"steps": 3}), WithState({"steps": 0})
    save_checkpoint(path, model, adam(model), history=History())
    load_checkpoint(path, fresh)
    assert fresh.state == {"steps": 3} and torch.equal(fresh.weight, model.weight)
    load_checkpoint(path, unused := WithState(None))
    assert unused.state == {"steps": 3}


OTHER_OPTIMIZERS = {
    "SGD": lambda model: torch.optim.SGD(model.parameters(), lr=0.1),
    "Adam": lambda model: torch.optim.Adam(model.parameters()),  # which would become AdamW
    "Adamax": lambda model: torch.optim.Adamax(model.parameters()),
    "two groups": lambda model: torch.optim.AdamW(
        [{"params": model[0].parameters()}, {"params": model[4].parameters()}]
    ),
    "fewer parameters": lambda model: torch.optim.AdamW(model[0].parameters()),
}


@pytest.mark.parametrize("name", OTHER_OPTIMIZERS)
def test_another_optimizer_is_refused(good, name):
    model = network(4)
    refuse(
        ValueError,
        "belongs to another optimizer than this .*Build it as it was",
        good,
        model=model,
        optimizer=OTHER_OPTIMIZERS[name](model),
    )


@pytest.mark.parametrize("name", ["step", "epoch", "plateau", "swa"])
def test_the_scheduler_may_be_left_behind_or_come_later(tmp_path, name):
    make = {**SCHEDULES, "swa": lambda optimizer: torch.optim.swa_utils.SWALR(optimizer, 0.1)}[name]
    model = network()
    with_scheduler, without = adam(model), adam(model)
    make(with_scheduler)
    for saved, here in ((with_scheduler, without), (adam(model), with_scheduler)):
        save_checkpoint(tmp_path / "run.pt", model, saved, history=History())
        assert load_checkpoint(tmp_path / "run.pt", model, here).epochs == 0


def test_another_scheduler_is_refused(good):
    model = network(4)
    optimizer = adam(model)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 4)
    refuse(
        ValueError,
        "belongs to another scheduler than this CosineAnnealingLR",
        good,
        model=model,
        optimizer=optimizer,
        scheduler=scheduler,
    )


def test_a_part_that_was_not_saved_is_refused(good, tmp_path):
    scaler = make_scaler(CPU, torch.float16)
    refuse(
        ValueError,
        "saved without a scaler: leave out scaler=, or start it afresh",
        good,
        scaler=scaler,
    )
    save_filled(tmp_path / "bare.pt", 1)
    model = network(4)
    optimizer = adam(model)
    refuse(
        ValueError,
        "saved without a scheduler",
        tmp_path / "bare.pt",
        model=model,
        optimizer=optimizer,
        scheduler=lr_scheduler.StepLR(optimizer, 1),
    )


def test_an_idle_scaler_needs_no_state(good):
    assert load_checkpoint(good, network(), scaler=make_scaler(CPU, None)).epochs == 1


def test_a_file_cut_short_is_refused_at_every_length(good, tmp_path):
    whole, path = good.read_bytes(), tmp_path / "short.pt"
    for length in [*range(8), *range(8, len(whole), len(whole) // 40), len(whole) - 1]:
        path.write_bytes(whole[:length])
        refuse(ValueError, "is cut short or damaged, .*: take an older checkpoint", path)


def test_a_file_has_the_permissions_of_any_other_and_one_that_may_not_be_read_is_not_called_damaged(
    good, monkeypatch
):
    (good.parent / "any.txt").touch()
    assert good.stat().st_mode == (good.parent / "any.txt").stat().st_mode

    def closed(path, *arguments):
        raise PermissionError(errno.EACCES, "not yours", str(path))

    monkeypatch.setattr(Path, "open", closed)
    refuse(PermissionError, "not yours", good)


def test_a_damaged_byte_is_refused_or_changes_nothing_that_is_read(good, tmp_path):
    whole, path, generator = good.read_bytes(), tmp_path / "damaged.pt", random.Random(0)
    expected, refused = network(), 0
    load_checkpoint(good, expected)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        model = network(4)
        try:
            load_checkpoint(path, model)
        except ValueError as error:
            refused += 1
            assert "damaged.pt" in str(error)
        else:  # in what only fills the archive up
            pairs = zip(model.state_dict().values(), expected.state_dict().values(), strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)
    assert refused > 30


def write_code_in_a_checkpoint(path, target):
    content = torch.load(path, weights_only=True)
    torch.save({**content, "history": Code(target)}, path)


CODE = {
    "a pickle": lambda path, target: path.write_bytes(pickle.dumps(Code(target))),
    "a file of torch.save": lambda path, target: torch.save({"model": Code(target)}, path),
    "an old file of torch.save": lambda path, target: torch.save(
        Code(target), path, _use_new_zipfile_serialization=False
    ),
    "a checkpoint": write_code_in_a_checkpoint,
}


@pytest.mark.parametrize("name", CODE)
def test_code_in_a_file_is_refused_and_not_run(good, tmp_path, name):
    path, target = tmp_path / "code.pt", tmp_path / "made-by-the-code"
    shutil.copy(good, path)
    CODE[name](path, target)
    refuse(
        ValueError,
        "more than tensors and plain values, and could run code .*: not loaded|or no checkpoint",
        path,
    )
    assert not target.exists()
    pickle.loads(pickle.dumps(Code(target)))
    assert target.is_dir()  # where it is read without care it does run


def test_whole_models_are_not_unpickled(tmp_path):
    torch.save(network(), tmp_path / "model.pt")
    refuse(
        ValueError,
        "could run code when it is read: not loaded. Expected a file written by",
        tmp_path / "model.pt",
    )


OTHER_FILES = {
    "weights alone": lambda good: network().state_dict(),
    "a tensor": lambda good: torch.zeros(3),
    "another format": lambda good: {
        **torch.load(good, weights_only=True),
        "format": "something else",
    },
    "a part missing": lambda good: {
        k: v for k, v in torch.load(good, weights_only=True).items() if k != "random"
    },
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_a_file_that_is_no_checkpoint_is_refused(good, tmp_path, name):
    torch.save(OTHER_FILES[name](good), tmp_path / "other.pt")
    refuse(
        ValueError,
        "is no checkpoint of this course: expected a file written by save",
        tmp_path / "other.pt",
    )


@pytest.mark.parametrize("name", ["missing.pt", ".", "no/such/folder.pt"])
def test_a_missing_file_is_refused(tmp_path, name):
    refuse(
        (FileNotFoundError, IsADirectoryError),
        "No such file|Is a directory",
        tmp_path / name,
    )


# On an accelerator


@pytest.mark.gpu
@needs_gpu
def test_a_checkpoint_of_the_accelerator_goes_on_there_and_on_a_cpu(tmp_path):
    def start(device):
        model = network().to(device)
        return model, adam(model)

    def train(model, optimizer, history, epochs):
        return fit(
            model,
            DataLoader(Noisy(), 8, shuffle=True),
            LOSS,
            optimizer,
            epochs=epochs,
            history=history,
            checkpoint=tmp_path / "run.pt",
            seed=1,
            progress=False,
        )

    random.seed(1), np.random.seed(1)
    whole = start("cuda")
    at_once = train(*whole, None, 4)
    random.seed(1), np.random.seed(1)
    trained = start("cuda")
    train(*trained, None, 2)
    shutil.copy(tmp_path / "run.pt", tmp_path / "two.pt")

    there = start("cuda")
    torch.rand(9, device="cuda")
    history = train(*there, load_checkpoint(tmp_path / "two.pt", *there), 2)
    assert history.column("train_loss") == pytest.approx(at_once.column("train_loss"), rel=1e-4)

    model, optimizer = start("cpu")
    history = load_checkpoint(tmp_path / "two.pt", model, optimizer)
    assert history.epochs == 2 and all(p.device.type == "cpu" for p in model.parameters())
    for mine, theirs in zip(
        model.state_dict().values(), trained[0].state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs.cpu())
    moments = [v for state in optimizer.state.values() for v in state.values()]
    assert moments and all(value.device.type == "cpu" for value in moments)
    assert train(model, optimizer, history, 1).epochs == 3
