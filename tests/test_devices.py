"""Tests of `devices`: which device is picked, how a batch gets there, what a seed fixes."""

import random
from collections import namedtuple

import numpy as np
import pytest
import torch

from dlhelpers.machine import (
    describe_machine,
    devices,
    loader_options,
    move,
    pick_amp_dtype,
    pick_device,
    seed_everything,
    synchronize,
)

Pair = namedtuple("Pair", "image label")


@pytest.fixture(autouse=True)
def no_wish_from_outside(monkeypatch):
    monkeypatch.delenv("DLHELPERS_DEVICE", raising=False)


def pretend(monkeypatch, count):
    """Make PyTorch report `count` CUDA devices; nothing is ever put on them."""
    device = torch.device("cuda") if count else None
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: device)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)


def test_the_variable_beats_the_accelerator_and_the_argument_beats_both(monkeypatch):
    pretend(monkeypatch, 2)
    assert pick_device() == torch.device("cuda")
    monkeypatch.setenv("DLHELPERS_DEVICE", "cpu")
    assert pick_device() == torch.device("cpu")
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="'cuda:2' is not here.* offers cpu, cuda, cuda:0, cuda:1"):
        pick_device("cuda:2")


def test_an_absent_kind_of_device_is_refused_with_what_there_is(monkeypatch):
    pretend(monkeypatch, 0)
    assert pick_device() == torch.device("cpu") and pick_amp_dtype("cpu") is None
    told = "'cuda' is not here: this machine offers cpu. Give no `prefer`"
    with pytest.raises(ValueError, match=told):
        pick_device("cuda")
    monkeypatch.setenv("DLHELPERS_DEVICE", "mps")
    with pytest.raises(ValueError, match="'mps' is not here.*no variable DLHELPERS_DEVICE"):
        pick_device()


@pytest.mark.parametrize("native, dtype", [(True, torch.bfloat16), (False, torch.float16)])
def test_an_emulated_bfloat16_does_not_count(monkeypatch, native, dtype):
    def supported(including_emulation=True):
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert pick_amp_dtype("cuda") is dtype


def test_move_reaches_every_tensor_and_keeps_every_form():
    one = torch.zeros(2)
    batch = {"list": [one, one], "pair": Pair(one, 3), "words": {"a": (one, "name")}}
    # PyTorch's device without data: a real change of device on any machine
    there = move(batch, "meta")
    assert repr(there) == repr(batch).replace("tensor([0., 0.])", repr(one.to("meta")))
    assert batch["list"][0].device.type == "cpu"
    own = type("Fields", (dict,), {})(image=one)  # a tree of PyTorch's own would take it for a leaf
    assert move(own, "meta")["image"].is_meta


@pytest.mark.parametrize(
    "pinned, device, expected", [(True, "cuda", True), (False, "cuda", False), (True, "mps", False)]
)
def test_only_pinned_memory_to_cuda_is_copied_without_waiting(
    monkeypatch, pinned, device, expected
):
    asked = {}
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self: pinned)
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, device, non_blocking: asked.update(wait=not non_blocking)
    )
    move(torch.zeros(1), device)
    assert asked == {"wait": not expected}


def test_a_seed_fixes_python_numpy_and_torch():
    draws = []
    for seed in (7, 7, 8):
        seed_everything(seed)
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert draws[0] == draws[1] and not set(draws[0]) & set(draws[2])


def test_loader_options_are_accepted_by_a_dataloader_and_need_no_worker_on_a_cpu():
    options = loader_options("cpu")
    loader = torch.utils.data.DataLoader(range(3), **options)
    assert loader.num_workers == 0 and loader.pin_memory is False and len(list(loader)) == 3


def test_workers_stay_away_where_processes_are_spawned(monkeypatch):
    monkeypatch.setattr(devices, "get_all_start_methods", lambda: ["forkserver", "fork"])
    assert loader_options("cuda") == {
        "num_workers": 0,
        "pin_memory": True,
        "persistent_workers": False,
    }


def test_describe_machine_names_device_and_version():
    rows = dict((row[0], row[1]) for row in describe_machine().rows)
    assert rows["device"].startswith(str(pick_device())) and rows["torch"] == torch.__version__


@pytest.mark.gpu
def test_a_pinned_batch_arrives_whole_on_the_accelerator():
    batch = torch.randn(1000).pin_memory()
    there = move((batch, batch), "cuda")
    synchronize("cuda")
    assert torch.equal(there[0].cpu(), batch) and there[1].device.type == "cuda"
