"""Tests of `classroom`: counts are right, copies count once, strangers' files are named and left alone."""

import json
import shutil

import pytest

from dlhelpers.course import progress
from dlhelpers.course.classroom import pool
from dlhelpers.course.records import record, tasks_of


def hand_in(folder, name, tasks, version=1, **more):
    tasks = {task: {"state": state, "tries": tries} for task, (state, tries) in tasks.items()}
    text = json.dumps({"version": version, "tasks": tasks, **more})
    (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "class"
    folder.mkdir()
    hand_in(
        folder, "a.json", {"lesson_01.promised": ("done", 1), "lesson_02.batch_of": ("tried", 4)}
    )
    hand_in(folder, "b.json", {"lesson_01.promised": ("done", 3)})
    hand_in(folder, "c.json", {})
    return folder


def rows(folder):
    return {row[0]: row[1:] for row in pool(folder).table().rows}


def test_a_class_is_counted_by_task(folder):
    assert rows(folder)["lesson_01.promised"] == ["2", "0", "1", "2.0"]
    assert rows(folder)["lesson_02.batch_of"] == ["0", "1", "2", "4.0"]


def test_every_task_of_a_lesson_that_was_begun_is_there_in_the_order_of_the_lessons(folder):
    order = [task.name for lesson in ("lesson_01", "lesson_02") for task in tasks_of(lesson)]
    assert list(rows(folder)) == order
    assert rows(folder)["lesson_01.short_epoch"] == ["0", "0", "3", ""]


def test_names_of_learners_files_are_not_shown(folder):
    assert "a.json" not in repr(pool(folder).table())


def test_a_copy_counts_once_and_the_file_with_more_tries_counts(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("DLHELPERS_PROGRESS", str(tmp_path / "own.json"))
    record("lesson_00.guessing", done=True)
    progress.export(folder / "me.json")
    shutil.copy(folder / "me.json", folder / "another name.json")
    record("lesson_00.unseen", done=True)
    progress.export(folder / "me (1).json")
    found = pool(folder)
    assert found.learners == 4
    assert rows(folder)["lesson_00.unseen"] == ["1", "0", "3", "1.0"]
    assert rows(folder)["lesson_01.promised"] == ["2", "0", "2", "2.0"]
    assert sum("same learner" in line for line in found.ignored) == 2


def test_two_learners_with_equal_answers_are_two(folder, tmp_path, monkeypatch):
    for name in ("d", "e"):
        monkeypatch.setenv("DLHELPERS_PROGRESS", str(tmp_path / f"{name}.json"))
        record("lesson_00.guessing", done=True)
        progress.export(folder / f"{name}.json")
    assert rows(folder)["lesson_00.guessing"][0] == "2"


def test_tasks_that_no_lesson_asks_are_not_shown(folder):
    strange = {f"task {k}": ("done", 1) for k in range(20_000)}
    strange |= {"\x1b[2J": ("done", 1), r"$\frac{1$": ("tried", 2)}
    hand_in(folder, "d.json", strange | {"lesson_01.promised": ("done", 1)})
    found = pool(folder)
    assert found.learners == 4
    assert rows(folder)["lesson_01.promised"][0] == "3" and "\x1b" not in repr(found.table())
    found.plot().figure.canvas.draw()


def test_strangers_files_are_named_with_the_reason_and_left_as_they_are(folder):
    (folder / "holiday.png").write_bytes(b"\x89PNG\xff")
    (folder / "list.json").write_text("[1, 2]", encoding="utf-8")
    (folder / "deep.json").write_text("[" * 100_000, encoding="utf-8")
    (folder / "huge.json").write_text(" " * 1_000_001, encoding="utf-8")
    (folder / "subfolder").mkdir()
    (folder / "lost.json").symlink_to(folder / "nowhere.json")
    hand_in(folder, "later.json", {}, version=2)
    hand_in(folder, "odd.json", {"lesson_01.promised": ("won", 1)})
    hand_in(folder, "often.json", {"lesson_01.promised": ("done", 10**400)})
    (folder / "\x1b[2J.json").write_text("clears the terminal that prints its name")
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    found = pool(folder)
    assert found.learners == 3
    names = ("deep", "huge", "later", "list", "lost", "odd", "often", r"\x1b[2J")
    expected = [f"'{name}.json' is no file of progress" for name in names]
    expected += [f"'{name}' is no file of progress" for name in ("holiday.png", "subfolder")]
    assert sorted(found.ignored) == sorted(expected)
    assert before == {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_picture_has_a_bar_for_each_task(folder):
    ax = pool(folder).plot()
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names == list(rows(folder)) and "of 3" in ax.get_xlabel()
    assert sum(bar.get_width() for bar in ax.patches) == 3


def test_no_folder_and_a_folder_without_progress_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        pool(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds no file of progress; .* progress\.export"):
        pool(tmp_path)
