"""Tests of `checkpoints`: going on as if nothing had happened, saves that break off, and files that are refused."""

import json
import multiprocessing
import os
import random
import signal
import sys

import numpy as np
import pytest
import torch
from small_runs import LOSS, batches, network, run, same, weights
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, Dataset

from dlhelpers.train import History, accuracy, fit, load_checkpoint, save_checkpoint


class Noisy(Dataset):
    """20 samples that PyTorch, NumPy and Python each change at random when asked for."""

    def __init__(self):
        self.tensors = batches().dataset.tensors

    def __len__(self):
        return 20

    def __getitem__(self, index):
        noise = torch.rand(()) + np.random.rand() + random.random()
        return self.tensors[0][index] + noise, self.tensors[1][index]


def adam(model):
    return torch.optim.AdamW(model.parameters(), lr=0.05)


def seed_all():
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def state_of(*parts):
    """Everything that training depends on, as one text."""
    randoms = torch.get_rng_state(), np.random.get_state(), random.getstate()
    states = [part.state_dict() for part in parts]
    return json.dumps([states, randoms], default=lambda value: value.tolist())


# Going on as if nothing had happened

SCHEDULES = {
    "none": None,
    "step": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=12),
    "epoch": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 4),
    "plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=9.0),
}
CASES = [
    ("step", 7, 0, False),
    ("epoch", None, 0, False),
    ("plateau", 7, 0, False),
    ("none", None, 1, True),
]


@pytest.mark.parametrize("schedule, seed, workers, float16", CASES)
def test_two_epochs_and_two_resumed_are_bit_equal_to_four(
    tmp_path, schedule, seed, workers, float16
):
    path = tmp_path / "run.pt"

    def start(weights):
        model = network(weights)
        parts = {"model": model, "optimizer": adam(model)}
        if float16:  # so high a scale that steps are skipped
            parts["scaler"] = torch.amp.GradScaler("cpu", init_scale=2.0**24, growth_interval=2)
        if make := SCHEDULES[schedule]:
            parts["scheduler"] = make(parts["optimizer"])
        return parts

    def train(parts, history, epochs):
        return fit(
            train_loader=DataLoader(Noisy(), 8, shuffle=True, num_workers=workers),
            loss_fn=LOSS,
            epochs=epochs,
            valid_loader=DataLoader(Noisy(), 8),
            scheduler_unit="step" if schedule == "step" else "epoch",
            amp_dtype=torch.float16 if float16 else None,
            history=history,
            seed=seed,
            metrics={"right": accuracy},
            checkpoint=path,
            progress=False,
            **parts,
        )

    seed_all()
    whole = start(0)
    at_once = train(whole, None, 4)
    after = state_of(*whole.values())
    seed_all()
    train(start(0), None, 2)
    resumed = start(5)  # other weights, which the checkpoint replaces
    torch.rand(100), np.random.rand(100), random.random()  # what happens in between
    history = load_checkpoint(path, **resumed)
    assert history.epochs == 2 and history.stop_reason is None
    assert not float16 or resumed["scaler"].get_scale() != 2.0**24
    train(resumed, history, 2)
    assert state_of(*resumed.values()) == after
    assert history.to_dict() == at_once.to_dict() and history.epochs == 4


def test_an_order_does_not_depend_on_whether_workers_are_old_or_new():
    def trained(persistent):
        seed_all()
        model, workers = network(), {"num_workers": 1, "persistent_workers": persistent}
        # Plain samples: workers that live on draw their own numbers on.
        loaders = [batches(shuffle=True, **workers) for _ in range(2)]
        history = run(model, loaders[0], epochs=3, valid_loader=loaders[1], seed=7)
        return state_of(model), history.to_dict()

    assert trained(persistent=True) == trained(persistent=False)


def test_paths_may_be_strings_and_a_tilde_is_the_home_folder_which_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    model, fresh = network(), network(3)
    run(model, batches(), checkpoint="~/runs/x.pt")
    assert os.listdir(tmp_path) == ["home"] and os.listdir(tmp_path / "home/runs") == ["x.pt"]
    assert load_checkpoint("~/runs/x.pt", fresh).epochs == 1
    assert same(weights(fresh), weights(model))


# Saves that break off


@pytest.fixture
def good(tmp_path):
    """A checkpoint of an AdamW run with a scheduler, and without a scaler."""
    model, path = network(), tmp_path / "good.pt"
    optimizer = adam(model)
    scheduler = lr_scheduler.StepLR(optimizer, 1)
    run(model, batches(), LOSS, optimizer, scheduler=scheduler, checkpoint=path)
    torch.rand(9)
    return path


class Kills:
    """Kills its process in the middle of a save: when it is pickled."""

    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)


def save(path, **of_the_optimizer):
    """Save other weights than `good` has, with something in the state of the optimizer."""
    model = network(3)
    optimizer = adam(model)
    optimizer.param_groups[0].update(of_the_optimizer)
    save_checkpoint(path, model, optimizer, history=History())


@pytest.mark.skipif(sys.platform != "linux", reason="the child is forked, as on Linux")
def test_a_killed_save_leaves_the_last_good_file(good):
    before = good.read_bytes()
    fork = multiprocessing.get_context("fork")
    killed = fork.Process(target=save, args=(good,), kwargs={"act": Kills()})
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL and good.read_bytes() == before
    save(good)
    assert load_checkpoint(good, network()).epochs == 0 and os.listdir(good.parent) == ["good.pt"]


def test_what_could_not_be_loaded_again_is_not_saved(good):
    before = good.read_bytes()
    with pytest.raises(TypeError, match=r"would hold .*numpy.* use plain numbers.*float\(lr\)"):
        save(good, lr=np.float64(0.1))
    assert good.read_bytes() == before and os.listdir(good.parent) == ["good.pt"]


def test_fit_finds_a_checkpoint_that_cannot_be_written_before_it_trains(tmp_path):
    model, before = network(), weights(network())
    words = f"{tmp_path} is a folder: expected the name of a file, as .*run.pt"
    with pytest.raises(IsADirectoryError, match=words):
        run(model, batches(), checkpoint=tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        run(model, batches(), checkpoint=tmp_path / "file/run.pt")
    assert same(weights(model), before)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a disk that is full")
def test_a_full_disk_during_training_keeps_history_and_file(tmp_path):
    path, history = tmp_path / "run.pt", History()

    def fill(trained, valid):
        (tmp_path / "run.pt.part").symlink_to("/dev/full")  # where the next one is written

    with pytest.raises(OSError, match="the disk is full .free some space.*run.pt"):
        run(network(), batches(), epochs=3, history=history, checkpoint=path, on_epoch_end=fill)
    assert history.epochs == 2 and load_checkpoint(path, network()).epochs == 1
    assert os.listdir(tmp_path) == ["run.pt"]


# Files that are refused


class Code:
    """What runs code when it is unpickled without care."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def refuse(text, path, kind=ValueError, **parts):
    """Loading raises by name, and changes neither the given parts nor any random state."""
    given = {"model": network(4), **parts}
    before = state_of(*given.values())
    with pytest.raises(kind, match=text) as caught:
        load_checkpoint(path, **given)
    assert str(path) in str(caught.value) and state_of(*given.values()) == before


ANOTHER = {
    r"model: under '0.weight' it has \(8, 5\), and this model \(9, 5\).*Build": network(hidden=9),
    r"model: under '4.weight' it has \(3, 8\), and this model nothing": network()[:4],
    "optimizer: it has AdamW of .6. param.*is Adam of": torch.optim.Adam(network().parameters()),
    "optimizer: it has AdamW of .6. parameters.*leave out optimizer=": adam(network()[0]),
    "scheduler: it has StepLR, .* CosineA": lr_scheduler.CosineAnnealingLR(adam(network()), 4),
    "scaler: it has none": torch.amp.GradScaler("cpu"),
}


@pytest.mark.parametrize("text", ANOTHER)
def test_another_part_is_refused_by_its_difference(good, text):
    refuse(f"belongs to another {text}", good, **{text.partition(":")[0]: ANOTHER[text]})


def test_an_idle_scaler_is_none(good):
    idle = torch.amp.GradScaler("cpu", enabled=False)
    assert load_checkpoint(good, network(), scaler=idle).epochs == 1


REFUSED = "no checkpoint of this course, or one that is cut short or damaged, or it holds more than"


def test_a_file_cut_short_or_with_a_wrong_bit_is_refused(good):
    whole, path, model = good.read_bytes(), good.with_name("bad.pt"), network(4)
    cuts = [*range(0, len(whole), len(whole) // 6), len(whole) - 1]
    load_checkpoint(good, model)
    place = whole.index(model[0].weight.detach().numpy().tobytes())
    wrong = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    for content in [*(whole[:length] for length in cuts), wrong]:
        path.write_bytes(content)
        refuse(REFUSED, path)


def test_code_in_a_file_is_refused_and_not_run(good, tmp_path):
    path, target = tmp_path / "code.pt", tmp_path / "made-by-the-code"
    torch.save(torch.load(good, weights_only=True) | {"history": Code(target)}, path)
    refuse(REFUSED, path)
    assert not target.exists()
    torch.load(path, weights_only=False)
    assert target.is_dir()  # where it is read without care it does run


def test_what_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    refuse(r"there is no checkpoint .*check the name", path, FileNotFoundError)
    torch.save(network().state_dict(), path)
    refuse(REFUSED, path)


# On an accelerator


@pytest.mark.gpu
def test_a_checkpoint_of_the_accelerator_goes_on_on_a_cpu(tmp_path):
    path, trained = tmp_path / "run.pt", network().cuda()
    run(trained, batches(), LOSS, adam(trained), epochs=2, checkpoint=path)
    model = network()
    optimizer = adam(model)
    history = load_checkpoint(path, model, optimizer)
    assert same(weights(model), [w.cpu() for w in weights(trained)])
    assert run(model, batches(), LOSS, optimizer, history=history).epochs == 3
