"""Tests of the command line: exit codes, one line for each error, and the same work as the functions do."""

import re

import pytest
from PIL import Image

from dlhelpers.__main__ import main
from dlhelpers.course.records import record
from dlhelpers.packed import pack_folder


@pytest.fixture
def folder(tmp_path):
    for number in range(12):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 5), (number, 0, 0)).save(path)
    return tmp_path / "images"


def run(capsys, *arguments):
    """The exit code of a command, and the lines of its output and of its errors."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


def test_a_folder_is_packed_and_verified(folder, tmp_path, capsys):
    packed, same = tmp_path / "out", tmp_path / "same"
    code, out, errors = run(capsys, "pack", folder, packed, "--seed", 3, "--size", 4)
    assert (code, errors, out[-1]) == (0, [], f"{packed} is whole")
    pack_folder(folder, same, size=4, shuffle_seed=3, progress=False)
    images = packed / "images.npy"
    assert images.read_bytes() == (same / "images.npy").read_bytes()
    code, out, errors = run(capsys, "verify", packed)
    assert (code, errors, out[-1]) == (0, [], f"{packed} is as it was written")
    images.write_bytes(images.read_bytes()[:-1] + b"!")
    code, out, errors = run(capsys, "verify", packed)
    assert (code, errors, out[-1]) == (1, [], f"{packed} is damaged")
    assert any(images.name in line for line in out)


def test_what_cannot_be_done_is_one_line_that_names_the_option(folder, tmp_path, capsys):
    (folder / "a" / "4.png").write_bytes((folder / "a" / "4.png").read_bytes()[:45])
    code, out, [error] = run(capsys, "pack", folder, tmp_path / "out")
    assert (code, out) == (1, [])
    assert re.match(r"dlhelpers: a/4.png cannot be used: .*\(--skip-bad\)$", error)
    code, out, errors = run(capsys, "pack", folder, tmp_path / "out", "--skip-bad")
    assert (code, errors) == (0, [])
    assert any(line.startswith("Note: a/4.png cannot be used: ") for line in out)
    code, _, [error] = run(capsys, "pack", folder, tmp_path / "out", "--skip-bad")
    assert code == 1 and "--overwrite" in error and "overwrite=True" not in error
    assert run(capsys, "pack", folder, tmp_path / "out", "--skip-bad", "--overwrite")[0] == 0


def test_what_a_learner_exports_is_pooled_into_a_table(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("DLHELPERS_PROGRESS", str(tmp_path / "progress.json"))
    record("lesson_01.promised", done=True, first="right")
    (tmp_path / "class").mkdir()
    handed_in = tmp_path / "class" / "a.json"
    assert run(capsys, "export", handed_in) == (0, [f"{handed_in} is written"], [])
    code, out, errors = run(capsys, "classroom", handed_in.parent)
    assert (code, errors) == (0, []) and "Note: learners: 1" in out
    assert ["01", "promised", "1", "100", "%"] in [line.split() for line in out]
