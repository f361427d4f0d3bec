"""Tests of `memory`: prices against PyTorch, use against what the test itself allocates, limits against fakes."""

import gc
import math
import os
import subprocess
import sys
from subprocess import PIPE

import numpy as np
import psutil
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from long_cases import linux_only

from dlhelpers.machine import (
    bytes_of,
    human_bytes,
    memory,
    memory_budget,
    memory_use,
)
from dlhelpers.machine.memory import is_out_of_memory, release_memory

MB = 1_000_000
DTYPES = [torch.uint8, torch.bfloat16, torch.float32, torch.int64]


@given(st.lists(st.integers(0, 12), max_size=4), st.sampled_from(DTYPES), st.integers(0, 5))
def test_the_price_is_what_pytorch_holds(shape, dtype, count):
    assert bytes_of(shape, dtype, count) == torch.empty(shape, dtype=dtype).nbytes * count


@given(st.integers(0, 10**14))
@example(999_999)  # 1.00 MB, not 1000.00 kB
def test_human_bytes_reads_back_to_the_number(count):
    number, unit = human_bytes(count).split()
    factor = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert math.isclose(float(number) * factor, count, rel_tol=0.0051)
    assert float(number) < 1000 and (unit == "bytes" or float(number) >= 1)


@linux_only
def test_what_a_process_maps_never_counts_as_private_even_if_it_ends_under_the_look(monkeypatch):
    code = "print('here', flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=PIPE, stdout=PIPE)
    child.stdout.readline()
    held, look = memory_use(child.pid), psutil.Process.memory_info

    def ends_afterwards(process):
        seen = look(process)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie: its parts are gone
        return seen

    monkeypatch.setattr(psutil.Process, "memory_info", ends_afterwards)
    assert held.file_backed > 0 and memory_use(child.pid).private <= held.private
    with child:
        child.kill()


@linux_only
def test_own_memory_counts_as_anonymous():
    release_memory(torch.device("cpu"))  # or a free block of the heap may serve again
    before = memory_use()
    block = np.ones(40 * MB, dtype=np.uint8)
    after = memory_use()
    assert 36 * MB < after.private - before.private < 60 * MB
    assert block[0] == 1


@linux_only
def test_a_mapped_file_counts_as_file_backed_and_not_as_private(tmp_path):
    file = tmp_path / "block.npy"
    np.save(file, np.ones(40 * MB, dtype=np.uint8))
    gc.collect()
    before = memory_use()
    block = np.load(file, mmap_mode="r")
    assert block.sum(dtype=np.int64) == 40 * MB
    after = memory_use()
    assert after.file_backed - before.file_backed > 30 * MB
    assert after.private - before.private < 20 * MB


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with 900 MB free; the files of its control groups are in megabytes."""
    free = type("Free", (), {"available": 900 * MB})
    monkeypatch.setattr(memory.psutil, "virtual_memory", free)
    monkeypatch.delenv("MEM_LIMIT", raising=False)
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "GROUPS", tmp_path)

    def group(path, limit, use=0, cached=0):
        folder = tmp_path / path
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{limit * MB}\n" if limit else "max\n")
        (folder / "memory.current").write_text(f"{use * MB}\n")
        half = cached * MB // 2
        stat = f"anon 5\ninactive_file {half}\nactive_file {half}\nfile {cached}\n"
        (folder / "memory.stat").write_text(stat)

    (tmp_path / "cgroup").write_text("4:cpu,cpuacct:/other\n0::/jobs/7/task\n")
    return group


def test_the_budget_is_the_tightest_limit_less_what_is_used(machine, monkeypatch):
    assert memory_budget() == 900 * MB
    machine("", 300, use=50)  # a container sees its own group as the root
    assert memory_budget() == 250 * MB
    monkeypatch.setenv("MEM_LIMIT", str(memory_use().private + 200 * MB))
    assert 180 * MB < memory_budget() < 220 * MB
    monkeypatch.setenv("MEM_LIMIT", "1000")
    assert memory_budget() == 0


def test_a_limit_of_any_group_around_this_process_counts_with_what_others_in_it_hold(machine):
    machine("jobs", 700, use=200, cached=100)
    machine("jobs/7/task", None, use=80)
    machine("other", 60)
    assert memory_budget() == 600 * MB, "files that the system may drop are free"
    machine("jobs/7", 500, use=450, cached=20)
    assert memory_budget() == 70 * MB, "450 are held, by whom it may be"
    machine("jobs/7/task", 100, use=80)
    assert memory_budget() == 20 * MB


@pytest.mark.parametrize("allocate", [torch.empty, np.empty])
def test_a_real_allocation_that_fails_is_out_of_memory(allocate):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        allocate(2**52)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error, answer",
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (OSError(28, "No space left on device"), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_only_errors_of_memory_count_as_such(error, answer):
    assert is_out_of_memory(error) is answer


@pytest.mark.gpu
def test_the_budget_of_a_gpu_falls_by_what_is_taken():
    torch.zeros(1, device="cuda")
    before = memory_budget("cuda")
    block = torch.empty(400 * MB, dtype=torch.uint8, device="cuda")
    assert before - memory_budget("cuda") >= block.nbytes
