"""Say before the workshop what would go wrong in it: each line is good, or says what to do.

    python -m dlhelpers doctor

Packages are looked up in their metadata, so that a broken one cannot keep the report from being written.
"""

import importlib.metadata
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass

try:
    from dlhelpers.base.sizes import human_bytes
    from dlhelpers.machine.devices import pick_device
    from dlhelpers.machine.memory import memory_budget

    BROKEN = ""
except Exception as error:  # a library that is broken raises what it likes, OSError too
    BROKEN = f"{type(error).__name__}: {error}"


@dataclass(frozen=True)
class Finding:
    """One line of the report; `remedy` is for what is not good."""

    what: str
    found: str
    good: bool
    remedy: str

    def __str__(self) -> str:
        line = f"{'good' if self.good else 'MEND'}  {self.what:16} {self.found}"
        return line if self.good else f"{line}\n      {'':16} {self.remedy}"


def examine() -> list[Finding]:
    """Return the findings on this Python and this machine, in the order in which to mend them."""
    if BROKEN:
        remedy = "install what is missing above, or else the package named here anew: pip install --force-reinstall"
        return [*_packages(), Finding("import", BROKEN, False, remedy)]
    return [*_packages(), _device(), *_room()]


def report() -> int:
    """Print the findings; return 0 where all is good, else 1."""
    findings = examine()
    print(*findings, sep="\n")
    return int(not all(finding.good for finding in findings))


def _packages():
    """One finding for each line of what dlhelpers requires, and of its extra `course`."""
    try:
        asked = importlib.metadata.requires("dlhelpers")
    except importlib.metadata.PackageNotFoundError:
        remedy = "in the course's folder, with Python 3.11 or newer: pip install -e ."
        return [Finding("dlhelpers", f"is not installed in {sys.executable}", False, remedy)]
    # here, since a Python without the course may have none
    from packaging.requirements import Requirement

    findings = []
    for need in map(Requirement, asked):
        if need.marker and not need.marker.evaluate({"extra": "course"}):
            continue
        try:
            found = importlib.metadata.version(need.name)
            good = need.specifier.contains(found, prereleases=True)
        except importlib.metadata.PackageNotFoundError:
            found, good = "is missing", False
        remedy = f'pip install "{need.name}{need.specifier}"'
        findings.append(Finding(need.name, found, good, remedy))
    return findings


def _device():
    try:
        found, good = str(pick_device()), True
    except (RuntimeError, ValueError) as error:
        found, good = str(error), False
    return Finding("device", found, good, "unset DLHELPERS_DEVICE, or set it to cpu")


def _room():
    """Is there enough memory, and room in the folders that lessons write to?"""
    start = "start the container with --shm-size=1g, or keep num_workers=0 in lesson 09"
    copy = "lesson 10 writes there: copy the course to another folder"
    move = "lesson 15 writes there: set TMPDIR to another folder"
    rooms = [
        # the largest lesson and its kernel, with room to spare
        (
            "memory to use",
            "",
            1_500_000_000,
            "close other kernels and programs, or raise the limit",
        ),
        # two workers' batches; Docker gives no more unless asked
        ("shared memory", "/dev/shm", 64_000_000, start),
        # three times what lesson 10 writes, beside the notebook
        ("lessons", os.getcwd(), 1_500_000_000, copy),
        # three times what lesson 15 writes
        ("temporary files", tempfile.gettempdir(), 750_000_000, move),
    ]
    findings = []
    for what, folder, needed, remedy in rooms:
        if not folder:
            free, where = memory_budget("cpu"), ""
        elif os.path.isdir(folder):
            free = shutil.disk_usage(folder).free if os.access(folder, os.W_OK) else 0
            where = f" free to write in {folder}"
        else:
            continue  # without /dev/shm, workers use another way
        remedy = f"{human_bytes(needed)} are needed: {remedy}"
        findings.append(Finding(what, human_bytes(free) + where, free >= needed, remedy))
    return findings
