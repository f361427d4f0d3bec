"""Tests of `memory.run_limited`: each end that a child can come to, and that none of them touches this process."""

import atexit
import faulthandler
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import types

import numpy as np
import psutil
import pytest
import torch
import tqdm.auto
import tqdm.notebook
from torch.utils.data import DataLoader, TensorDataset

from dlhelpers.base.bars import progress_bar
from dlhelpers.machine import capped as limits
from dlhelpers.machine import limited_child, memory, memory_use, run_limited
from dlhelpers.machine.child_process import start_child

MB = 1_000_000
LIMIT = 200 * MB
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux caps private memory")
forks = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="a function of a test can only be forked"
)


def own_children():
    """All that descend from this process, less multiprocessing's own helper, which stays until the end."""
    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if "resource_tracker" not in " ".join(child.cmdline())]


@pytest.fixture(autouse=True)
def no_child_is_left():
    before = set(own_children())
    yield
    assert set(own_children()) <= before


def hold(megabytes, seconds=0.3):
    """Fill an array, and keep it long enough to be seen."""
    block = np.ones(megabytes * MB, dtype=np.uint8)
    time.sleep(seconds)
    return int(block[0])


def lives(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def soon(condition, seconds=10):
    """Wait until something holds, as a signal's effect that the system may delay."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


# ---- the cap ----


@linux_only
def test_the_usual_example_fails_with_its_own_error_and_leaves_this_process_alone():
    before = memory_use().private
    run = run_limited(lambda: TensorDataset(torch.randn(100000, 3, 224, 224)), limit=512 * MB)
    assert (run.outcome, run.value, run.capped, run.limit) == (
        "out of memory",
        None,
        True,
        512 * MB,
    )
    assert run.error.startswith("RuntimeError: ")
    assert "can't allocate memory: you tried to allocate 60211200000 bytes" in run.error
    assert "torch.randn(100000, 3, 224, 224)" in run.traceback and "in serve" not in run.traceback
    assert run.peak_private < 100 * MB
    assert memory_use().private - before < 50 * MB
    assert torch.ones(10 * MB).sum() == 10 * MB, "this process has no cap"


@linux_only
def test_a_file_larger_than_the_cap_cannot_be_loaded_but_can_be_mapped_and_read_whole(tmp_path):
    file = tmp_path / "block.npy"
    np.save(file, np.ones(3 * 64 * MB, dtype=np.uint8))

    def total(mmap_mode):
        return int(np.load(file, mmap_mode=mmap_mode).sum(dtype=np.int64))

    loaded = run_limited(total, None, limit=64 * MB)
    assert (
        loaded.outcome == "out of memory"
        and "MemoryError: Unable to allocate 183. MiB" in loaded.error
    )
    mapped = run_limited(total, "r", limit=64 * MB)
    assert (mapped.outcome, mapped.value) == ("returned", 3 * 64 * MB)
    assert mapped.peak_private < 32 * MB


@linux_only
def test_the_limit_is_what_the_function_may_take_beyond_the_start():
    fits, too_much = run_limited(hold, 150, limit=LIMIT), run_limited(hold, 300, limit=LIMIT)
    assert fits.outcome == "returned" and 145 * MB < fits.peak_private < 170 * MB
    assert too_much.outcome == "out of memory" and too_much.peak_private < 100 * MB


@linux_only
@pytest.mark.parametrize("size", [12_288, 3 * MB], ids=["small blocks", "large blocks"])
def test_what_this_process_has_freed_is_not_taken_uncounted(size):
    held = [np.ones(size, np.uint8) for _ in range(300 * MB // size)]
    pins = [np.ones(2_000, np.uint8)]  # above them all on the heap, which so cannot shrink
    del held[
        :: 2 if size < MB else 1
    ]  # every second block stays, so that the others are free and not given back

    def fill():
        return len([np.ones(size // 2, np.uint8) for _ in range(100 * MB // size)])

    run = run_limited(fill, limit=32 * MB)
    assert pins and run.outcome == "out of memory", (run.outcome, run.peak_private)


@linux_only
def test_a_limit_beyond_all_addresses_is_no_limit():
    run = run_limited(hold, 50, limit=2**63)
    assert (run.outcome, run.value, run.capped) == ("returned", 1, True)


@linux_only
def test_telling_the_value_does_not_count():
    run = run_limited(bytes, 70 * MB, limit=100 * MB)
    assert run.outcome == "returned" and len(run.value) == 70 * MB, run.error


@linux_only
def test_mapped_pages_count_as_file_backed(tmp_path):
    file = tmp_path / "block.npy"
    np.save(file, np.ones(60 * MB, dtype=np.uint8))

    def read():
        block = np.load(file, mmap_mode="r")
        most = int(block.max())
        time.sleep(0.3)
        return most

    run = run_limited(read, limit=LIMIT)
    assert run.value == 1 and 50 * MB < run.peak_file_backed < 90 * MB


class Greedy(TensorDataset):
    """A dataset whose every sample takes 300 MB for a moment."""

    def __getitem__(self, index):
        return float(np.ones(300 * MB, dtype=np.uint8)[index])


@linux_only
@pytest.mark.filterwarnings("ignore:.*lead to deadlocks")
def test_workers_inherit_the_cap():
    def epoch(dataset):
        loader = DataLoader(dataset, num_workers=1, multiprocessing_context="fork")
        return sum(len(batch) if isinstance(batch, list) else 1 for batch in loader)

    assert run_limited(epoch, TensorDataset(torch.zeros(4)), limit=LIMIT).value == 4
    run = run_limited(epoch, Greedy(torch.zeros(4)), limit=LIMIT)
    assert run.outcome == "out of memory" and "DataLoader worker process 0" in run.error


@linux_only
def test_a_cap_that_is_there_already_is_kept():
    def inner():
        return run_limited(hold, 150, limit=400 * MB)

    run = run_limited(inner, limit=100 * MB).value
    assert run.outcome == "out of memory" and run.limit <= 100 * MB


@linux_only
@pytest.mark.parametrize(
    "error, outcome",
    [
        (MemoryError("std::bad_alloc"), "out of memory"),
        (RuntimeError("std::bad_alloc"), "out of memory"),
        (OSError(12, "Cannot allocate memory"), "out of memory"),
        (RuntimeError("can't start new thread"), "out of memory"),
        (OSError(2, "No such file"), "failed"),
        (ValueError("out of memory"), "failed"),
    ],
)
def test_errors_of_memory_are_told_from_others(error, outcome):
    def broken():
        raise error

    run = run_limited(broken, limit=LIMIT)
    assert run.outcome == outcome and str(error) in run.error


@linux_only
def test_an_allocator_that_aborts_the_process_is_out_of_memory():
    def abort():
        faulthandler.disable()  # pytest's own, which would fill the terminal
        os.write(
            2,
            b"terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n",
        )
        os.abort()

    run = run_limited(abort, limit=LIMIT)
    assert (
        run.outcome == "out of memory"
        and "SIGABRT" in run.error
        and "what():  std::bad_alloc" in run.error
    )


# ---- ends ----


@forks
def test_a_value_comes_back_as_it_is():
    value = {
        "tensor": torch.arange(6).view(2, 3),
        "array": np.eye(200),
        "text": "α",
        "large": b"x" * (5 * MB),
    }
    run = run_limited(lambda *args: (args, value), 1, None, limit=LIMIT)
    assert run.outcome == "returned" and run.error == run.traceback == ""
    args, copy = run.value
    assert args == (1, None) and torch.equal(copy["tensor"], value["tensor"])
    assert (
        np.array_equal(copy["array"], value["array"])
        and copy["large"] == value["large"]
        and copy["text"] == "α"
    )


@forks
def test_an_exception_is_told_with_its_type_text_and_place():
    def broken():
        raise KeyError("no such class")

    run = run_limited(broken, limit=LIMIT)
    assert (run.outcome, run.error) == ("failed", "KeyError: 'no such class'")
    assert 'raise KeyError("no such class")' in run.traceback


@forks
@pytest.mark.parametrize(
    "end, outcome, text",
    [
        (lambda: sys.exit(3), "failed", "SystemExit: 3"),
        (lambda: os._exit(3), "failed", "ended by exit code 3 without a result"),
        (
            lambda: os.kill(os.getpid(), signal.SIGKILL),
            "killed",
            "ended by signal 9 (SIGKILL) without a result",
        ),
        (lambda: os.kill(os.getpid(), signal.SIGINT), "failed", "KeyboardInterrupt"),
        (lambda: lambda: 1, "failed", "the value, a function, cannot be sent back ("),
    ],
)
def test_other_ends_are_named(end, outcome, text):
    run = run_limited(end, limit=LIMIT)
    assert run.outcome == outcome and run.error.startswith(text) and run.value is None


@forks
def test_a_value_that_only_the_child_understands_is_refused():
    def make():
        module = type(sys)("of_the_child")
        exec("class Thing: pass", module.__dict__)
        sys.modules["of_the_child"] = module
        return module.Thing()

    run = run_limited(make, limit=LIMIT)
    assert run.outcome == "failed" and run.error.startswith(
        "the value cannot be read here: ModuleNotFoundError"
    )


@forks
def test_a_timeout_kills_the_child_and_what_it_started(tmp_path):
    def start_another():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        (tmp_path / "pid").write_text(str(child.pid))
        time.sleep(60)

    run = run_limited(start_another, limit=LIMIT, timeout=2)
    assert (run.outcome, run.error) == (
        "killed",
        "killed by the parent: it was still running at its timeout of 2 seconds",
    )
    pid = int((tmp_path / "pid").read_text())
    assert soon(lambda: not lives(pid))


@forks
def test_an_interrupt_here_ends_the_child(tmp_path):
    def sleep():
        (tmp_path / "pid").write_text(str(os.getpid()))
        time.sleep(20)
        (tmp_path / "woke up").touch()

    def interrupt():
        if soon(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_limited(sleep, limit=LIMIT, timeout=20)
    thread.join()
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
    assert not (tmp_path / "woke up").exists(), "it was waited for, not ended"


def test_an_interrupt_while_the_child_starts_waits_until_it_has_started():
    class Slow:
        started = False

        def start(self):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            self.started = True

    process, handler = Slow(), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        start_child(process)
    assert process.started and signal.getsignal(signal.SIGINT) is handler


@forks
def test_what_the_child_prints_appears_here_whole_and_once(capsys):
    print("before")

    def talk():
        print("grüße " * 200_000)
        print("warned", file=sys.stderr)
        os.write(1, b"from below\n")

    assert run_limited(talk, limit=LIMIT).outcome == "returned"
    out, err = capsys.readouterr()
    assert out == "before\n" + "grüße " * 200_000 + "\nfrom below\n" and err == "warned\n"


@forks
def test_a_progress_bar_of_the_child_is_text(capsys, monkeypatch):
    monkeypatch.setattr(tqdm.auto, "tqdm", tqdm.notebook.tqdm)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)

    def count():
        with progress_bar([range(7)], 1, True) as bar:
            bar.update(7)

    assert run_limited(count, limit=LIMIT).error == ""
    assert "7/7" in capsys.readouterr().err and tqdm.auto.tqdm is tqdm.notebook.tqdm


@forks
def test_no_handler_of_the_parent_runs_in_the_child(tmp_path):
    def leave_a_trace():
        (tmp_path / "trace").touch()

    atexit.register(leave_a_trace)
    try:
        assert run_limited(sys.exit, limit=LIMIT).error == "SystemExit"
        assert not (tmp_path / "trace").exists()
    finally:
        atexit.unregister(leave_a_trace)


@forks
def test_the_parents_garbage_is_left_to_the_parent(tmp_path):
    class Temporary:
        def __del__(self):
            (tmp_path / f"cleaned-{os.getpid()}").touch()

    garbage = Temporary()
    garbage.itself = garbage
    gc.collect()  # from now on it is old, and only a full collection finds it
    del garbage
    assert run_limited(gc.collect, limit=LIMIT).outcome == "returned"
    gc.collect()
    assert [file.name for file in tmp_path.iterdir()] == [f"cleaned-{os.getpid()}"]


@forks
def test_pytorch_computes_in_the_child_after_the_parent_used_its_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        weight = torch.randn(600, 600, requires_grad=True)
        (weight @ weight).relu().sum().backward()

        def learn():
            other = torch.randn(600, 600, requires_grad=True)
            (other @ other).relu().sum().backward()
            torch.nn.Conv2d(3, 8, 3)(torch.randn(16, 3, 64, 64)).sum().backward()
            return torch.get_num_threads(), bool(other.grad.isfinite().all())

        run = run_limited(learn, limit=2 * LIMIT, timeout=30)
        assert (run.outcome, run.value) == ("returned", (1, True)), run.error
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@forks
def test_it_runs_outside_the_main_thread():
    runs = []
    thread = threading.Thread(target=lambda: runs.append(run_limited(hold, 1, 0, limit=LIMIT)))
    thread.start()
    thread.join()
    assert runs[0].value == 1


def test_a_spawned_child_imports_the_function_anew():
    run = run_limited(np.ones, 5, limit=LIMIT, start_method="spawn")
    assert run.outcome == "returned" and run.value.tolist() == [1.0] * 5
    assert run.peak_private < 50 * MB, "the imports do not count"


# ---- without a cap ----


@forks
def test_without_a_cap_the_run_says_so(monkeypatch):
    monkeypatch.setattr(limited_child, "resource", None)
    run = run_limited(hold, 300, limit=LIMIT)
    assert (run.outcome, run.value, run.capped) == (
        "returned",
        1,
        False,
    ) and run.peak_private > 200 * MB
    assert repr(run) == "returned without a cap on private memory: this system has none"


@linux_only
def test_a_cap_that_the_system_takes_and_does_not_keep_is_none(monkeypatch):
    class Taken:
        """The module `resource` of such a system."""

        setrlimit = staticmethod(lambda kind, limits: None)

        def __getattr__(self, name):
            return getattr(memory.resource, name)

    monkeypatch.setattr(limited_child, "resource", Taken())
    run = run_limited(hold, 300, limit=LIMIT)
    assert (run.outcome, run.value, run.capped, run.limit) == ("returned", 1, False, LIMIT)


@forks
def test_without_a_cap_a_machine_that_runs_short_stops_the_child(monkeypatch):
    monkeypatch.setattr(limited_child, "resource", None)
    free = iter([2000 * MB, 2000 * MB])
    answer = type(
        "Memory", (), {"total": 4000 * MB, "available": property(lambda self: next(free, 300 * MB))}
    )
    monkeypatch.setattr(limits.psutil, "virtual_memory", answer)
    run = run_limited(time.sleep, 60, limit=LIMIT, timeout=30)
    assert run.outcome == "killed" and run.error.endswith(
        "no cap, and less than 400.00 MB of the machine was left"
    )


# ---- what is shown, what is refused ----


def test_the_first_lines_do_not_vary_and_the_table_has_the_figures():
    run = limits.LimitedRun(
        "failed", error="KeyError: 1\nmore", limit=512 * MB, capped=True, peak_private=3 * MB
    )
    assert repr(run) == "failed under a cap of 512.00 MB of private memory\nKeyError: 1"
    rows = dict(run.table().rows)
    assert (rows["peak private"], rows["peak file-backed"], rows["limit"]) == (
        "3.00 MB",
        "unknown",
        "512.00 MB",
    )
    assert repr(limits.LimitedRun("failed", error="no")) == "failed before the function began\nno"


@pytest.mark.parametrize("limit", [0, -5, 15_999_999, 5e8, True, "512 MB", None])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(ValueError) as caught:
        run_limited(print, limit=limit)
    text = f"limit is {limit!r}: expected a whole number, at least 16000000 bytes (16 MB)"
    assert str(caught.value).startswith(text) and str(caught.value).endswith(
        "500 MB is 500_000_000"
    )


@pytest.mark.parametrize("timeout", [0, -1, True, "5", float("nan")])
def test_a_timeout_that_is_none_is_refused(timeout):
    with pytest.raises(ValueError, match=r"timeout is .*: expected seconds above 0, or None"):
        run_limited(print, limit=LIMIT, timeout=timeout)


def test_a_result_in_place_of_a_function_is_refused():
    with pytest.raises(
        TypeError,
        match=r"target is NoneType: expected a function, .* run_limited\(train, 3, limit=",
    ):
        run_limited(print(), limit=LIMIT)


def test_a_function_that_cannot_be_sent_is_refused_with_the_remedy():
    with pytest.raises(
        TypeError, match=r"'<lambda>' cannot be sent to a new process \(.*\): put it into a module"
    ):
        run_limited(lambda: 1, limit=LIMIT, start_method="spawn")


def test_a_function_of_a_cell_cannot_be_spawned(monkeypatch):
    notebook = types.ModuleType("__main__")
    exec("def learn(): pass", notebook.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    with pytest.raises(
        TypeError,
        match=r"'learn' cannot be sent to a new process \(it stands in a notebook's cell\)",
    ):
        run_limited(notebook.learn, limit=LIMIT, start_method="spawn")
