"""Tests of `classroom` and of what learners hand in: counts are right, strangers' files are named and left alone."""

import json

import pytest

from dlhelpers.course import records as progress
from dlhelpers.course.classroom import pool


def hand_in(folder, name, tasks, version=1):
    text = json.dumps(
        {"version": version, "tasks": {t: {"state": s, "tries": n} for t, (s, n) in tasks.items()}}
    )
    (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    hand_in(tmp_path, "a.json", {"lesson_01.sizes": ("done", 1), "lesson_02.ceil": ("tried", 4)})
    hand_in(tmp_path, "b.json", {"lesson_01.sizes": ("done", 3)})
    hand_in(tmp_path, "c.json", {})
    return tmp_path


def test_a_class_is_counted_by_task(folder):
    rows = pool(folder).table().rows
    assert rows == [
        ["lesson_01.sizes", "2", "0", "1", "2.0"],
        ["lesson_02.ceil", "0", "1", "2", "4.0"],
    ]


def test_names_of_learners_files_are_not_shown(folder):
    assert "a.json" not in repr(pool(folder).table())


def test_strangers_files_are_named_with_the_reason_and_left_as_they_are(folder):
    (folder / "holiday.png").write_bytes(b"\x89PNG\xff")
    (folder / "list.json").write_text("[1, 2]", encoding="utf-8")
    (folder / "deep.json").write_text("[" * 100_000, encoding="utf-8")
    (folder / "huge.json").write_text(" " * 1_000_001, encoding="utf-8")
    (folder / "subfolder").mkdir()
    (folder / "link.json").symlink_to(folder / "a.json")
    hand_in(folder, "later.json", {}, version=2)
    hand_in(folder, "odd.json", {"lesson_01.sizes": ("won", 1)})
    hand_in(folder, "rude.json", {"\x1b[2J": ("done", 1)})  # clears the terminal that prints it
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    found = pool(folder)
    assert found.learners == 3 and found.table().rows == pool(folder).table().rows
    assert [line.partition(":")[0] for line in found.ignored] == [
        "deep.json",
        "holiday.png",
        "huge.json",
        "later.json",
        "link.json",
        "list.json",
        "odd.json",
        "rude.json",
        "subfolder",
    ]
    assert "version 2: expected 1" in found.ignored[3] and "too large" in found.ignored[2]
    assert before == {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_picture_has_a_bar_for_each_task(folder):
    ax = pool(folder).plot()
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "lesson_01.sizes",
        "lesson_02.ceil",
    ]
    assert [bar.get_width() for bar in ax.patches] == [2, 0, 0, 1] and "of 3" in ax.get_xlabel()


def test_no_folder_and_a_folder_without_progress_are_refused(tmp_path):
    with pytest.raises(
        NotADirectoryError, match="nowhere is no folder: expected one that holds a JSON file"
    ):
        pool(tmp_path / "nowhere")
    with pytest.raises(
        ValueError, match=r"holds no file of progress; learners write theirs with progress\.export"
    ):
        pool(tmp_path)


def test_a_learner_exports_what_was_done_and_overwrites_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("DLHELPERS_PROGRESS", str(tmp_path / "own.json"))
    progress.record("lesson_01.sizes", done=True)
    (tmp_path / "class").mkdir()
    written = progress.export(tmp_path / "class" / "me.json")
    assert pool(written.parent).table().rows == [["lesson_01.sizes", "1", "0", "0", "1.0"]]
    with pytest.raises(FileExistsError):
        progress.export(written)


def test_progress_of_another_version_is_set_aside_not_overwritten(tmp_path, monkeypatch):
    monkeypatch.setenv("DLHELPERS_PROGRESS", str(tmp_path / "own.json"))
    hand_in(tmp_path, "own.json", {"lesson_01.sizes": ("done", 1)}, version=2)
    before = (tmp_path / "own.json").read_bytes()
    progress.record("lesson_02.ceil", done=False)
    assert (tmp_path / "own.json.broken-1").read_bytes() == before
    assert progress.read() == {"lesson_02.ceil": {"state": "tried", "tries": 1}}
