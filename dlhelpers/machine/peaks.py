"""Measure the peak of memory on a device, and predict the next one.

The meter was chosen by experiment: on Linux the kernel's own count of the peak and a thread that looks every
millisecond agree to 0.1 %, and only the thread takes time; `getrusage` cannot be set anew, and saved tensors add up to
less than half of what the process really held.
"""

import ctypes
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import torch

from dlhelpers.machine.memory import memory_use

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
SAMPLE_SECONDS = 0.005  # between two looks at the memory, where the system keeps no peak


def memory_held(device: torch.device) -> int:
    """Return the bytes that this process holds on a device: tensors on an accelerator, private memory on the host."""
    if device.type == "cpu":
        return memory_use().private
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    return torch.accelerator.memory_allocated(device)


def release_memory(device: torch.device, generation: int = 2) -> None:
    """Give back to the system what only allocators still hold, so that the next measurement sees what is new.

    generation  of Python's collector: 2 looks at every object, which can take half a second, 1 at the young ones
    """
    gc.collect(generation)
    if device.type == "mps":
        torch.mps.empty_cache()
    elif device.type != "cpu":
        torch.accelerator.empty_cache()
    else:
        # freed memory that glibc keeps would be used again unseen, and hide hundreds of megabytes
        with suppress(AttributeError, OSError, TypeError):  # another C library has rules of its own
            ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def peak_memory(device: torch.device) -> Iterator[SimpleNamespace]:
    """Measure the most bytes held on a device during a `with`; afterwards they are in `bytes` of what it gives.

    Accelerators keep the count themselves. Linux keeps one for the resident memory, which writing 5 to
    /proc/self/clear_refs sets anew (Linux manual page proc_pid_clear_refs(5)); file-backed and shared pages that are
    there at the end are taken off. Elsewhere a thread looks every few milliseconds, and can miss a short peak.
    """
    peak = SimpleNamespace(bytes=0)
    if device.type not in ("cpu", "mps"):
        torch.accelerator.reset_peak_memory_stats(device)
        yield peak
        peak.bytes = torch.accelerator.max_memory_allocated(device)
    elif device.type == "cpu" and _forget_peak():
        yield peak
        use = memory_use()
        highest = 1024 * int(STATUS.read_text().partition("VmHWM:")[2].split()[0])
        peak.bytes = highest - use.file_backed - use.shared
    else:
        done = Event()

        def watch() -> None:
            while not done.wait(SAMPLE_SECONDS):
                peak.bytes = max(peak.bytes, memory_held(device))

        thread = Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield peak
        finally:
            done.set()
            thread.join()
        peak.bytes = max(peak.bytes, memory_held(device))


def _forget_peak() -> bool:
    """Make the kernel count the peak from here on; False where it cannot."""
    try:
        CLEAR.write_text("5")
        return "VmHWM:" in STATUS.read_text()
    except OSError:
        return False


def predicted_peak(peaks: Sequence[tuple[int, int]], size: int) -> int:
    """Return the bytes that batch size `size` will take, from (batch size, bytes) of smaller ones, in rising order.

    From the last, along the steepest of the last three slopes: memory grows along a line, but in the steps of an
    allocator, and too low a slope would end in a killed process. A single one is taken in proportion.
    """
    last, peak = peaks[-1]
    if len(peaks) == 1:
        return peak * size // last
    pairs = zip(peaks[-4:], peaks[-4:][1:], strict=False)
    slope = max(0.0, *((high - low) / (b - a) for (a, low), (b, high) in pairs))
    return peak + int(slope * (size - last))
