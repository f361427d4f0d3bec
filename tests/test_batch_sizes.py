"""Batch sizes, and the peaks of memory that the study stands on: what fits, what is left behind, what is refused.

Limits are real ones: a child process under RLIMIT_DATA, and the variable MEM_LIMIT.
"""

import gc
import re
import time
import weakref

import numpy as np
import pytest
import torch
from long_cases import linux_only
from torch import nn

from dlhelpers.machine import memory, memory_use, run_limited
from dlhelpers.machine.memory import peak_memory, release_memory
from dlhelpers.measure import batch_sizes, study_batch_sizes
from dlhelpers.measure.batch_sizes import BatchSizeStudy, BatchSizeTrial

MB = 1_000_000
LOSS = nn.CrossEntropyLoss()


def make_batch(size):
    return torch.randn(size, 6), torch.randint(3, (size,))


@pytest.fixture
def model():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(batch_sizes, "TIMED_SECONDS", 0)


def study(model, *args, **options):
    return study_batch_sizes(model, *args or (make_batch, LOSS), **{"limit": 8, **options})


class Ceiling(nn.Linear):
    """Fails above `most` samples, its tensors of that try in sight of a weak reference."""

    failed, alive = [], []  # of all copies

    def __init__(self, most, error):
        super().__init__(6, 3)
        self.most, self.error = most, error

    def forward(self, x):
        self.alive.append(any(failed() is not None for failed in self.failed))
        out = super().forward(x)
        if len(x) > self.most:
            self.failed.append(weakref.ref(out))
            # a new one, since an error holds on to its traceback
            raise type(self.error)(*self.error.args)
        return out


OUT_OF_MEMORY = torch.OutOfMemoryError


@pytest.mark.parametrize(("start", "asked"), [(2, [2, 2]), (8, [2, 2, 4, 8])])
def test_smaller_sizes_come_first_so_that_no_size_is_tried_unseen(model, start, asked):
    sizes = []

    def counted(size):
        sizes.append(size)
        return make_batch(size)

    result = study(model, counted, LOSS, start=start, limit=start)
    assert sizes == asked and [trial.batch_size for trial in result] == [start]


def test_an_out_of_memory_error_is_the_ceiling_and_the_size_halfway_is_tried():
    result = study(Ceiling(13, OUT_OF_MEMORY("CUDA out of memory")), limit=64)
    assert [trial.batch_size for trial in result] == [2, 4, 8, 12, 16]
    assert result.largest == 12 and result[-1].note == "ran out of memory"


def test_what_failed_is_gone_before_the_next_size_is_tried():
    Ceiling.failed.clear()
    Ceiling.alive.clear()
    gc.disable()  # what is gone must be gone without the collector's help later on
    try:
        study(Ceiling(5, OUT_OF_MEMORY()), limit=8)
        assert [failed() for failed in Ceiling.failed] == [None] * 2 and not any(Ceiling.alive)
    finally:
        gc.enable()


def test_no_size_fits_and_another_error_is_no_ceiling():
    told = "no batch size fits: 16 samples: ran out of memory. Use smaller inputs.*`start`"
    with pytest.raises(MemoryError, match=told):
        study(Ceiling(9, OUT_OF_MEMORY()), start=16, limit=32)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        study(Ceiling(5, RuntimeError("CUDA error: an illegal memory access was encountered")))


class Hungry(nn.Linear):
    """A model that takes 10 MB a sample for a moment."""

    sizes = []  # of all copies

    def forward(self, x):
        self.sizes.append(len(x))
        return super().forward(x) * float(np.ones(len(x) * 10 * MB, dtype=np.uint8)[0])


def test_the_study_stops_before_the_budget(monkeypatch):
    monkeypatch.setenv("MEM_LIMIT", str(memory_use().private + 190 * MB))
    result = study(Hungry(6, 3), limit=64)
    assert [trial.batch_size for trial in result] == [2, 4, 8, 12, 16]
    assert max(Hungry.sizes) == result.largest == 12  # 120 of the 152 MB allowed
    told = r"not run: would take about 1[5-9]\d.* MB of the 1\d\d.* MB allowed"
    assert re.match(told, result[-1].note)
    with pytest.raises(MemoryError, match="no batch size fits: 16 samples: not run"):
        study(Hungry(6, 3), start=32)
    assert max(Hungry.sizes) == 12


@linux_only
def test_real_errors_of_allocation_are_survived():
    """The child does not know of its cap, and the study runs into it more than once."""

    def find():
        batch_sizes.TIMED_SECONDS = 0
        model = nn.Sequential(nn.Linear(6, 40_000), nn.ReLU(), nn.Tanh(), nn.Linear(40_000, 3))
        found = study_batch_sizes(model, make_batch, LOSS, limit=4096)
        return found.largest, found[-1].note

    run = run_limited(find, limit=100 * MB)
    assert run.outcome == "returned", run
    assert run.value[0] >= 8 and run.value[1] == "ran out of memory"


def trials(*rates):
    rows = []
    for k, rate in enumerate(rates):
        size = 2 ** (k + 1)
        rows.append(BatchSizeTrial(size, 500 * size, size / rate))
    return BatchSizeStudy([*rows, BatchSizeTrial(64, note="ran out of memory")])


def test_the_smallest_size_that_is_fast_enough_is_recommended():
    result = trials(10.0, 94.9, 95.0, 100.0, 60.0)
    assert (result.largest, result.fastest, result.recommended) == (32, 16, 8)


def test_the_table_says_what_was_found():
    result = trials(10.0, 95.0, 100.0)
    text = repr(result)
    assert "4           yes   2.00 kB      42.1             95" in text and "64          no" in text
    assert "peak memory  ms an iteration  samples a second" in text
    assert "largest that ran 8, fastest 8, recommended 4" in text


def test_the_study_leaves_everything_bit_equal(model):
    LOSS(model(torch.randn(4, 6)), torch.tensor([0, 1, 2, 0])).backward()
    model[1].eval()

    def state():
        held = [*model.state_dict().values(), *(p.grad for p in model.parameters())]
        modes = [part.training for part in model.modules()]
        return [part.tolist() for part in [*held, torch.get_rng_state()]], modes

    before = state()
    study(model, make_batch, LOSS, torch.optim.Adam)
    with pytest.raises(ValueError, match=r"make_batch\(4\) returned 3 samples: expected 4; draw"):
        study(model, lambda size: make_batch(min(size, 3)), LOSS)
    assert state() == before


class Disturbed(nn.Linear):
    """A model that something else on the machine holds up at every eighth step."""

    steps = 0

    def forward(self, x):
        self.steps += 1
        time.sleep(0.2 * (self.steps % 8 == 0))
        return super().forward(x)


def test_the_shortest_time_counts_since_others_only_make_a_step_longer(monkeypatch):
    monkeypatch.setattr(batch_sizes, "TIMED_SECONDS", 0.3)
    result = study(Disturbed(6, 3), limit=2)
    assert result[0].seconds_per_step < 0.02


def block_seen_by(meter):
    """What the meter saw of a block of 60 MB that was there for a moment."""
    release_memory(torch.device("cpu"))
    before = memory_use().private
    with meter as peak:
        block = np.ones(60 * MB, dtype=np.uint8)
        time.sleep(0.2)  # for the thread; the kernel's count needs no time
        del block
    return peak.bytes - before


@linux_only
def test_the_kernel_and_the_thread_see_the_same_peak(monkeypatch):
    assert 55 * MB < block_seen_by(peak_memory(torch.device("cpu"))) < 75 * MB
    monkeypatch.setattr(memory, "CLEAR", memory.Path("/proc/self/not/there"))
    assert 55 * MB < block_seen_by(peak_memory(torch.device("cpu"))) < 75 * MB


@linux_only
def test_the_kernel_forgets_an_earlier_peak_and_leaves_mapped_files_out(tmp_path):
    np.save(tmp_path / "block.npy", np.ones(60 * MB, dtype=np.uint8))
    block = np.ones(200 * MB, dtype=np.uint8)
    del block
    before = memory_use().private
    with peak_memory(torch.device("cpu")) as peak:
        mapped = np.load(tmp_path / "block.npy", mmap_mode="r")
        assert mapped.sum(dtype=np.int64) == 60 * MB
    assert peak.bytes - before < 20 * MB


@linux_only
def test_memory_that_was_freed_before_does_not_hide_a_trial():
    """Heap that glibc keeps would be used again unseen; `release_memory` gives it back first."""
    # filled, or the pages would not be there yet
    pile = [b"%d" % k * 20_000 for k in range(10_000, 11_500)]
    del pile[:-1]  # all but the last: the heap cannot shrink from its end
    wide = nn.Sequential(nn.Linear(100, 4000), nn.ReLU(), nn.Linear(4000, 3))
    result = study_batch_sizes(
        wide, lambda n: (torch.randn(n, 100), torch.randint(3, (n,))), LOSS, start=512
    )
    assert result[1].peak_memory - result[0].peak_memory > 512 * 4000 * 4 and pile


@pytest.mark.gpu
def test_on_a_gpu_the_limit_is_found_within_one_doubling_and_survived(monkeypatch):
    """A part of the GPU is set as the limit, and the study not told of it: real errors, real ceiling."""
    device = torch.device("cuda")
    release_memory(device)
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 400 * MB) / total)
    monkeypatch.setattr(batch_sizes, "memory_budget", lambda device: 2**62)
    wide = nn.Sequential(nn.Linear(6, 20_000), nn.ReLU(), nn.Linear(20_000, 3)).to(device)
    try:
        result = study(wide, limit=2**16)
        assert result[-1].note == "ran out of memory" and 256 <= result.largest
        assert result[-1].batch_size <= 2 * result.largest
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
