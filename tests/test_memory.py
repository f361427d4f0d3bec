"""Tests of `memory`: prices against PyTorch, use against what the test itself allocates, limits against fakes."""

import gc
import math
import mmap
import re
import sys

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlhelpers.machine import (
    bytes_of,
    human_bytes,
    is_out_of_memory,
    memory,
    memory_budget,
    memory_use,
)

MB = 1_000_000
DTYPES = [
    torch.uint8,
    torch.bool,
    torch.bfloat16,
    torch.float16,
    torch.float32,
    torch.int64,
    torch.complex128,
]
linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells the parts of a process's memory"
)


@given(st.lists(st.integers(0, 12), max_size=4), st.sampled_from(DTYPES), st.integers(0, 5))
def test_the_price_is_what_pytorch_holds(shape, dtype, count):
    assert bytes_of(shape, dtype, count) == torch.empty(shape, dtype=dtype).nbytes * count


@given(st.integers(0, 10**14))
def test_human_bytes_reads_back_to_the_number(count):
    number, unit = human_bytes(count).split()
    factor = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert math.isclose(float(number) * factor, count, rel_tol=0.0051)
    assert float(number) < 1000 and (unit == "bytes" or float(number) >= 1)


def test_a_rounded_number_takes_the_next_unit():
    assert [human_bytes(n) for n in (999, 1000, 999_994, 999_999)] == [
        "999 bytes",
        "1.00 kB",
        "999.99 kB",
        "1.00 MB",
    ]


@linux_only
def test_own_memory_counts_as_anonymous():
    gc.collect()
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


@linux_only
def test_shared_memory_counts_as_shared():
    before = memory_use()
    with mmap.mmap(-1, 40 * MB) as block:
        block[:] = b"x" * (40 * MB)
        assert memory_use().shared - before.shared > 36 * MB


def test_another_process_can_be_asked_and_a_dead_one_is_named():
    parent = psutil.Process().ppid()
    assert memory_use(parent).private > 0
    with pytest.raises(psutil.NoSuchProcess):
        memory_use(2**22 + 12345)  # beyond the largest process number that Linux gives


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with 900 MB free, on which this process holds 50 MB; control groups and their files are in megabytes.

    The groups of this process are given as /proc/self/cgroup tells them (None: it tells nothing).
    """
    monkeypatch.setattr(memory, "memory_use", lambda: memory.MemoryUse(50 * MB))
    monkeypatch.setattr(
        memory.psutil, "virtual_memory", lambda: type("Free", (), {"available": 900 * MB})
    )
    monkeypatch.delenv("MEM_LIMIT", raising=False)
    monkeypatch.setattr(memory, "_own_rooms", list)  # whatever limits this test itself runs under
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")

    def build(files, own=None):
        if own is not None:
            (tmp_path / "cgroup").write_text(own)
        for name, text in files.items():
            (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "groups" / name).write_text(
                re.sub(r"\d+", lambda number: f"{int(number[0]) * MB}", text)
            )

    return build


@pytest.mark.parametrize(
    "files, environment, limit",
    [
        ({}, None, None),
        ({"memory.max": "300", "memory.current": "50"}, None, 300),
        ({"memory.max": "max", "memory/memory.limit_in_bytes": "300"}, "200", 200),
    ],
)
def test_the_budget_is_the_tightest_limit_less_what_is_used(
    machine, monkeypatch, files, environment, limit
):
    machine(files)
    if environment:
        monkeypatch.setenv("MEM_LIMIT", str(int(environment) * MB))
    assert memory_budget() == (900 * MB if limit is None else (limit - 50) * MB)


FIRST = {"limit": "memory.limit_in_bytes", "use": "memory.usage_in_bytes", "files": "total_{}_file"}
SECOND = {"limit": "memory.max", "use": "memory.current", "files": "{}_file"}


@pytest.mark.parametrize(
    "root, names, own",
    [
        ("", SECOND, "0::/jobs/7/task\n"),
        ("memory/", FIRST, "9:name=systemd:/init\n4:cpu,memory:/jobs/7/task\n0::/other\n"),
    ],
)
def test_a_limit_of_any_group_around_this_process_counts_with_what_others_in_it_hold(
    machine, root, names, own
):
    def group(path, limit, use, cached):
        once, twice = (
            names["files"].format(kind) for kind in ("inactive", "active")
        )  # read since the last look
        stat = f"anon {use - cached}\n{once} {cached - cached // 2}\n{twice} {cached // 2}\n"
        files = {names["limit"]: str(limit), names["use"]: str(use), "memory.stat": stat}
        return {f"{root}{path}/{name}": text for name, text in files.items()}

    machine(
        group("jobs", 700, 200, 100)
        | group("jobs/7/task", "max", 80, 0)
        | group("other", 60, 0, 0),
        own,
    )
    assert memory_budget() == 600 * MB, (
        "files that the system may drop are free, however often they were read"
    )
    machine(group("jobs/7", 500, 450, 20))
    assert memory_budget() == 70 * MB, (
        "450 are held, by whom it may be, and this process holds 50 of them"
    )
    machine(group("jobs/7/task", 100, 80, 0))
    assert memory_budget() == 20 * MB


def test_a_container_sees_its_own_group_as_the_root_whatever_the_host_calls_it(machine):
    files = {"memory/memory.limit_in_bytes": "400", "memory/memory.usage_in_bytes": "90"}
    machine(files, "4:memory:/docker/4a1f\n")
    assert memory_budget() == 310 * MB


def test_the_budget_is_never_negative(monkeypatch):
    monkeypatch.setenv("MEM_LIMIT", "1000")
    assert memory_budget() == 0


@pytest.mark.parametrize("text", ["max\n", "", None, "9223372036854771712", "0"])
def test_an_unset_limit_reads_as_none(text):
    assert memory._number(text) is None


def test_the_budget_is_at_most_what_psutil_calls_free():
    assert 0 < memory_budget() <= psutil.virtual_memory().total


def test_a_real_allocation_that_fails_is_out_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**52, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    with pytest.raises(MemoryError) as caught:
        np.empty(2**52, dtype=np.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error, answer",
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 17.99 GB)"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), False),
        (
            RuntimeError(
                "Caught _ArrayMemoryError in DataLoader worker process 0. Unable to allocate 286. MiB"
            ),
            True,
        ),
        (OSError(12, "Cannot allocate memory"), True),
        (OSError(28, "No space left on device"), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_only_errors_of_memory_count_as_such(error, answer):
    assert is_out_of_memory(error) is answer


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_the_budget_of_a_gpu_falls_by_what_is_taken():
    torch.zeros(1, device="cuda")
    before = memory_budget("cuda")
    block = torch.empty(400 * MB, dtype=torch.uint8, device="cuda")
    assert before - memory_budget("cuda") >= block.nbytes
