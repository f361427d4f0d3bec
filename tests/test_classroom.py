"""Tests of `classroom`: counts are right, copies count once, strangers' files are named and left alone."""

import json
import shutil

import pytest

from dlhelpers.course import progress
from dlhelpers.course.classroom import pool
from dlhelpers.course.records import key, record, tasks_of


def hand_in(folder, name, tasks):
    tasks = {task: {"state": state, "tries": tries} for task, (state, tries) in tasks.items()}
    (folder / name).write_text(json.dumps({"tasks": tasks}), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "class"
    folder.mkdir()
    some = {key("lesson_01.promised"): ("done", 1), key("lesson_02.batch_of"): ("tried", 4)}
    hand_in(folder, "a.json", some)
    hand_in(folder, "b.json", {key("lesson_01.promised"): ("done", 3), "\x1b[2J": ("done", 1)})
    hand_in(folder, "c.json", {})
    return folder


def rows(folder):
    return {row[0]: row[1:] for row in pool(folder).rows}


def test_every_task_of_a_lesson_that_was_begun_is_counted_in_the_order_of_the_lessons(folder):
    order = [task.name for name in ("lesson_01", "lesson_02") for task in tasks_of(name)]
    assert list(rows(folder)) == order
    assert rows(folder)["lesson_01.promised"] == ["2", "0", "1", "2.0"]
    assert rows(folder)["lesson_02.batch_of"] == ["0", "1", "2", "4.0"]
    assert rows(folder)["lesson_01.short_epoch"] == ["0", "0", "3", ""]
    assert "a.json" not in repr(pool(folder)) and pool(folder).notes == ["learners: 3"]


def test_a_copy_counts_once_and_the_file_with_more_tries_counts(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("DLHELPERS_PROGRESS", str(tmp_path / "own.json"))
    record("lesson_00.guessing", done=True, right=True)
    progress.export(folder / "me.json")
    shutil.copy(folder / "me.json", folder / "another name.json")
    record("lesson_00.unseen", done=True, right=True)
    progress.export(folder / "me (1).json")
    monkeypatch.setenv("DLHELPERS_PROGRESS", str(tmp_path / "another learner.json"))
    record("lesson_00.guessing", done=True, right=True)
    progress.export(folder / "equal.json")
    assert rows(folder)["lesson_00.unseen"] == ["1", "0", "4", "1.0"]
    assert rows(folder)["lesson_00.guessing"] == ["2", "0", "3", "1.0"]
    assert sum("same learner" in note for note in pool(folder).notes) == 2


def test_strangers_files_are_named_with_the_reason_and_left_as_they_are(folder):
    (folder / "holiday.png").write_bytes(b"\x89PNG\xff")
    (folder / "deep.json").write_text("[" * 100_000, encoding="utf-8")
    (folder / "subfolder").mkdir()
    (folder / "\x1b[2J.json").write_text("clears the terminal that prints its name")
    hand_in(folder, "odd.json", {"lesson_01.promised": ("won", 1)})
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    names = ("deep.json", "odd.json", r"\x1b[2J.json", "holiday.png", "subfolder")
    expected = [f"ignored: '{name}' is no file of progress" for name in names]
    assert sorted(pool(folder).notes) == sorted(["learners: 3", *expected])
    assert before == {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_no_folder_and_a_folder_without_progress_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        pool(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds no file of progress; .* progress\.export"):
        pool(tmp_path)
