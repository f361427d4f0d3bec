"""The pretended CUDA sees the mistakes that it is for, and what the course runs on a CPU makes none of them."""

import os
import subprocess
import sys
from functools import partial
from multiprocessing import get_context

import pytest
import torch
from long_cases import only_full
from pretended_cuda import POSSIBLE, pretended_cuda, switched_on
from run_notebooks import ROOT
from small_runs import LOSS, batches, network, run

from dlhelpers.machine import pick_device, run_limited
from dlhelpers.machine.memory import peak_memory, release_memory
from dlhelpers.train import load_checkpoint

CPU = torch.device("cpu")
MB = 1_000_000
pytestmark = pytest.mark.skipif(
    not POSSIBLE, reason="pretends a GPU: needs PyTorch built for CUDA, and no GPU"
)
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.fixture(autouse=True)
def cuda():
    with pretended_cuda():
        yield


def step():
    weight = torch.zeros(1, requires_grad=True)
    weight.sum().backward()
    torch.optim.Adam([weight]).step()


# ---- broken code in miniature fails ----


@forks
@pytest.mark.filterwarnings("ignore:.*may lead to deadlocks")
@pytest.mark.parametrize("function", [step, partial(torch.zeros, 1, device="cuda")])
def test_a_forked_child_that_asks_cuda_for_anything_fails(function):
    assert torch.cuda.is_available() and torch.accelerator.device_count() == 1
    with get_context("fork").Pool(1) as pool:
        with pytest.raises(RuntimeError, match="^Cannot re-initialize CUDA in forked subprocess"):
            pool.apply(function)


# ---- ours does not ----


def test_a_training_on_the_cpu_its_checkpoint_and_its_memory(tmp_path):
    model, path = network(), tmp_path / "run.pt"
    optimizer = torch.optim.Adam(model.parameters())
    run(model, batches(), LOSS, optimizer, checkpoint=path)
    assert load_checkpoint(path, model, optimizer).epochs == 1
    with peak_memory(CPU) as peak:
        torch.ones(10 * MB)
    release_memory(CPU)
    assert peak.bytes > 0


def sees():
    step()
    return torch.accelerator.is_available(), str(pick_device()), os.environ["CUDA_VISIBLE_DEVICES"]


def test_a_capped_child_sees_no_gpu_and_takes_a_step(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("DLHELPERS_DEVICE", "cuda")
    seen = run_limited(sees, limit=200 * MB)
    assert (seen.outcome, seen.value) == ("returned", (False, "cpu", "")), seen.error


# ---- from a process's start ----


@only_full
@pytest.mark.parametrize("lesson", ["10", "15"])
def test_a_whole_lesson_passes(tmp_path, lesson):
    (notebook,) = (ROOT / "notebooks").glob(f"{lesson}_*.ipynb")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(notebook)]
    told = subprocess.run(
        command, env=switched_on(tmp_path), cwd=ROOT, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stdout[-3000:]
