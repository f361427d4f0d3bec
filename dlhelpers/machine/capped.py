"""Run a function in a fresh process under a hard cap on its private memory, and tell what became of it.

A process of its own, because a limit that was lowered stays low, and because what the system kills is lost: it must not
be the learner's kernel. Fresh, because a copy of the kernel would have its threads, its CUDA and its freed memory.

Importing torch takes seconds. So one helper process, the server, imports it at the first call and then forks a child
for each call. It ends with this process, or when nothing has been asked of it for a while. (multiprocessing's own
forkserver would run a script without a main guard again, keep the environment of its start, and never end by itself.)
Call, result and output travel through files in a temporary folder, so that no full pipe can hold anybody up.
"""

import io
import json
import linecache
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
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter, sleep
from types import CodeType, ModuleType
from typing import Literal, NoReturn

import cloudpickle
import psutil
import torch

from dlhelpers.base.checks import check_whole
from dlhelpers.base.sizes import human_bytes
from dlhelpers.base.tables import Table
from dlhelpers.machine.memory import (
    MemoryUse,
    is_out_of_memory,
    memory_use,
    resource,
    tells_out_of_memory,
)

LEAST = 16_000_000  # bytes: the stack of one thread takes half of it
TICK = 0.005  # seconds between two looks at the child
IDLE = 300.0  # seconds after which the server, which holds some 360 MB, is no longer kept
FORKS = (
    sys.platform == "linux"
)  # elsewhere each call waits for a new Python: system libraries have threads
NO_GPU = {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "-1", "DLHELPERS_DEVICE": "cpu"}
KEEP_NOTHING = {
    "MALLOC_MMAP_THRESHOLD_": "262144"
}  # glibc: a peak is what was held, not what was kept


@dataclass(frozen=True, repr=False)
class LimitedRun:
    """What became of a function under a cap: sizes in bytes, peaks beyond what the child held when it began.

    outcome, value     how it ended; what the function returned
    error, traceback   the error's type and text, and where it arose in the child
    peak_private       most anonymous memory of the child, looked at every 5 ms, without processes that it started
    peak_file_backed   most file-backed memory, which the system may drop and read again; None where it is not told
    seconds            inside the function, or until the child was killed
    limit, capped      the bytes allowed (less than asked where the system allows less); whether a cap was in force
    """

    outcome: Literal["returned", "out of memory", "failed", "killed"]
    value: object = None
    error: str = ""
    traceback: str = ""
    peak_private: int | None = None
    peak_file_backed: int | None = None
    seconds: float = 0.0
    limit: int = 0
    capped: bool = False

    def __repr__(self) -> str:
        """Outcome, cap and error: nothing that was measured, so that two runs read the same."""
        cap = "without a cap on private memory: this system has none"
        if self.capped:
            cap = f"under a cap of {human_bytes(self.limit)} of private memory"
        elif self.peak_private is None:
            cap = "before the function began"
        return "\n".join([f"{self.outcome} {cap}", *self.error.splitlines()[:1]])

    def table(self) -> Table:
        """Return all figures as a table; they differ a little from run to run."""
        sizes = {
            "limit": self.limit,
            "peak private": self.peak_private,
            "peak file-backed": self.peak_file_backed,
        }
        rows = [("outcome", self.outcome), ("capped", self.capped)]
        for name, size in sizes.items():
            rows.append((name, "unknown" if size is None else human_bytes(size)))
        rows.append(("seconds", f"{self.seconds:.2f}"))
        return Table(["figure", "value"], rows, notes=[self.error] if self.error else [])


def run_limited(
    target: Callable, *args: object, limit: int, timeout: float | None = None
) -> LimitedRun:
    """Run `target(*args)` in a fresh process that may take `limit` bytes of private memory beyond what it starts with.

    The cap is Linux's RLIMIT_DATA, which counts private, writable addresses (Linux manual page getrlimit(2)): arrays,
    tensors, stacks, but not a file mapped for reading, nor shared memory. What the function brings along counts: its
    arguments, and global arrays that it uses. PyTorch, and installed packages that it names, are imported beforehand.
    Processes that `target` starts, as workers of a DataLoader, inherit the cap, each for itself. Other systems have no
    such cap: there the child runs without, the result says so, and it is stopped when the machine runs short.

    The child gets copies of function and arguments, also of those that stand in a notebook's cell. It has this
    process's environment variables, folder and `sys.path`, and one thread, no GPU, and random numbers that begin anew.
    What it prints appears here at the end, as text. The first call takes seconds, since PyTorch is imported for it.
    timeout  seconds inside the function after which it is killed
    Whatever befalls the child is told by the result. Raises ValueError for a limit under 16 MB or not whole and for a
    timeout that is not positive, TypeError for a target that cannot be called or sent to another process.
    """
    if not callable(target):
        came = f"target is {type(target).__name__}: expected a function, its arguments behind it"
        raise TypeError(f"{came}, as run_limited(train, 3, limit=500_000_000)")
    why = " bytes (16 MB): a single thread's stack takes 8 MB; 500 MB is 500_000_000"
    check_whole("limit", limit, LEAST, why)
    number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if timeout is not None and not (number and timeout > 0):
        expected = "expected seconds above 0, or None to wait for as long as it takes"
        raise ValueError(f"timeout is {timeout!r}: {expected}")
    call, modules = _packed(target, args)
    # the lines of a notebook's cells, which are in no file, for the traceback
    cells = {file: entry for file, entry in linecache.cache.items() if entry[1:2] == (None,)}
    surroundings = dict(os.environ) | NO_GPU, os.getcwd(), sys.path, cells, limit
    with (
        _one_at_a_time,
        TemporaryDirectory(prefix="limited-", ignore_cleanup_errors=True) as folder,
    ):
        Path(folder, "call").write_bytes(pickle.dumps(surroundings) + call)
        watch, server = _Watch(Path(folder), timeout), _running_server(folder)
        try:
            server.ask(folder, modules)
            while (code := server.exit_code(folder)) is None:
                sleep(TICK)
                if watch.look():
                    _kill(watch.start["pid"])
        except BaseException:
            server.end()  # an interrupt: nothing is left half done, and the next call starts anew
            raise
        finally:
            watch.show_output()
        return watch.result(code)


# ---- what is sent ----


class _Pickler(cloudpickle.Pickler):
    """Packs functions and classes of a notebook or script by value, and notes what else it meets."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file)
        self.main: dict[str, object] = {}
        self.modules: set[str] = set()

    def reducer_override(self, obj: object) -> object:
        """Note the modules of functions and classes; refuse what the child could not use."""
        if isinstance(obj, torch.Tensor) and obj.device.type != "cpu":
            raise TypeError(
                f"a tensor on {obj.device}, and the child has no GPU: send it as .cpu()"
            )
        if isinstance(obj, CodeType):  # cloudpickle forgets the file, which a traceback shows
            return _code, (obj.co_filename, *self.dispatch_table[CodeType](obj)[1])
        if isinstance(obj, ModuleType):
            self.modules.add(obj.__name__)
        elif hasattr(obj, "__qualname__") and getattr(obj, "__module__", None):
            self.modules.add(obj.__module__)
            if obj.__module__ == "__main__" and "." not in obj.__qualname__:
                self.main[obj.__qualname__] = obj
        return super().reducer_override(obj)


def _code(file: str, *args: object) -> CodeType:
    """Code as cloudpickle makes it, with the name of its file."""
    return CodeType(*args).replace(co_filename=file)


def _packed(target: Callable, args: tuple) -> tuple[bytes, list[str]]:
    """The call as bytes, and the installed modules that it needs; TypeError where it cannot be sent."""
    file = io.BytesIO()
    pickler = _Pickler(file)
    try:
        pickler.dump((target, args))
        pickler.dump(pickler.main)  # the same objects: what they return is then theirs here, too
    except Exception as error:  # pickle raises what it likes, as AttributeError or TypeError
        came = f"target {getattr(target, '__name__', target)!r} cannot be sent to a new process"
        remedy = (
            "make locks, generators and iterators of a loader inside the function,"
            " and give it plain values, arrays, tensors and datasets"
        )
        raise TypeError(f"{came} ({type(error).__name__}: {error}): {remedy}") from error
    return file.getvalue(), sorted(name for name in pickler.modules if _is_installed(name))


def _is_installed(name: str) -> bool:
    """Whether a module belongs to this package or to an installed one, and not to the learner."""
    file = Path(getattr(sys.modules.get(name), "__file__", None) or "")
    return not {"dlhelpers", "site-packages", "dist-packages"}.isdisjoint(file.parts)


# ---- the server and its child, seen from here ----


class _Server:
    """A Python with torch in it, which forks a child for each call; where none is forked, it is the child itself."""

    def __init__(self, folder: str):
        code = f"import sys; sys.path[:] = {sys.path}; from dlhelpers.machine.capped import serve; "
        self.owner, self.used = os.getpid(), monotonic()
        with open(Path(folder, "stderr"), "ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code + f"serve({IDLE + 60}, {FORKS})"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=dict(os.environ) | NO_GPU | KEEP_NOTHING,
                start_new_session=True,  # the keys that interrupt this process do not reach it
            )

    def usable(self) -> bool:
        """Whether it is ours (not that of a process which forked us), runs, and will not end in a moment."""
        ours = FORKS and self.owner == os.getpid()
        return ours and self.process.poll() is None and monotonic() - self.used < IDLE

    def ask(self, folder: str, modules: list[str]) -> None:
        """Ask for a child that does the call in a folder."""
        with suppress(BrokenPipeError):  # the server has ended, and `exit_code` says how
            self.process.stdin.write(json.dumps([folder, modules]).encode() + b"\n")
            self.process.stdin.flush()

    def exit_code(self, folder: str) -> int | None:
        """The code by which the child ended (minus a signal's number), None while it runs."""
        self.used = monotonic()
        file = Path(folder, "exit")
        return _read(file) if file.exists() else self.process.poll()

    def end(self) -> None:
        """End the server, and with it the child."""
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        if not FORKS and self.process.poll() is None:
            _kill(self.process.pid)
        self.process.wait()


_one_at_a_time = threading.Lock()
_servers: list[_Server] = []


def _running_server(folder: str) -> _Server:
    """The server of this process, started where there is none; what it has to say meanwhile goes into a folder."""
    if not _servers or not _servers[0].usable():
        if _servers and _servers[0].owner == os.getpid():
            _servers[0].end()
        _servers[:] = [_Server(folder)]
    return _servers[0]


class _Watch:
    """The parent's eye on the child: its memory, its output, its time."""

    def __init__(self, folder: Path, timeout: float | None):
        self.folder, self.timeout = folder, timeout
        self.start: dict = {}
        self.began = perf_counter()
        self.stopped = self.tail = ""
        self.private = self.file_backed = 0
        memory = psutil.virtual_memory()
        self.spare = min(memory.total // 10, memory.available // 2)

    def look(self) -> str:
        """Note the child's memory; return why it is to be stopped, where its time or the machine's memory is over."""
        if not self.start:
            if not (self.folder / "start").exists():
                return ""
            self.start, self.began = _read(self.folder / "start"), perf_counter()
        with suppress(psutil.Error):  # it ended meanwhile
            self.note(memory_use(self.start["pid"]))
        if not self.start["capped"] and psutil.virtual_memory().available < self.spare:
            spare = human_bytes(self.spare)
            self.stopped = f"this system has no cap, and less than {spare} of the machine was left"
        elif self.timeout is not None and perf_counter() - self.began > self.timeout:
            self.stopped = f"it was still running at its timeout of {self.timeout:g} seconds"
        return self.stopped

    def note(self, use: MemoryUse) -> None:
        """Raise the peaks to what is held now."""
        self.private = max(self.private, use.private)
        self.file_backed = max(self.file_backed, use.file_backed or 0)

    def show_output(self) -> None:
        """Print here what the child has printed."""
        for name in ("stdout", "stderr"):
            file = self.folder / name
            text = file.read_bytes().decode("utf-8", "replace") if file.exists() else ""
            getattr(sys, name).write(text)
            self.tail = "; ".join(line for line in text.splitlines()[-3:] if line)

    def result(self, code: int) -> LimitedRun:
        """Put together what the child reported, or what its end tells where it reported nothing."""
        try:
            self.start = self.start or _read(self.folder / "start")
            fields, end = _read(self.folder / "report")
            self.note(end)
        except FileNotFoundError:
            fields = self.sudden_end(code)
        except Exception as error:
            # a class that exists in the child alone: any error may come of it
            why = f"the value cannot be read here: {type(error).__name__}: {error}"
            fields = {"outcome": "failed", "error": why}
        if self.start:
            begin = self.start["use"]
            fields |= {"limit": self.start["limit"], "capped": self.start["capped"]}
            fields["peak_private"] = max(0, self.private - begin.private)
            if begin.file_backed is not None:
                fields["peak_file_backed"] = max(0, self.file_backed - begin.file_backed)
        return LimitedRun(**fields)

    def sudden_end(self, code: int) -> dict[str, object]:
        """The fields of a child that ended without a report: stopped by us, by a signal, or by os._exit."""
        told = f" without a result: {self.tail}" if self.tail else " without a result"
        outcome, error = "failed", f"ended by exit code {code}{told}"
        if code < 0:
            name = signal.Signals(-code).name
            outcome, error = "killed", f"ended by signal {-code} ({name}){told}"
        if self.stopped:
            outcome, error = "killed", f"killed by the parent: {self.stopped}"
        if tells_out_of_memory(self.tail):
            outcome = "out of memory"
        return {"outcome": outcome, "error": error, "seconds": perf_counter() - self.began}


# ---- the server's side ----


def serve(idle: float, forks: bool) -> None:
    """Fork a child for each request on the standard input, until that ends or is silent for `idle` seconds."""
    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1)])  # the first optimizer of a process imports 80 MB of PyTorch
    requests = open(0, "rb", buffering=0)
    while not forks or select.select([requests], [], [], idle)[0]:
        line = requests.readline()
        if not line:
            break
        folder, modules = json.loads(line)
        for module in modules:
            with suppress(Exception):  # the child will tell
                import_module(module)
        child = os.fork() if forks else 0
        if child == 0:
            _serve_one(Path(folder))
        code = os.waitstatus_to_exitcode(_attended(child, requests))
        with suppress(FileNotFoundError):  # nobody is there to read it
            _write(Path(folder, "exit"), code)
    os._exit(0)  # tidying up after PyTorch would take a second


def _attended(child: int, requests: io.FileIO) -> int:
    """Wait until a child has ended, and kill it when nobody is there any more; return its status."""
    done = 0
    while not done:
        done, status = os.waitpid(child, os.WNOHANG)
        if not done and select.select([requests], [], [], TICK)[0]:
            _kill(child)  # nothing is asked during a call: it is the end
    _kill(child)  # what it has started
    return status


def _kill(pid: int) -> None:
    """Kill a process and the group that it leads."""
    if hasattr(os, "killpg"):
        for kill in (os.kill, os.killpg):
            with suppress(ProcessLookupError, PermissionError):  # nobody is left, as macOS says it
                kill(pid, signal.SIGKILL)
    else:
        os.kill(pid, signal.SIGTERM)


def _serve_one(folder: Path) -> NoReturn:
    """Do the call that lies in a folder under its cap, write `start` and `report` there, and end this process."""
    try:
        _leave_server(folder)
        with open(folder / "call", "rb") as file:
            environment, place, path, cells, limit = pickle.load(file)
            os.environ.clear()
            os.environ.update(environment)
            os.chdir(place)
            sys.path[:] = path
            linecache.cache.update(cells)
            old, limit = _set_cap(limit)
            use = memory_use()
            start = {"pid": os.getpid(), "use": use, "limit": limit, "capped": old is not None}
            _write(folder / "start", start)
            fields = _called(file, old)
        end = memory_use()
        try:
            _write(folder / "report", (fields, end))
        except Exception as error:  # pickle raises what it likes
            kind = type(fields.pop("value")).__name__
            text = f"the value, a {kind}, cannot be sent back ({type(error).__name__}: {error})"
            remedy = "return numbers, text, arrays, tensors, or lists and dicts of them"
            fields |= {"outcome": "failed", "error": f"{text}: {remedy}"}
            _write(folder / "report", (fields, end))
    except BaseException:
        traceback.print_exc()  # a fault of ours: the parent shows it
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(0)  # no handler of the server runs here


def _leave_server(folder: Path) -> None:
    """Take own input, output and process group."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, stream, name in ((1, sys.stdout, "stdout"), (2, sys.stderr, "stderr")):
        # the number, since libraries in C print past sys.stdout
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        stream.reconfigure(encoding="utf-8", errors="replace", write_through=True)
    with suppress(AttributeError, PermissionError):  # Windows has none; who was not forked has one
        os.setsid()


def _called(file: io.BufferedReader, old: tuple[int, int] | None) -> dict[str, object]:
    """Read the call, do it, and return the fields of its run; the cap is lifted then, since telling takes memory."""
    doing, begin = "reading the call: ", perf_counter()
    try:
        unpickler = pickle.Unpickler(file)
        target, args = unpickler.load()
        vars(sys.modules["__main__"]).update(unpickler.load())
        doing, begin = "", perf_counter()
        fields = {"outcome": "returned", "value": target(*args)}
    except BaseException as error:
        # a SystemExit or KeyboardInterrupt must not leave the child either
        _lift_cap(old)
        text = "".join(traceback.format_exception_only(error)).strip()
        own = error.with_traceback(error.__traceback__.tb_next)  # without this function
        no_stack = old and "can't start new thread" in text  # its stack is private memory, too
        fields = {
            "outcome": "out of memory" if no_stack or is_out_of_memory(error) else "failed",
            "error": doing + text,
            "traceback": "".join(traceback.format_exception(own)),
        }
    _lift_cap(old)
    return fields | {"seconds": perf_counter() - begin}


def _set_cap(limit: int) -> tuple[tuple[int, int] | None, int]:
    """Cap private memory at what is held plus `limit`; return the old pair (None: no cap here) and what is allowed."""
    if resource is None or sys.platform != "linux":
        return None, limit
    held = psutil.Process().memory_info().data
    old = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = [bound for bound in old if bound != resource.RLIM_INFINITY]
    cap = min(held + limit, sys.maxsize, *bounds)
    resource.setrlimit(resource.RLIMIT_DATA, (min(held, cap), old[1]))  # nothing new, for a moment
    try:
        mmap.mmap(-1, LEAST, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        resource.setrlimit(resource.RLIMIT_DATA, (cap, old[1]))
        return old, cap - held
    _lift_cap(old)  # some sandboxes take a limit and do not keep it
    return None, limit


def _lift_cap(old: tuple[int, int] | None) -> None:
    """Put the limit back as it was, if there was one to set."""
    if old is not None:
        resource.setrlimit(resource.RLIMIT_DATA, old)


def _write(path: Path, content: object) -> None:
    """Write a file that is there whole or not at all."""
    part = path.with_suffix(".part")
    part.write_bytes(pickle.dumps(content))
    os.replace(part, path)


def _read(path: Path) -> object:
    """What `_write` has written."""
    return pickle.loads(path.read_bytes())
