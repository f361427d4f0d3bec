"""The pretended CUDA sees the mistakes that it is for, and what the course runs on a CPU makes none of them."""

import os
import subprocess
import sys

import pytest
import torch
from long_cases import only_full
from pretended_cuda import POSSIBLE, pretended_cuda, switched_on
from run_notebooks import ROOT
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dlhelpers.machine import pick_device, run_limited
from dlhelpers.machine.memory import peak_memory, release_memory
from dlhelpers.train import fit, load_checkpoint

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


def error_in_a_fork(function):
    """Call a function in a forked child; return the error that it raised there."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            function()
        except Exception as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with open(read) as pipe:
        return pipe.read()


# ---- broken code in miniature fails ----


@forks
@pytest.mark.filterwarnings("ignore:.*may lead to deadlocks")
@pytest.mark.parametrize("function", [step, lambda: torch.zeros(1, device="cuda")])
def test_a_forked_child_that_asks_cuda_for_anything_fails(function):
    assert torch.cuda.is_available() and torch.accelerator.device_count() == 1
    assert error_in_a_fork(function).startswith("Cannot re-initialize CUDA in forked subprocess")


def test_random_states_asked_for_where_cuda_is_only_available_fail():
    with pytest.raises(RuntimeError, match="NVIDIA"):
        torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    assert not torch.cuda.is_initialized()


def test_a_cache_emptied_without_asking_fails():
    with pytest.raises(RuntimeError, match="not initialized"):
        torch.accelerator.empty_cache()


# ---- ours does not ----


def test_a_training_on_the_cpu_its_checkpoint_and_its_memory(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    loader = DataLoader(TensorDataset(torch.randn(8, 2), torch.arange(8) % 2), batch_size=4)
    history = fit(
        model,
        loader,
        nn.CrossEntropyLoss(),
        optimizer,
        epochs=2,
        checkpoint=tmp_path / "run.pt",
        progress=False,
    )
    assert len(load_checkpoint(tmp_path / "run.pt", model, optimizer)) == len(history) == 2
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
    run = run_limited(sees, limit=200 * MB)
    assert (run.outcome, run.value) == ("returned", (False, "cpu", "")), run.error


# ---- from a process's start ----


@only_full
@pytest.mark.parametrize("lesson", ["10", "15"])
def test_a_whole_lesson_passes(tmp_path, lesson):
    (notebook,) = (ROOT / "notebooks").glob(f"{lesson}_*.ipynb")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(notebook)]
    run = subprocess.run(
        command, env=switched_on(tmp_path), cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-3000:]
