"""Batch sizes and what the study stands on, `peaks` and `trials`: what fits, what is left behind, what is refused.

Limits are real ones: a child process under RLIMIT_DATA, and one that is watched and killed at 1 GB.
"""

import copy
import gc
import os
import random
import subprocess
import sys
import time
import weakref

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from dlhelpers.machine import memory, memory_budget, memory_use, peaks
from dlhelpers.machine.peaks import peak_memory, predicted_peak, release_memory
from dlhelpers.measure import BatchSizeStudy, BatchSizeTrial, batch_sizes, study_batch_sizes
from dlhelpers.show import show

MB = 1_000_000
LOSS = nn.CrossEntropyLoss()
linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has /proc and RLIMIT_DATA for all memory"
)


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


class Ceiling(nn.Module):
    """Fails above `most` samples, its tensors of that try in sight of a weak reference."""

    def __init__(self, most, error):
        super().__init__()
        self.layer, self.most, self.error = nn.Linear(6, 3), most, error

    def forward(self, x):
        ALIVE.append(any(failed() is not None for failed in FAILED))
        out = self.layer(x)
        if len(x) > self.most:
            FAILED.append(weakref.ref(out))
            # a new one, since an error holds on to its traceback
            raise type(self.error)(*self.error.args)
        return out

    def __deepcopy__(self, memo):
        twin = Ceiling(self.most, self.error)
        twin.layer = copy.deepcopy(self.layer, memo)
        return twin


FAILED, ALIVE = [], []
OUT_OF_MEMORY = torch.OutOfMemoryError


def test_sizes_double_from_the_start_to_the_limit(model):
    result = study(model, start=3, limit=13)
    assert [trial.batch_size for trial in result] == [3, 6, 12] and all(
        trial.fits for trial in result
    )
    assert result.largest == 12 and len(result) == 3 and result[1].batch_size == 6
    for trial in result:
        assert trial.samples_per_second == pytest.approx(trial.batch_size / trial.seconds_per_step)


@pytest.mark.parametrize("start", [2, 5, 8])
def test_smaller_sizes_come_first_so_that_no_size_is_tried_unseen(model, start):
    asked = []

    def counted(size):
        asked.append(size)
        return make_batch(size)

    result = study(model, counted, LOSS, start=start, limit=start)
    ladder = {2: [2], 5: [2, 5], 8: [2, 4, 8]}[start]
    assert asked == [ladder[0], *ladder] and [trial.batch_size for trial in result] == [start]


def test_an_out_of_memory_error_is_the_ceiling_and_the_size_halfway_is_tried():
    result = study(Ceiling(13, OUT_OF_MEMORY("CUDA out of memory")), limit=64)
    assert [(t.batch_size, t.fits) for t in result] == [
        (2, True),
        (4, True),
        (8, True),
        (12, True),
        (16, False),
    ]
    assert (
        result.largest == 12
        and result[-1].note == "ran out of memory"
        and result[-1].peak_memory is None
    )
    result = study(Ceiling(9, MemoryError()), limit=64)
    assert [(t.batch_size, t.fits) for t in result][-2:] == [
        (12, False),
        (16, False),
    ] and result.largest == 8


def test_what_failed_is_gone_before_the_next_size_is_tried():
    FAILED.clear()
    ALIVE.clear()
    gc.disable()  # what is gone must be gone without the collector's help later on
    try:
        study(Ceiling(5, OUT_OF_MEMORY()), limit=8)
        assert len(FAILED) == 2 and not any(ALIVE)
        assert all(failed() is None for failed in FAILED)
    finally:
        gc.enable()


def test_another_error_is_no_ceiling():
    with pytest.raises(RuntimeError, match="illegal memory access"):
        study(
            Ceiling(5, RuntimeError("CUDA error: an illegal memory access was encountered")),
            limit=64,
        )


def test_words_of_onednn_count_only_above_a_size_that_ran():
    error = RuntimeError("could not create a primitive")
    assert study(Ceiling(5, error), limit=64).largest == 4
    with pytest.raises(RuntimeError, match="could not create a primitive"):
        study(Ceiling(1, error))


def test_no_size_fits():
    with pytest.raises(
        MemoryError, match="no batch size fits: 2 samples: ran out of memory. Use smaller inputs"
    ):
        study(Ceiling(1, OUT_OF_MEMORY()))
    with pytest.raises(
        MemoryError, match="no batch size fits: 16 samples: ran out of memory.*`start`"
    ):
        study(Ceiling(9, OUT_OF_MEMORY()), start=16, limit=32)


def fake_peaks(monkeypatch, fixed, per_sample, free):
    """Make every run take fixed + per_sample * size bytes, on a machine with `free` bytes."""
    sizes = []

    def measured(self, size, timed):
        sizes.append(size)
        return BatchSizeTrial(size, fixed + per_sample * size, 1.0)

    monkeypatch.setattr(batch_sizes._Study, "_run", measured)
    monkeypatch.setattr(batch_sizes, "memory_budget", lambda device: free)
    return sizes


def test_the_study_stops_before_the_budget(model, monkeypatch):
    ran = fake_peaks(monkeypatch, fixed=100, per_sample=10, free=1000)
    result = study(model, limit=1024)
    assert max(ran) == result.largest == 64  # 740 of the 800 allowed
    assert [trial.batch_size for trial in result][-3:] == [64, 96, 128]
    assert result[-2].note == "not run: would take about 1.06 kB of the 800 bytes allowed"


def test_half_way_to_a_size_that_was_refused_one_more_is_tried(model, monkeypatch):
    fake_peaks(monkeypatch, fixed=0, per_sample=10, free=1270)  # 101 samples within 80 %
    assert study(model, limit=1024).largest == 96


def test_a_start_predicted_not_to_fit_is_not_run(model, monkeypatch):
    ran = fake_peaks(monkeypatch, fixed=0, per_sample=10, free=500)
    with pytest.raises(
        MemoryError, match="no batch size fits: 64 samples: not run: would take about 640 bytes"
    ):
        study(model, start=64, limit=64)
    assert max(ran) == 32


def test_the_prediction_is_the_line_and_on_a_ragged_one_the_steepest_of_three_slopes():
    assert predicted_peak([(2, 120), (4, 140), (8, 180)], 16) == 260
    assert predicted_peak([(2, 10), (4, 10), (8, 50), (16, 50), (32, 66)], 64) == 66 + 10 * 32
    assert (
        predicted_peak([(1, 0), (2, 1000), (4, 1000), (8, 1000), (16, 1016)], 32) == 1016 + 2 * 16
    )
    assert predicted_peak([(2, 100), (4, 90)], 8) == 90 and predicted_peak([(2, 100)], 6) == 300


def trials(*rates):
    rows = []
    for k, rate in enumerate(rates):
        size = 2 ** (k + 1)
        rows.append(BatchSizeTrial(size, 500 * size, size / rate))
    return BatchSizeStudy([*rows, BatchSizeTrial(64, note="ran out of memory")])


def test_the_smallest_size_that_is_fast_enough_is_recommended():
    result = trials(10.0, 94.9, 95.0, 100.0, 60.0)
    assert (result.largest, result.fastest, result.recommended) == (32, 16, 8)


def test_table_and_figure_say_what_was_found():
    result = trials(10.0, 95.0, 100.0)
    text = repr(result)
    assert "4           yes   2.00 kB      42.1             95" in text and "64          no" in text
    assert "peak memory  ms an iteration  samples a second" in text
    assert (
        "largest that ran 8, fastest 8, recommended 4" in text
        and '<th scope="col"' in result._repr_html_()
    )
    picture = show(result.plot())
    assert "from 10 to 100" in picture.alt and "Recommended: 4; largest that ran: 8." in picture.alt


def fingerprint(model, optimizer):
    """Everything that a study must leave as it was, in bytes."""
    tensors = [*model.state_dict().values(), *(p.grad for p in model.parameters())]
    for state in optimizer.state.values():
        tensors += [value for value in state.values() if isinstance(value, torch.Tensor)]
    accelerator = torch.cuda.get_rng_state() if torch.cuda.is_available() else torch.zeros(1)
    numbers = [
        torch.get_rng_state(),
        accelerator,
        torch.tensor(np.random.get_state()[1].astype(np.int64)),
    ]
    modes = [part.training for part in model.modules()]
    return (
        [tensor.cpu().numpy().tobytes() for tensor in [*tensors, *numbers]],
        random.getstate(),
        modes,
    )


def trained(model, device="cpu"):
    """An optimizer that has something to remember, gradients in place, one layer in another mode."""
    optimizer = torch.optim.Adam(model.to(device).parameters())
    LOSS(
        model(torch.randn(4, 6, device=device)), torch.tensor([0, 1, 2, 0], device=device)
    ).backward()
    optimizer.step()
    model[1].eval()
    return optimizer


def drawing(size):
    random.random(), np.random.rand()
    return make_batch(size)


@pytest.mark.parametrize("failing", [False, True])
def test_the_study_leaves_everything_bit_equal(model, failing):
    optimizer = trained(model)
    before = fingerprint(model, optimizer)
    if failing:
        with pytest.raises(ValueError, match="returned"):
            study(model, lambda size: drawing(size if size < 4 else 3), LOSS)
    else:
        study(model, drawing, LOSS, torch.optim.Adam)
    assert fingerprint(model, optimizer) == before


def test_the_copy_really_trains_in_training_mode(model):
    seen = []

    def watched(parameters):
        optimizer = torch.optim.SGD(parameters, lr=1.0)
        seen.append((optimizer, [p.detach().clone() for p in optimizer.param_groups[0]["params"]]))
        return optimizer

    study(model.eval(), make_batch, LOSS, watched)
    optimizer, before = seen[0]
    assert any(
        not torch.equal(a, b)
        for a, b in zip(before, optimizer.param_groups[0]["params"], strict=True)
    )
    assert not model.training


def test_a_per_sample_loss_and_bfloat16_are_taken(model):
    assert (
        study(
            model, make_batch, nn.CrossEntropyLoss(reduction="none"), amp_dtype=torch.bfloat16
        ).largest
        == 8
    )


class Disturbed(nn.Module):
    """A model that something else on the machine holds up at every eighth step."""

    def __init__(self):
        super().__init__()
        self.layer, self.steps = nn.Linear(6, 3), 0

    def forward(self, x):
        self.steps += 1
        time.sleep(0.2 * (self.steps % 8 == 0))
        return self.layer(x)


def test_the_shortest_time_counts_since_others_only_make_a_step_longer(monkeypatch):
    monkeypatch.setattr(batch_sizes, "TIMED_SECONDS", 0.3)
    result = study(Disturbed(), limit=2)
    assert result[0].seconds_per_step < 0.02


@pytest.mark.parametrize(
    "factory, error, message",
    [
        (
            lambda size: make_batch(min(size, 3)),
            ValueError,
            r"make_batch\(4\) returned inputs of shape \(3, 6\): expec",
        ),
        (
            lambda size: (torch.randn(size, 6), torch.zeros(1)),
            ValueError,
            r"make_batch\(2\) returned targets of shape",
        ),
        (lambda size: torch.randn(size, 6), TypeError, "expected.*(inputs, targets)"),
    ],
)
def test_a_batch_of_another_size_or_kind_is_refused(model, factory, error, message):
    with pytest.raises(error, match=message):
        study(model, factory, LOSS)


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
    monkeypatch.setattr(peaks, "CLEAR", peaks.Path("/proc/self/not/there"))
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
    pile = [
        b"%d" % k * 20_000 for k in range(10_000, 11_500)
    ]  # filled, or the pages would not be there yet
    del pile[:-1]  # all but the last: the heap cannot shrink from its end
    wide = nn.Sequential(nn.Linear(100, 4000), nn.ReLU(), nn.Linear(4000, 3))
    result = study_batch_sizes(
        wide, lambda n: (torch.randn(n, 100), torch.randint(3, (n,))), LOSS, start=512
    )
    assert result[1].peak_memory - result[0].peak_memory > 512 * 4000 * 4 and pile


CHILD = """
import os, resource, sys, torch
from torch import nn
from dlhelpers.measure import batch_sizes
from dlhelpers.measure.trials import Rehearsal as Trial, plain_sgd
from dlhelpers.machine import is_out_of_memory, memory_use
torch.set_num_threads(1)
batch_sizes.TIMED_SECONDS = 0
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 40000), nn.ReLU(), nn.Sigmoid(), nn.Tanh(), nn.Linear(40000, 10))
make = lambda n: (torch.randn(n, 8), torch.randint(10, (n,)))
loss = nn.CrossEntropyLoss()

def data():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))

def fits(size):
    net, ok = Trial(model, loss, plain_sgd, None, None), True
    try:
        net.seconds(make(size), 2)
    except Exception as error:
        assert is_out_of_memory(error), error
        ok = False
    del net
    batch_sizes.release_memory(torch.device("cpu"))
    return ok

"""


def child(script, **environment):
    """Run a script in a child process; return (exit code, output, the most private memory it was seen to hold).

    It is killed when that passes the limit in MEM_LIMIT, as a container would do.
    """
    limit = int(environment.get("MEM_LIMIT", 2**62))
    command = [sys.executable, "-c", CHILD + script]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **environment}
    most = 0
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        while process.poll() is None:
            try:
                most = max(most, memory_use(process.pid).private)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                break
            if most > limit:
                process.kill()
            time.sleep(0.01)
        output = process.stdout.read()
    return process.returncode, output, most


@linux_only
def test_the_limit_under_a_real_cap_is_found_within_one_doubling():
    """Each block is mapped by itself here, so that holes in the heap do not move the limit from run to run."""
    script = """
cap = data() + 300_000_000
resource.setrlimit(resource.RLIMIT_DATA, (cap, cap))
found = batch_sizes.study_batch_sizes(model, make, loss, limit=4096)
print(found)
print("RESULT", found.largest, fits(found.largest), fits(2 * found.largest))
"""
    code, output, _ = child(script, MALLOC_MMAP_THRESHOLD_="65536")
    assert code == 0, output
    _, largest, once_fits, twice_fits = output.splitlines()[-1].split()
    assert int(largest) >= 32 and (once_fits, twice_fits) == ("True", "False"), output


@linux_only
def test_real_errors_of_allocation_are_survived():
    """With the prediction switched off, the study runs into the cap itself, more than once."""
    code, output, _ = child(
        """
batch_sizes.predicted_peak = lambda peaks, size: 0
cap = data() + 300_000_000
resource.setrlimit(resource.RLIMIT_DATA, (cap, cap))
state = [value.clone() for value in model.state_dict().values()]
found = batch_sizes.study_batch_sizes(model, make, loss, limit=4096)
print(found)
same = all(torch.equal(a, b) for a, b in zip(state, model.state_dict().values()))
print("RESULT", found.largest, fits(2 * found.largest), fits(found.largest // 2), same)
""",
        MALLOC_MMAP_THRESHOLD_="65536",
    )  # freed blocks go back, so that what fits does not depend on what ran before
    assert code == 0, output
    assert "ran out of memory" in output
    _, largest, twice_fits, half_fits, same = output.splitlines()[-1].split()
    assert int(largest) >= 32 and (twice_fits, half_fits, same) == ("False", "True", "True"), output


@linux_only
def test_a_process_limited_to_1_gb_is_never_killed():
    """MEM_LIMIT as on Binder, and a keeper that kills at 1 GB: no error would come before."""
    script = "print(batch_sizes.study_batch_sizes(model, make, loss, limit=4096))"
    code, output, most = child(script, MEM_LIMIT="1000000000")
    assert code == 0, f"ended with {code} at {most:,} bytes\n{output}"
    assert "not run: would take about" in output and 500 * MB < most < 1000 * MB, output


@pytest.mark.skipif(memory.resource is None, reason="this system has no limits of a process")
@pytest.mark.parametrize("kind, field", [("RLIMIT_DATA", "data"), ("RLIMIT_AS", "vms")])
def test_the_budget_takes_the_limits_of_the_process_into_account(monkeypatch, kind, field):
    limits = {
        getattr(memory.resource, kind): getattr(psutil.Process().memory_info(), field) + 30 * MB
    }
    monkeypatch.setattr(memory.resource, "getrlimit", lambda which: (limits.get(which, -1), -1))
    assert 20 * MB < memory_budget("cpu") <= 30 * MB
    limits.clear()
    assert memory_budget("cpu") > 30 * MB


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_on_a_gpu_the_budget_holds_and_everything_is_left_bit_equal(model):
    optimizer = trained(model, "cuda")
    before, held = fingerprint(model, optimizer), torch.cuda.memory_allocated()
    result = study(model, drawing, LOSS, torch.optim.Adam, limit=64, amp_dtype=torch.float16)
    assert result.largest == 64 and all(trial.peak_memory > 0 for trial in result)
    release_memory(torch.device("cuda"))
    assert fingerprint(model, optimizer) == before and torch.cuda.memory_allocated() == held


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_on_a_gpu_the_limit_is_found_within_one_doubling_and_survived(monkeypatch):
    """A part of the GPU is set as the limit, and the prediction switched off: real errors, real ceiling."""
    device = torch.device("cuda")
    release_memory(device)
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 400 * MB) / total)
    monkeypatch.setattr(batch_sizes, "predicted_peak", lambda peaks, size: 0)
    wide = nn.Sequential(nn.Linear(6, 20_000), nn.ReLU(), nn.Linear(20_000, 3)).to(device)
    try:
        result = study(wide, limit=2**16)
        assert result[-1].note == "ran out of memory" and 256 <= result.largest
        assert memory_budget(device) > 0 and result[-1].batch_size <= 2 * result.largest
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
