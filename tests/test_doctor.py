"""Tests of `doctor`: good here, and each fault is named with what to do about it."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from dlhelpers.course import doctor


def named(findings, what):
    return next(finding for finding in findings if finding.what == what)


def test_each_package_of_the_course_and_each_place_it_writes_to_is_looked_at(capsys):
    code = doctor.report()
    lines = [line for line in capsys.readouterr().out.splitlines() if line[:4] in ("good", "MEND")]
    needed = ("torch", "jupyterlab", "device", "memory to use", "lessons", "temporary files")
    assert all(any(line[6:].startswith(name) for line in lines) for name in needed)
    assert not any("pytest" in line for line in lines), "an extra for those who change the course"
    assert code == int(any(line.startswith("MEND") for line in lines))


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
    assert (finding.found, finding.good) == (f"is not installed in {sys.executable}", False)
    assert "pip install -e ." in finding.remedy


def short(monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    monkeypatch.setattr(doctor, "memory_budget", lambda device: free)


def test_too_little_room_is_said_with_the_remedy(monkeypatch):
    says = "750.00 MB are needed: lessons 08, 12, 13 and 15 write there: set TMPDIR"
    short(monkeypatch, 1_000_000)
    finding = named(doctor.examine(), "temporary files")
    assert not finding.good and finding.found.startswith("1.00 MB") and says in finding.remedy
    assert "MEND" in str(finding) and says in str(finding)
    assert not named(doctor.examine(), "memory to use").good
    short(monkeypatch, 10**12)
    assert all(named(doctor.examine(), what).good for what in ("temporary files", "memory to use"))


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that refuses even root")
def test_a_folder_that_cannot_be_written_to_is_named(monkeypatch):
    monkeypatch.chdir("/proc")
    finding = named(doctor.examine(), "lessons")
    assert not finding.good and finding.found == "0 bytes free to write in /proc"
    assert "copy the course to" in finding.remedy


def test_the_folder_of_the_copies_is_looked_at_from_the_course(monkeypatch, tmp_path):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    assert named(doctor.examine(), "lessons").found.endswith(f"in {tmp_path / 'notebooks'}")
    (tmp_path / "my-lessons").mkdir()
    assert named(doctor.examine(), "lessons").found.endswith(f"in {tmp_path / 'my-lessons'}")


def test_an_unknown_device_is_found(monkeypatch):
    monkeypatch.setenv("DLHELPERS_DEVICE", "toaster")
    device = named(doctor.examine(), "device")
    assert not device.good and "toaster" in device.found and "DLHELPERS_DEVICE" in device.remedy


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
        and "good  numpy" in run.stdout
    )
