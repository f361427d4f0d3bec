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
    return [*findings, _device(), *_rooms(), *_folders()]


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
    except ValueError as error:
        return Finding("device", str(error), False, "unset DLHELPERS_DEVICE, or set it to cpu")
    note = "" if device.type != "cpu" else " (every lesson runs on it)"
    return Finding("device", f"{device}{note}", True)


def _rooms() -> list[Finding]:
    """Is there memory enough, for a kernel and for batches on their way from a worker?"""
    room = memory_budget("cpu")
    remedy = f"the lessons need {human_bytes(MEMORY)}: close other kernels and programs, or raise the limit"
    findings = [Finding("memory to use", human_bytes(room), room >= MEMORY, remedy)]
    if Path("/dev/shm").is_dir():  # elsewhere workers use another way
        free = shutil.disk_usage("/dev/shm").free
        found = f"{human_bytes(free)} free in /dev/shm"
        remedy = "start the container with --shm-size=1g, or keep num_workers=0 in lesson 07"
        findings.append(Finding("shared memory", found, free >= SHARED, remedy))
    return findings


def _folders() -> list[Finding]:
    """Can each folder that lessons write to be written to, and has it room?"""
    course = Path.cwd() / "notebooks"
    if not course.is_dir():
        course = Path.cwd()  # `doctor` was started beside the lessons, or without a course
    beside, temporary = (
        "lesson 08 writes there: copy the course to",
        "lesson 11 writes there: set TMPDIR to",
    )
    folders = [
        ("lessons", course, BESIDE, beside),
        ("temporary files", Path(tempfile.gettempdir()), TEMPORARY, temporary),
    ]
    if kept := progress_file():
        there = next(folder for folder in kept.absolute().parents if folder.exists())
        remedy = "without it, answers are forgotten: set DLHELPERS_PROGRESS to a file in"
        folders.append(("progress", there, PROGRESS, remedy))
    findings = []
    for what, folder, needed, remedy in folders:
        free = shutil.disk_usage(folder).free
        found, good = f"{human_bytes(free)} free in {folder}", free >= needed
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            found, good = f"{folder} cannot be written to ({error.strerror})", False
        remedy = f"{remedy} a folder that can be written to, with {human_bytes(needed)} free"
        findings.append(Finding(what, found, good, remedy))
    return findings
