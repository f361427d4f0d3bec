"""Tests of `doctor`: good here, and each fault is named with what to do about it."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from dlhelpers.course import doctor


def named(findings, what):
    return next(finding for finding in findings if finding.what == what)


def test_each_package_of_the_course_is_looked_at():
    needed = {"torch", "torchvision", "numpy", "matplotlib", "ipywidgets", "jupyterlab"}
    found = {finding.what for finding in doctor.examine()}
    assert needed <= found and "pytest" not in found  # an extra for those who change the course
    assert found >= {
        "python",
        "device",
        "memory to use",
        "shared memory",
        "lessons",
        "temporary files",
        "progress",
    }


def test_json_says_the_same_as_the_text(capsys):
    text_code = doctor.report()
    lines = capsys.readouterr().out.splitlines()
    json_code = doctor.report(as_json=True)
    findings = json.loads(capsys.readouterr().out)
    assert text_code == json_code == int(not all(finding["good"] for finding in findings))
    assert sum(line.startswith(("good", "MEND")) for line in lines) == len(findings)


def test_a_package_that_is_missing_or_too_old_gets_the_line_to_install_it(monkeypatch):
    def version(name):
        if name == "torch":
            return "1.13.1"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(
        importlib.metadata,
        "requires",
        lambda name: ["torch<3,>=2.10", 'jupyterlab>=4; extra == "course"'],
    )
    monkeypatch.setattr(importlib.metadata, "version", version)
    findings = doctor.examine()
    old, missing = named(findings, "torch"), named(findings, "jupyterlab")
    assert old.remedy == 'pip install "torch<3,>=2.10"' and old.found == "1.13.1"
    assert "jupyterlab>=4" in missing.remedy and missing.found == "is missing"
    assert not old.good and not missing.good


def test_a_course_that_is_not_installed_here_is_a_fault_with_its_remedy(monkeypatch):
    def requires(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    finding = named(doctor.examine(), "dlhelpers")
    assert (finding.found, finding.good) == ("is not installed in this Python", False)
    assert "pip install -e ." in finding.remedy


def short(monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    monkeypatch.setattr(doctor, "memory_budget", lambda device: free)


@pytest.mark.parametrize(
    "what, says",
    [
        ("memory to use", "1.50 GB are needed: close"),
        ("shared memory", "--shm-size=1g"),
        ("lessons", "lesson 08 writes there: copy the course to another folder"),
        ("temporary files", "750.00 MB are needed: lesson 11 writes there: set TMPDIR"),
    ],
)
def test_too_little_room_is_said_with_the_remedy(monkeypatch, what, says):
    short(monkeypatch, 1_000_000)
    finding = named(doctor.examine(), what)
    assert not finding.good and finding.found.startswith("1.00 MB") and says in finding.remedy
    assert "MEND" in str(finding) and says in str(finding)
    short(monkeypatch, 10**12)
    assert named(doctor.examine(), what).good


def test_the_course_s_own_folder_is_looked_at_where_the_doctor_starts_above_it(
    monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    assert named(doctor.examine(), "lessons").found.endswith(f"free in {tmp_path}")
    (tmp_path / "notebooks").mkdir()
    assert named(doctor.examine(), "lessons").found.endswith(f"free in {tmp_path / 'notebooks'}")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that refuses even root")
def test_a_folder_that_cannot_be_written_to_is_named(monkeypatch):
    monkeypatch.chdir("/proc")
    monkeypatch.setenv("DLHELPERS_PROGRESS", "/proc/mine/progress.json")
    findings = doctor.examine()
    for what, remedy in (("lessons", "copy the course to"), ("progress", "set DLHELPERS_PROGRESS")):
        finding = named(findings, what)
        assert not finding.good and finding.found.startswith("/proc cannot be written to (")
        assert remedy in finding.remedy
    monkeypatch.setenv("DLHELPERS_PROGRESS", "/dev/null")
    assert "progress" not in {finding.what for finding in doctor.examine()}


def test_an_unknown_device_and_an_old_python_are_found(monkeypatch):
    monkeypatch.setenv("DLHELPERS_DEVICE", "gpu")
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    findings = doctor.examine()
    python, device = named(findings, "python"), named(findings, "device")
    assert not python.good and "3.10.4" in python.found
    assert not device.good and "DLHELPERS_DEVICE" in device.remedy


def test_a_package_that_cannot_be_imported_is_a_fault_like_any_other(tmp_path):
    (tmp_path / "torch.py").write_text(
        'raise ImportError("libcudart.so: cannot open shared object file")'
    )
    surroundings = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-m", "dlhelpers", "doctor"],
        env=surroundings,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1 and not run.stderr
    assert (
        "MEND  import           ImportError: libcudart.so" in run.stdout
        and "good  python" in run.stdout
    )
