"""Progress survives broken files, full disks and two kernels, and can be handed to a teacher."""

import json
import os
import subprocess
import sys

import pytest
from test_tasks import question

from dlhelpers.course import progress, start
from dlhelpers.course.records import progress_file, read, record


@pytest.fixture(autouse=True)
def kept_in(tmp_path, monkeypatch):
    path = tmp_path / "kept" / "progress.json"
    monkeypatch.setenv("DLHELPERS_PROGRESS", str(path))
    monkeypatch.setattr(start, "_said", set())
    return path


def test_tries_are_counted_and_what_is_done_stays_done():
    task = question()
    task.check("a")
    first = {"first": "known mistake 1"}
    assert read() == {"count_your_batches.q": {"state": "tried", "tries": 1} | first}
    task.check("b")
    task.check("a")
    assert read() == {"count_your_batches.q": {"state": "done", "tries": 3} | first}


@pytest.mark.parametrize(
    ("old", "now"),
    [
        ("lesson_02.q", "count_your_batches.q"),
        ("lesson_04.handed_over", "use_the_device.handed_over"),  # it has moved
        ("lesson_05.gone", "choose_a_batch_size.gone"),
        ("lesson_99.unheard_of", "lesson_99.unheard_of"),
    ],
)
def test_a_task_of_the_first_edition_goes_on_where_it_is_now(kept_in, old, now):
    kept_in.parent.mkdir()
    kept_in.write_text(json.dumps({"tasks": {old: {"state": "tried", "tries": 7}}}))
    assert read() == {now: {"state": "tried", "tries": 7}}
    question().check("b")
    tries = {one["tries"] for one in read().values()}
    assert tries == ({8} if old == "lesson_02.q" else {7, 1})


def test_two_kernels_lose_nothing_of_each_other():
    code = (
        "import sys; from dlhelpers.course.records import record\n"
        "for k in range(12): record(f'{sys.argv[1]}.{k}', done=True, first='right')"
    )
    names = "lesson_00", "lesson_01"
    kernels = [subprocess.Popen([sys.executable, "-c", code, name]) for name in names]
    assert [kernel.wait() for kernel in kernels] == [0, 0]
    assert len(read()) == 24


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'{"tasks": {"a": {}}}'])
def test_a_broken_file_is_told_once_and_never_overwritten(kept_in, content, capsys):
    kept_in.parent.mkdir()
    kept_in.write_bytes(content)
    assert [question().check("b").kind for _ in range(2)] == ["right", "right"]
    told = capsys.readouterr().out
    assert told.count("not kept: 'progress.json' is no file of progress.") == 1
    assert kept_in.read_bytes() == content and read() == {}
    with pytest.raises(ValueError, match="'progress.json' is no file of progress"):
        progress.export(kept_in.with_name("me.json"))


def test_a_disk_that_refuses_is_told_once_and_stops_no_lesson(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DLHELPERS_PROGRESS", str(tmp_path / "file" / "progress.json"))
    assert [question().check("b").kind for _ in range(2)] == ["right", "right"]
    told = capsys.readouterr().out
    assert told.count("Your progress is not kept") == 1 and str(tmp_path / "file") in told
    assert read() == {}


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="this system has no such file")
def test_into_dev_null_nothing_is_written(monkeypatch, capsys):
    monkeypatch.setenv("DLHELPERS_PROGRESS", "/dev/null")
    record("lesson_02.q", done=True, first="right")
    assert read() == {} and progress("lesson_02").rows[0][3] == "open"
    assert capsys.readouterr().out == "" and not os.path.exists("/dev/null.lock")


def test_without_a_variable_progress_is_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("DLHELPERS_PROGRESS")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert progress_file() == tmp_path / ".dlhelpers" / "progress.json"


def test_the_table_has_a_row_a_lesson_or_a_row_a_task_and_says_what_is_next():
    record("lesson_02.small_loader", done=True, first="wrong")
    record("lesson_02.batch_of", done=False, first="known mistake 2")
    lessons = progress()
    assert [row[0][:2] for row in lessons.rows] == [f"{number:02}" for number in range(16)]
    title, marks, done = lessons.rows[2]
    assert title == "02 Count your batches" and done == f"1 of {len(marks)}"
    assert (marks.count("\u25cf"), marks.count("\u25d0")) == (1, 1)
    assert lessons.notes == ["Next: 00 Start here."]
    found = progress("lesson_02")
    rows = [row[1:] for row in found.rows]
    assert ["small_loader", "predict", "done", "1", "wrong"] in rows
    assert ["batch_of", "exercise", "tried", "1", "known mistake"] in rows
    assert ["independent", "question", "open", "", ""] in rows
    assert found.notes[0].endswith("done. Next: 03 Weigh your averages.")
    assert "Next" not in progress("lesson_15").notes[0]
    with pytest.raises(ValueError, match="lesson_99"):
        progress("lesson_99")


def test_a_learner_exports_what_was_done_and_overwrites_nothing(kept_in, tmp_path):
    record("lesson_01.promised", done=True, first="right")
    written = progress.export(tmp_path / "me.json")
    assert json.loads(written.read_text()) == json.loads(kept_in.read_text())
    with pytest.raises(FileExistsError, match="choose another name"):
        progress.export(written)
