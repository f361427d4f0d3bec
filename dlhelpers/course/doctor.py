"""Say before the workshop what would go wrong in it: each line is good, or says what to do.

    python -m dlhelpers doctor [--json]

Packages are looked up in their metadata, so that a broken one cannot keep the report from being written.
"""

import importlib.metadata
import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from dlhelpers.course.records import progress_file

try:
    from dlhelpers.base.sizes import human_bytes
    from dlhelpers.machine.devices import pick_device
    from dlhelpers.machine.memory import memory_budget

    BROKEN = ""
except Exception as error:  # a library that is broken raises what it likes, OSError too
    BROKEN = f"{type(error).__name__}: {error}"

# Bytes that the lessons need.
MEMORY = 1_500_000_000  # the largest lesson and its kernel, with room to spare
SHARED = 64_000_000  # two workers' batches; Docker gives no more unless asked
BESIDE = 1_500_000_000  # three times what lesson 08 writes, beside the notebook
TEMPORARY = 750_000_000  # three times what lesson 11 writes, to a temporary folder
PROGRESS = 1_000_000


@dataclass(frozen=True)
class Finding:
    """One line of the report; `remedy` is empty where nothing has to be done."""

    what: str
    found: str
    good: bool
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{'good' if self.good else 'MEND'}  {self.what:16} {self.found}"
        return line if self.good else f"{line}\n      {'':16} {self.remedy}"


def examine() -> list[Finding]:
    """Return the findings on this Python and this machine, in the order in which to mend them."""
    version = ".".join(map(str, sys.version_info[:3]))
    remedy = "install Python 3.11 or newer and make the environment anew with it"
    new_enough = sys.version_info >= (3, 11)
    python = Finding("python", f"{version} ({sys.executable})", new_enough, remedy)
    findings = [python, *_packages()]
    if BROKEN:
        remedy = "install what is missing above, or else the package named here anew: pip install --force-reinstall"
        return [*findings, Finding("import", BROKEN, False, remedy)]
    return [*findings, _device(), _memory(), *_folders()]


def report(as_json: bool = False) -> int:
    """Print the findings, as text or as one JSON list; return 0 where all is good, else 1."""
    findings = examine()
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        print(*findings, sep="\n")
    return int(not all(finding.good for finding in findings))


def _packages() -> list[Finding]:
    """One finding for each line of what dlhelpers requires, and of its extra `course`."""
    try:
        asked = importlib.metadata.requires("dlhelpers")
    except importlib.metadata.PackageNotFoundError:
        remedy = "in the course's folder: pip install -e ."
        return [Finding("dlhelpers", "is not installed in this Python", False, remedy)]
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


def _device() -> Finding:
    try:
        device = pick_device()
    except (RuntimeError, ValueError) as error:
        return Finding("device", str(error), False, "unset DLHELPERS_DEVICE, or set it to cpu")
    note = "" if device.type != "cpu" else " (every lesson runs on it)"
    return Finding("device", f"{device}{note}", True)


def _memory() -> Finding:
    room = memory_budget("cpu")
    remedy = (
        f"{human_bytes(MEMORY)} are needed: close other kernels and programs, or raise the limit"
    )
    return Finding("memory to use", human_bytes(room), room >= MEMORY, remedy)


def _folders() -> list[Finding]:
    """Can the folders that lessons write to be written to, and is there room?"""
    course = Path("notebooks").absolute()
    if not course.is_dir():
        course = Path.cwd()  # `doctor` was started beside the lessons, or without a course
    start = "start the container with --shm-size=1g, or keep num_workers=0 in lesson 07"
    copy = "lesson 08 writes there: copy the course to another folder"
    move = "lesson 11 writes there: set TMPDIR to another folder"
    folders = [
        ("shared memory", Path("/dev/shm"), SHARED, start),
        ("lessons", course, BESIDE, copy),
        ("temporary files", Path(tempfile.gettempdir()), TEMPORARY, move),
    ]
    if kept := progress_file():
        there = next(folder for folder in kept.absolute().parents if folder.exists())
        name = "without it, answers are forgotten: set DLHELPERS_PROGRESS to a file elsewhere"
        folders.append(("progress", there, PROGRESS, name))
    findings = []
    for what, folder, needed, remedy in folders:
        if not folder.is_dir():
            continue  # without /dev/shm, workers use another way
        free = shutil.disk_usage(folder).free
        found, good = f"{human_bytes(free)} free in {folder}", free >= needed
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            found, good = f"{folder} cannot be written to ({error.strerror})", False
        remedy = f"{human_bytes(needed)} are needed: {remedy}"
        findings.append(Finding(what, found, good, remedy))
    return findings
