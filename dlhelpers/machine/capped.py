"""Run a function in a fresh process under a hard cap on its private memory, and tell what became of it.

A process of its own, because a limit that was lowered stays low, and because what the system kills is lost: it must not
be the learner's kernel. Fresh, because a copy of the kernel would have its threads, its CUDA and its freed memory.

Importing torch takes seconds. So one helper process, the server, imports it at the first call and then forks a child
for each call. It ends with this process, or when nothing has been asked of it for a while. (multiprocessing's own
forkserver would run a script without a main guard again, keep the environment of its start, and never end by itself.)
Each call has a temporary folder, so that no full pipe can hold anybody up. Its files, in the order of a call:
call    what is to be done, and in which surroundings          start   what the child held at first; is it capped?
output  what the child printed                                 report  what came of it, unless the child was killed
seen    what the server saw of the child; then the call is over
"""

import json
import mmap
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO, FileIO
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import NoReturn

import cloudpickle
import psutil
import torch

from dlhelpers.base.checks import check_kind, check_whole
from dlhelpers.base.sizes import human_bytes
from dlhelpers.machine.memory import (
    MemoryUse,
    is_out_of_memory,
    memory_use,
    tells_out_of_memory,
)

# elsewhere there is no cap, and each call waits for a new Python: system libraries have threads, which a fork does not
# bear
LINUX = sys.platform == "linux"
if LINUX:
    import resource

LEAST = 16_000_000  # bytes: the stack of one thread takes half of it
TICK = 0.005  # seconds between two looks at the child
IDLE = 300.0  # seconds after which the server, which holds some 360 MB, ends
CHILD = {  # variables of its environment
    "CUDA_VISIBLE_DEVICES": "",
    "DLHELPERS_DEVICE": "cpu",
    "PYTHONIOENCODING": "utf-8",  # of its output, which is read as such
    "MALLOC_MMAP_THRESHOLD_": "262144",  # glibc: a peak is what was held, not what was kept
}


@dataclass(frozen=True, repr=False)
class LimitedRun:
    """What became of a function under a cap: sizes in bytes, peaks beyond what the child held when it began.

    outcome, value     "returned", "out of memory", "failed" or "killed"; what the function returned
    error, traceback   the error's type and text, and where it arose in the child
    peak_private       most anonymous memory of the child, looked at every 5 ms, without processes that it started
    peak_file_backed   most file-backed memory, which the system may drop and read again (not told by all systems)
    seconds            inside the function, or until the child was killed
    limit, capped      the bytes allowed; whether a cap was in force
    """

    outcome: str
    value: object = None
    error: str = ""
    traceback: str = ""
    peak_private: int = 0
    peak_file_backed: int = 0
    seconds: float = 0.0
    limit: int = 0
    capped: bool = False

    def __repr__(self) -> str:
        """Outcome, cap and error: nothing that was measured, so that two runs read the same."""
        cap = "without a cap on private memory"
        if self.capped:
            cap = f"under a cap of {human_bytes(self.limit)} of private memory"
        return "\n".join([f"{self.outcome} {cap}", *self.error.splitlines()[:1]])


def run_limited(target: Callable, *args: object, limit: int, timeout: float = inf) -> LimitedRun:
    """Run `target(*args)` in a fresh process that may take `limit` bytes of private memory beyond what it starts with.

    The cap is Linux's RLIMIT_DATA, which counts private, writable addresses (Linux manual page getrlimit(2)): arrays,
    tensors, stacks, but not a file mapped for reading, nor shared memory. What the function brings along counts: its
    arguments, and global arrays that it uses. PyTorch, and installed packages that it names, are imported beforehand.
    Processes that `target` starts, as workers of a DataLoader, inherit the cap, each for itself. Other systems have no
    such cap: there the child runs without, and the result says so. It is stopped when the machine runs short.

    The child gets copies of function and arguments, also of those that stand in a notebook's cell. It has this
    process's environment variables, folder and `sys.path`, and one thread, no GPU, and random numbers that begin anew.
    What it prints appears here at the end, as text. The first call takes seconds, since PyTorch is imported for it.
    timeout  seconds after which the child is killed
    Whatever befalls the child is told by the result. Raises ValueError for a limit under 16 MB or not whole, TypeError
    for a target that cannot be called or sent to another process.
    """
    check_kind(
        "target",
        target,
        Callable,
        "a function, its arguments behind it, as run_limited(train, 3, limit=500_000_000)",
    )
    check_whole(
        "limit",
        limit,
        LEAST,
        " bytes (16 MB): a single thread's stack takes 8 MB; 500 MB is 500_000_000",
    )
    call, modules = _packed(target, args)
    surroundings = dict(os.environ) | CHILD, os.getcwd(), sys.path, limit
    with _one_at_a_time, TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "call").write_bytes(pickle.dumps(surroundings) + call)
        (folder / "output").touch()
        try:
            if LINUX:
                fields = _asked(folder, modules, float(timeout))
            else:
                fields = _attended(_python(f"do_call({name!r})", folder), folder, timeout)
        finally:
            output = (folder / "output").read_bytes().decode("utf-8", "replace")
            print(output, end="")
        if (folder / "report").exists():
            fields |= _read(folder / "report")
        else:  # its last lines tell why
            if tells_out_of_memory(output):
                fields["outcome"] = "out of memory"
            lines = filter(None, output.splitlines()[-3:])
            fields["error"] = ": ".join([fields["error"], *lines])
        return LimitedRun(**fields, limit=limit)


# ---- what is sent ----


class _Pickler(cloudpickle.Pickler):
    """Packs functions and classes of a notebook or script by value, and notes them and the modules of others."""

    def __init__(self, file: BytesIO):
        super().__init__(file)
        self.main: dict[str, object] = {}
        self.modules: set[str] = set()

    def reducer_override(self, obj: object) -> object:
        """Note what an object needs."""
        module = getattr(obj, "__module__", None) or getattr(obj, "__name__", "")
        self.modules.add(module)
        if module == "__main__" and hasattr(obj, "__qualname__"):
            self.main[obj.__qualname__] = obj
        return super().reducer_override(obj)


def _packed(target: Callable, args: tuple) -> tuple[bytes, list[str]]:
    """The call as bytes, and the installed modules that it needs; TypeError where it cannot be sent."""
    file = BytesIO()
    pickler = _Pickler(file)
    try:
        # what belongs into the child's `__main__`, so that objects of these classes come back as ours
        pickler.dump((target, args, pickler.main))
    except Exception as error:  # pickle raises what it likes, as AttributeError or TypeError
        came = f"target {getattr(target, '__name__', target)!r} cannot be sent to a new process"
        remedy = (
            "make locks, generators and iterators of a loader inside the function,"
            " and give it plain values, arrays, tensors and datasets"
        )
        raise TypeError(f"{came} ({type(error).__name__}: {error}): {remedy}") from error
    return file.getvalue(), sorted(filter(_is_installed, pickler.modules))


def _is_installed(name: str) -> bool:
    """Whether a module belongs to this package or to an installed one, and not to the learner."""
    file = Path(getattr(sys.modules.get(name), "__file__", None) or "")
    return not {"dlhelpers", "site-packages", "dist-packages"}.isdisjoint(file.parts)


# ---- the server, seen from here ----

_one_at_a_time = threading.Lock()
_server: psutil.Popen | None = None


def _python(code: str, folder: Path) -> psutil.Popen:
    """A new Python that runs one line with the names of this module; what it has to say goes into a folder."""
    start = f"import sys; sys.path[:] = {sys.path}; from dlhelpers.machine.capped import *; "
    with open(folder / "output", "ab") as output:
        return psutil.Popen(
            [sys.executable, "-u", "-c", start + code],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=dict(os.environ) | CHILD,
            start_new_session=True,  # the keys that interrupt this process do not reach it
        )


def _asked(folder: Path, modules: list[str], timeout: float) -> dict[str, object]:
    """Have the server, started where none runs, do the call in a folder; return what it saw of the child."""
    global _server
    # in a process that was forked from this one, the server of this one does not seem to run
    if _server is None or _server.poll() is not None:
        _server = _python(f"serve({IDLE})", folder)
    try:
        with suppress(BrokenPipeError):  # it has ended, and its code says why
            request = json.dumps([str(folder), modules, timeout])
            _server.stdin.write(f"{request}\n".encode())
        while not (folder / "seen").exists():
            if (code := _server.poll()) is not None:
                return _ended_by(code)
            sleep(TICK)
    except BaseException:
        _server.stdin.close()  # an interrupt: nothing is left half done, and the next call starts anew
        _server.wait()
        raise
    return _read(folder / "seen")


# ---- the server's side ----


def serve(idle: float) -> None:
    """Fork a child for each request on the standard input, until that ends or is silent for `idle` seconds."""
    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1)])  # the first optimizer of a process imports 80 MB of PyTorch
    requests = open(0, "rb", buffering=0)
    while select.select([requests], [], [], idle)[0] and (line := requests.readline()):
        name, modules, timeout = json.loads(line)
        folder = Path(name)
        for module in modules:
            with suppress(Exception):  # the child will tell
                import_module(module)
        child = os.fork()
        if child == 0:
            do_call(name)
        _write(folder / "seen", _attended(psutil.Process(child), folder, timeout, requests))
    os._exit(0)  # tidying up after PyTorch would take a second


def _attended(
    child: psutil.Process, folder: Path, timeout: float, requests: FileIO | None = None
) -> dict[str, object]:
    """Look at a child until it ends, and kill it when its time or the machine's memory is over, or nobody waits for it.

    Returns the fields of its run as far as they are seen from outside.
    """
    peak, stopped, code = MemoryUse(0), "", None
    spare = psutil.virtual_memory().available // 4
    began = perf_counter()
    try:
        while code is None:
            with suppress(psutil.Error):  # where it has just ended, some systems tell nothing
                peak = MemoryUse(*map(max, peak, memory_use(child.pid)))
            if perf_counter() - began > timeout:
                stopped = f"it was still running at its timeout of {timeout:g} seconds"
            elif psutil.virtual_memory().available < spare:
                stopped = f"less than {human_bytes(spare)} of the machine's memory was left"
            # nothing is asked during a call: a line, or the end of all lines, means that nobody waits
            if stopped or requests and select.select([requests], [], [], 0)[0]:
                _kill(child)
            with suppress(psutil.TimeoutExpired):
                code = int(child.wait(TICK))
    finally:
        _kill(child)
    fields = _ended_by(code) | {"seconds": perf_counter() - began}
    if stopped:
        fields["error"] = f"killed by the parent: {stopped}"
    if (folder / "start").exists():
        start, fields["capped"] = _read(folder / "start")
        peak = MemoryUse(*map(max, peak, start))
        fields["peak_private"] = peak.private - start.private
        fields["peak_file_backed"] = peak.file_backed - start.file_backed
    return fields


def _kill(child: psutil.Process) -> None:
    """Kill a process and all that it has started."""
    with suppress(psutil.Error):
        for process in [child, *child.children(recursive=True)]:
            process.kill()


def _ended_by(code: int) -> dict[str, object]:
    """What an exit code (minus a signal's number) says of a process that reported nothing."""
    outcome, how = "failed", f"exit code {code}"
    if code < 0:
        outcome, how = "killed", signal.Signals(-code).name
    return {"outcome": outcome, "error": f"ended by {how} without a result"}


# ---- the child ----


def do_call(folder: str) -> NoReturn:
    """Do the call that lies in a folder under its cap, write `start` and `report` there, and end this process."""
    doing, began = "reading the call: ", perf_counter()
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        output = os.open(Path(folder, "output"), os.O_WRONLY | os.O_APPEND)
        for number in (1, 2):
            os.dup2(output, number)
        with open(Path(folder, "call"), "rb") as file:
            environment, place, path, limit = pickle.load(file)
            os.environ.clear()
            os.environ.update(environment)
            os.chdir(place)
            sys.path[:] = path
            _write(Path(folder, "start"), (memory_use(), _set_cap(limit)))
            try:
                target, args, main = pickle.load(file)
                vars(sys.modules["__main__"]).update(main)
                doing, began = "", perf_counter()
                value = target(*args)
            finally:
                seconds = perf_counter() - began
                if LINUX:  # no cap any more, since telling takes memory
                    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY,) * 2)
        doing = "the value cannot be sent back, return numbers, text, arrays or tensors: "
        report = {"outcome": "returned", "value": value, "error": "", "seconds": seconds}
        _write(Path(folder, "report"), report)
    except BaseException as error:
        # a SystemExit or KeyboardInterrupt must not leave the child either
        report = {
            "outcome": "out of memory" if is_out_of_memory(error) else "failed",
            "error": doing + "".join(traceback.format_exception_only(error)).strip(),
            "traceback": traceback.format_exc(),
            "seconds": perf_counter() - began,
        }
        _write(Path(folder, "report"), report)
    finally:
        os._exit(0)  # no handler of the server runs here


def _set_cap(limit: int) -> bool:
    """Cap private memory at what is held plus `limit`; return whether there is a cap."""
    if not LINUX:
        return False
    cap = psutil.Process().memory_info().data + limit
    resource.setrlimit(resource.RLIMIT_DATA, (cap, resource.RLIM_INFINITY))
    try:
        mmap.mmap(-1, limit + LEAST, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        return True
    return False  # some sandboxes take a limit and do not keep it


def _write(path: Path, content: object) -> None:
    """Write a file that is there whole or not at all."""
    part = path.with_suffix(".part")
    part.write_bytes(pickle.dumps(content))
    part.replace(path)


def _read(path: Path) -> object:
    """What `_write` has written."""
    return pickle.loads(path.read_bytes())
