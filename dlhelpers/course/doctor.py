"""Say before the workshop what would go wrong in it: each line is good, or says what to do.

    python -m dlhelpers doctor [--json]

Packages are looked up in their metadata, so that a broken one cannot keep the report from being written.
"""

import importlib.metadata
import importlib.util
import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from dlhelpers.course.records import progress_file

try:
    from dlhelpers.base.sizes import human_bytes
    from dlhelpers.machine.devices import cores, pick_device
    from dlhelpers.machine.memory import memory_budget

    BROKEN = ""
except Exception as error:  # a library that is broken raises what it likes, OSError too
    BROKEN = f"{type(error).__name__}: {error}"

NEEDED_MEMORY = 1_500_000_000  # bytes: the largest lesson and its kernel, with room to spare
NEEDED_BESIDE = 1_500_000_000  # bytes: three times what lesson 08 writes, beside the notebook
NEEDED_TEMPORARY = 750_000_000  # bytes: three times what lesson 11 writes, a temporary folder
NEEDED_PROGRESS = 1_000_000  # bytes
NEEDED_SHARED = 64_000_000  # bytes: two workers' batches; Docker gives no more unless asked


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
    findings = [_python(), *_packages()]
    if BROKEN:
        remedy = "install what is missing above, or else the package named here anew: pip install --force-reinstall"
        return [*findings, Finding("import", BROKEN, False, remedy)]
    findings += [_device(), _memory(), _shared_memory(), *_folders()]
    return [*findings, Finding("cores", f"{cores()}", True), _widgets()]


def report(as_json: bool = False) -> int:
    """Print the findings, as text or as one JSON list; return 0 where all is good, else 1."""
    findings = examine()
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        print(*findings, sep="\n")
    return int(not all(finding.good for finding in findings))


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    remedy = "install Python 3.11 or newer and make the environment anew with it"
    return Finding("python", f"{version} ({sys.executable})", sys.version_info >= (3, 11), remedy)


def _packages() -> list[Finding]:
    """One finding for each package that the lessons need: what dlhelpers requires, and its extra `course`."""
    try:
        from packaging.requirements import Requirement  # here, since it may be what is missing
        from packaging.specifiers import SpecifierSet

        asked = importlib.metadata.requires("dlhelpers") or []
    except importlib.metadata.PackageNotFoundError:
        remedy = "in the course's folder: pip install -e ."
        return [Finding("dlhelpers", "is not installed in this Python", False, remedy)]
    except ImportError:
        found = "is missing; without it no other package is looked at"
        return [Finding("packaging", found, False, "pip install packaging")]
    needs: dict[str, SpecifierSet] = {}
    for need in map(Requirement, asked):
        if need.marker is None or need.marker.evaluate({"extra": "course"}):
            # some are asked for twice
            needs[need.name] = needs.get(need.name, SpecifierSet()) & need.specifier
    findings = []
    for name, versions in needs.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "is missing"
        good = found != "is missing" and versions.contains(found, prereleases=True)
        findings.append(Finding(name, found, good, f'pip install "{name}{versions}"'))
    return findings


def _device() -> Finding:
    try:
        device = pick_device()
    except ValueError as error:
        return Finding("device", str(error), False, "unset DLHELPERS_DEVICE, or set it to cpu")
    note = "" if device.type != "cpu" else " (every lesson runs on it)"
    return Finding("device", f"{device}{note}", True)


def _memory() -> Finding:
    room = memory_budget("cpu")
    remedy = f"the lessons need {human_bytes(NEEDED_MEMORY)}: close other kernels and programs, or raise the limit"
    return Finding("memory to use", human_bytes(room), room >= NEEDED_MEMORY, remedy)


def _shared_memory() -> Finding:
    if not Path("/dev/shm").is_dir():
        return Finding("shared memory", "no /dev/shm on this system; workers use another way", True)
    free = shutil.disk_usage("/dev/shm").free
    found = f"{human_bytes(free)} free in /dev/shm"
    remedy = "start the container with --shm-size=1g, or keep num_workers=0 in lesson 07"
    return Finding("shared memory", found, free >= NEEDED_SHARED, remedy)


def _folders() -> list[Finding]:
    """One finding for each folder that lessons write to: beside the notebook, for temporary files, for progress."""
    course = Path.cwd() / "notebooks"
    if not course.is_dir():
        course = Path.cwd()  # `doctor` was started beside the lessons, or without a course
    findings = [
        _folder("lessons", course, NEEDED_BESIDE, "lesson 08 writes there: copy the course to"),
        _folder(
            "temporary files",
            Path(tempfile.gettempdir()),
            NEEDED_TEMPORARY,
            "lesson 11 writes there: set TMPDIR to",
        ),
    ]
    if kept := progress_file():
        there = next(folder for folder in kept.absolute().parents if folder.exists())
        remedy = "without it, answers are forgotten: set DLHELPERS_PROGRESS to a file in"
        findings.append(_folder("progress", there, NEEDED_PROGRESS, remedy))
    return findings


def _folder(what: str, folder: Path, needed: int, remedy: str) -> Finding:
    """Can a file be written to a folder, and is there room for what the lessons need?"""
    free = shutil.disk_usage(folder).free
    found, good = f"{human_bytes(free)} free in {folder}", free >= needed
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        found, good = f"{folder} cannot be written to ({error.strerror})", False
    remedy = f"{remedy} a folder that can be written to, with {human_bytes(needed)} free"
    return Finding(what, found, good, remedy)


def _widgets() -> Finding:
    lab = importlib.util.find_spec("jupyterlab_widgets") is not None
    found = f"JupyterLab's part is {'there' if lab else 'missing'}"
    remedy = 'pip install "ipywidgets>=7.7.1,<9", and restart JupyterLab; until then figures have no sliders'
    return Finding("widgets", found, lab, remedy)
