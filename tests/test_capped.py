"""Tests of `run_limited`: each end that a child can come to, what it is given, and that nothing is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import numpy as np
import psutil
import pytest
import torch
from long_cases import linux_only
from run_notebooks import ROOT
from torch.utils.data import DataLoader

from dlhelpers.machine import capped, run_limited
from dlhelpers.machine.capped import LimitedRun

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # no child has to import this file
MB = 1_000_000
LIMIT = 200 * MB
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")


def servers():
    """Return the processes below this one that fork the children."""
    return [process for process in psutil.Process().children() if is_server(process)]


def is_server(process):
    try:
        return "dlhelpers.machine.capped import" in " ".join(process.cmdline())
    except psutil.Error:
        return False  # it has just ended


@pytest.fixture(autouse=True)
def nothing_but_one_server_is_left():
    yield
    assert soon(lambda: len(servers()) <= 1)


@pytest.fixture
def fresh_server():
    """Begin without a server and end with none, so that one starts in the surroundings of a test."""
    stop_servers()
    yield
    stop_servers()


def stop_servers():
    running = servers()
    for server in running:
        server.kill()
    psutil.wait_procs(running)


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
def test_the_limit_is_what_the_function_may_take_beyond_the_start():
    fits, too_much = run_limited(hold, 150, limit=LIMIT), run_limited(hold, 300, limit=LIMIT)
    assert fits.outcome == "returned" and 145 * MB < fits.peak_private < 170 * MB
    assert too_much.outcome == "out of memory" and too_much.peak_private < 100 * MB


@linux_only
@pytest.mark.parametrize("size", [3_000, 3 * MB])
def test_blocks_of_any_size_fill_the_limit_and_no_more(size):
    """What a fresh process has freed while it started would be filled uncounted."""

    def fill():
        blocks = []
        try:
            while len(blocks) * size < LIMIT:
                blocks.append(np.ones(size, np.uint8))
        except MemoryError:
            pass
        return len(blocks) * size

    assert 20 * MB < run_limited(fill, limit=32 * MB).value < 36 * MB


@linux_only
def test_what_the_function_brings_along_counts():
    brought = np.ones(40 * MB, np.uint8)

    def total():
        return int(brought.sum())

    run = run_limited(total, limit=20 * MB)
    assert run.outcome == "out of memory" and run.error.startswith("reading the call: MemoryError")
    assert run_limited(total, limit=LIMIT).value == 40 * MB
    assert run_limited(len, brought, limit=20 * MB).outcome == "out of memory"


@linux_only
def test_telling_the_value_does_not_count():
    run = run_limited(bytes, 70 * MB, limit=100 * MB)
    assert run.outcome == "returned" and len(run.value) == 70 * MB, run.error


@linux_only
def test_an_allocator_that_aborts_the_process_is_out_of_memory(capfd):
    def abort():
        os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
        os.abort()

    run = run_limited(abort, limit=LIMIT)
    assert run.outcome == "out of memory" and "SIGABRT" in run.error and "bad_alloc" in run.error


# ---- ends ----


def test_a_value_comes_back_as_it_is():
    text = "α" * (3 * MB)
    run = run_limited(lambda *args: (args, text), 1, None, limit=LIMIT)
    assert (run.outcome, run.error, run.traceback) == ("returned", "", "")
    assert run.value == ((1, None), text)


def test_an_exception_is_told_with_its_type_text_and_place():
    def broken():
        raise KeyError("no such class")

    run = run_limited(broken, limit=LIMIT)
    assert (run.outcome, run.error) == ("failed", "KeyError: 'no such class'")
    assert "in broken\nKeyError" in run.traceback


@posix_only
@pytest.mark.parametrize(
    "end, outcome, text",
    [
        (lambda: sys.exit(3), "failed", "SystemExit: 3"),
        (lambda: os._exit(3), "failed", "ended by exit code 3 without a result"),
        (lambda: psutil.Process().kill(), "killed", "ended by SIGKILL without a result"),
        (lambda: torch.empty(2**52), "out of memory", "RuntimeError: "),
        (lambda: threading.Lock(), "failed", "the value cannot be sent back, return numbers"),
    ],
)
def test_other_ends_are_named(end, outcome, text):
    run = run_limited(end, limit=LIMIT)
    assert run.outcome == outcome and run.error.startswith(text) and run.value is None


@linux_only
def test_a_server_that_is_killed_during_a_call_is_told_and_the_next_call_has_another():
    def end_server():
        psutil.Process().parent().kill()
        time.sleep(1)

    run = run_limited(end_server, limit=LIMIT)
    assert (run.outcome, run.error) == ("killed", "ended by SIGKILL without a result")
    assert run_limited(lambda: 1, limit=LIMIT).value == 1


@posix_only
def test_a_timeout_kills_the_child_and_what_it_started(tmp_path):
    def start_another():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        (tmp_path / "pid").write_text(str(child.pid))
        time.sleep(60)

    run = run_limited(start_another, limit=LIMIT, timeout=1)
    assert run.outcome == "killed" and 1 <= run.seconds < 5
    assert run.error == "killed by the parent: it was still running at its timeout of 1 seconds"
    assert soon(lambda: not lives(int((tmp_path / "pid").read_text())))


# ---- what the child is given, and what it prints ----


def test_the_child_has_the_surroundings_of_now(tmp_path, monkeypatch):
    def surroundings():
        return os.environ.get("SET_AFTERWARDS"), os.getcwd(), sys.path

    assert run_limited(surroundings, limit=LIMIT).value[0] is None
    monkeypatch.setenv("SET_AFTERWARDS", "yes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert run_limited(surroundings, limit=LIMIT).value == ("yes", str(tmp_path), sys.path)
    (tmp_path / "of_the_learner.py").write_text("def give(): return 1\n")
    from of_the_learner import give

    assert run_limited(give, limit=LIMIT).value == 1
    (tmp_path / "of_the_learner.py").write_text("def give(): return 22\n")
    assert run_limited(give, limit=LIMIT).value == 22, "the server keeps no module of a learner"


@linux_only
def test_a_script_without_a_main_guard_runs_once_and_its_child_ends_with_it(tmp_path):
    (tmp_path / "script.py").write_text(
        """
import dataclasses, multiprocessing, os, pathlib, time
import numpy as np
from dlhelpers.machine import run_limited

print("once")
multiprocessing.set_start_method("forkserver")  # Python 3.14's own

@dataclasses.dataclass
class Point:
    x: int

    def twice(self):
        return FACTOR * self.x

FACTOR = 2
many = np.ones(50_000_000, np.uint8)

def move(point):
    return Point(point.twice() + 1)

def stay():
    pathlib.Path("pids").write_text(f"{os.getpid()} {os.getppid()}")
    time.sleep(60)

first = run_limited(move, Point(3), limit=20_000_000).value == Point(7)
outcome = run_limited(lambda: int(many.sum()), limit=20_000_000).outcome
FACTOR = 10
print(first, outcome, run_limited(move, Point(3), limit=20_000_000).value.twice())
run_limited(stay, limit=200_000_000)
"""
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told, pids = tmp_path / "told", tmp_path / "pids"
    command = [sys.executable, "-u", "script.py"]
    with told.open("w") as file:
        kernel = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=file)
    assert soon(lambda: pids.exists() and pids.read_text(), seconds=200)
    kernel.kill()
    kernel.wait()
    said = told.read_text()
    assert said.count("once") == 1 and said.endswith("True out of memory 310\n"), said
    assert soon(lambda: not any(lives(int(pid)) for pid in pids.read_text().split()))


def test_what_the_child_prints_appears_here_whole_and_once(capsys):
    print("before")

    def talk():
        print("grüße " * 200_000)
        print("warned", file=sys.stderr)
        os.write(1, b"from below\n")

    assert run_limited(talk, limit=LIMIT).outcome == "returned"
    shown = "before\n" + "grüße " * 200_000 + "\nwarned\nfrom below\n"
    assert capsys.readouterr().out == shown


def test_it_runs_outside_the_main_thread_one_call_after_the_other():
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda k: run_limited(abs, -k, limit=LIMIT), range(3)))
    assert [run.value for run in runs] == [0, 1, 2]


@linux_only
def test_calls_are_forked_from_one_server():
    parents = {run_limited(os.getppid, limit=LIMIT).value for _ in range(2)}
    assert parents == {server.pid for server in servers()}


# ---- what is shown, what is refused ----


def test_the_first_lines_do_not_vary():
    run = LimitedRun("failed", error="KeyError: 1\nmore", capped=True, limit=512 * MB)
    assert repr(run) == "failed under a cap of 512.00 MB of private memory\nKeyError: 1"


def test_a_limit_or_a_function_that_is_none_is_refused():
    told = "limit is '512 MB': expected a whole number, at least 16000000 bytes.*is 500_000_000"
    with pytest.raises(ValueError, match=told):
        run_limited(print, limit="512 MB")
    told = r"target is None: expected a function, .* run_limited\(train, 3, limit="
    with pytest.raises(TypeError, match=told):
        run_limited(print(), limit=LIMIT)


def test_what_cannot_leave_this_process_is_refused_with_the_remedy():
    batches = iter(DataLoader(range(2)))

    def learn():
        return batches

    told = r"'learn' cannot be sent to a new process \(.*\): make locks, generators"
    with pytest.raises(TypeError, match=told):
        run_limited(learn, limit=LIMIT)


# ---- last, since the server ends with them ----


@posix_only
def test_an_interrupt_here_ends_the_child(tmp_path):
    pid = tmp_path / "pid"

    def sleep():
        pid.write_text(str(os.getpid()))
        time.sleep(600)

    def interrupt():
        if soon(lambda: pid.exists() and pid.read_text(), seconds=200):
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_limited(sleep, limit=LIMIT)
    thread.join()
    assert soon(lambda: not lives(int(pid.read_text())))
    assert time.monotonic() - began < 250, "it was waited for, not ended"


# ---- other systems ----


@linux_only
def test_without_a_cap_the_run_says_so_and_ends_before_the_machine_is_full(
    tmp_path, monkeypatch, fresh_server
):
    """Some sandboxes take a limit and do not keep it. A server that is idle ends, and the next call has another."""
    monkeypatch.setattr(capped, "IDLE", 0.5)
    full = tmp_path / "full"
    (tmp_path / "sitecustomize.py").write_text(
        "import os, psutil, resource\n"
        "class Memory:\n"
        f"    available = property(lambda self: 300 if os.path.exists({str(full)!r}) else 2000)\n"
        "psutil.virtual_memory = Memory\n"
        "resource.setrlimit = lambda kind, limits: None\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))

    def fill():
        time.sleep(1)  # the parent has looked at the memory once by then
        full.touch()
        time.sleep(60)

    run = run_limited(fill, limit=LIMIT)
    assert run.outcome == "killed"
    assert run.error.endswith("less than 500 bytes of the machine's memory was left")
    full.unlink()
    run = run_limited(lambda: (hold(300), os.getppid()), limit=LIMIT)
    assert (run.outcome, run.value[0], run.capped, run.limit) == ("returned", 1, False, LIMIT)
    assert run.peak_private > 200 * MB and soon(lambda: not lives(run.value[1]))
    assert repr(run) == "returned without a cap on private memory"


def test_where_nothing_is_forked_each_call_has_a_python_of_its_own(monkeypatch, fresh_server):
    monkeypatch.setattr(capped, "LINUX", False)
    run = run_limited(lambda: (os.getpid(), np.ones(5).tolist()), limit=LIMIT)
    assert run.outcome == "returned" and run.value[1] == [1.0] * 5, run.error
    assert not lives(run.value[0]) and not servers()
