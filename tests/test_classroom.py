"""Tests of `classroom`: first tries are counted right and told in words; files from anywhere do no harm."""

import csv
import io
import json
import os
import shutil
import time

import pytest
from PIL import Image

from dlhelpers.__main__ import main
from dlhelpers.course import classroom, progress
from dlhelpers.course.classroom import pool
from dlhelpers.course.records import key, lesson_names, record, tasks_of
from dlhelpers.show import show

TASKS = {task.name: task for lesson in lesson_names() for task in tasks_of(lesson)}


def hand_in(folder, name, tasks, **more):
    """Write a file as `export` does; a task's value is its state, its tries, and how the first one went."""
    names = ("state", "tries", "first")
    tasks = {key(task): dict(zip(names, kept, strict=True)) for task, kept in tasks.items()}
    (folder / name).write_text(json.dumps(more | {"tasks": tasks}), encoding="utf-8")


def rows(folder):
    return {row["task"]: row for row in pool(folder).tasks}


def run(capsys, *arguments):
    """Exit code, and what was printed on standard output; nothing went to the other one."""
    code = main(["classroom", *map(str, arguments)])
    out, errors = capsys.readouterr()
    assert errors == ""
    return code, out


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "class"
    folder.mkdir()
    missed, right = "known mistake 2", "right"
    loader, batch = "lesson_02.small_loader", "lesson_02.batch_of"
    hand_in(folder, "a.json", {loader: ("done", 1, missed), batch: ("tried", 4, missed)})
    hand_in(folder, "b.json", {loader: ("done", 1, right), batch: ("done", 2, "wrong")})
    hand_in(folder, "c.json", {loader: ("done", 1, "known mistake 1")})
    hand_in(folder, "d.json", {loader: ("done", 1, missed), batch: ("tried", 9, "wrong")})
    return folder


def test_a_prediction_that_was_revealed_is_done_and_what_counts_is_the_first_guess(folder):
    row = rows(folder)["lesson_02.small_loader"]
    assert (row["reached"], row["done"], row["first_tries"], row["right"]) == (4, 4, 4, 1)
    assert (row["made_by"], row["mistake"]) == (
        2,
        "2.5: A loader gives no half batch: the rest makes one more, smaller batch.",
    )
    row = rows(folder)["lesson_02.batch_of"]
    assert (row["reached"], row["done"], row["right"], row["made_by"]) == (3, 1, 0, 1)
    told = TASKS["lesson_02.batch_of"].wrong[1][1]
    assert row["mistake"] == told[0].upper() + told[1:]


def test_each_known_mistake_is_told_as_it_was_made(monkeypatch):
    """What a task records of a wrong first answer is shown as this answer, or as what the learner was told."""
    kept = []
    monkeypatch.setattr("dlhelpers.course.tasks.record", lambda name, **more: kept.append(more))
    names = "small_loader", "independent", "batch_of"
    guess, choice, code = tasks = [TASKS[f"lesson_02.{name}"] for name in names]
    tasks.append(TASKS["lesson_03.accuracy_of"])  # it has a judge
    monkeypatch.setattr(guess, "guess", [*guess.wrong][-1])
    guess.reveal(guess.answer)
    letter = next(letter for letter, one in choice.lettered.items() if not one.right)
    choice.check(letter)
    code.check(code.wrong[-1][0])
    answer, message = tasks[-1].wrong[0]
    tasks[-1].check(answer)
    told = f"{guess.guess}: ", choice.label(letter), code.wrong[-1][1][1:], message[1:]
    for task, more, words in zip(tasks, kept, told, strict=True):
        row = classroom._counted(task, [{"state": "tried", "tries": 1, **more}])
        assert row["made_by"] == 1 and " ".join(words.split()) in row["mistake"]


def test_the_table_goes_in_the_order_of_the_lessons_and_names_what_nobody_reached(folder):
    hand_in(folder, "e.json", {"lesson_00.guessing": ("done", 1, "right")})
    said = repr(pool(folder))
    first = [line.split()[:7] for line in said.splitlines() if line[:2].isdigit()]
    assert [line[1] for line in first] == ["guessing", "small_loader", "batch_of"]
    assert first[1] == ["02", "small_loader", "4", "25", "%", "2", "2.5:"]
    [unseen] = [
        line for line in said.splitlines() if line.startswith("Note: nobody has reached 00")
    ]
    assert "02 too_few" in unseen and "02 small_loader" not in unseen
    assert "Note: nobody has begun lesson 01, 03, 04," in said
    assert list(rows(folder)) == list(TASKS)


def test_who_is_stuck_is_told_by_file_and_task_and_without_an_answer(folder):
    hand_in(
        folder,
        "e.json",
        {
            "lesson_02.batch_of": ("tried", 3, "wrong"),
            "lesson_02.last_batch_size": ("tried", 3, "wrong"),
            "lesson_02.independent": ("tried", 2, "wrong"),
        },
    )
    assert rows(folder)["lesson_02.batch_of"]["stuck"] == [
        {"file": "a.json", "tries": 4},
        {"file": "d.json", "tries": 9},
    ]
    table = repr(pool(folder)).partition("stuck ")[2].splitlines()[1:4]
    assert [line.split() for line in table] == [
        ["d.json", "02", "batch_of", "9"],
        ["a.json", "02", "batch_of", "4"],
        ["e.json", "02", "last_batch_size", "3"],
    ]


def test_a_copy_counts_once_and_the_file_with_more_tries_counts(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("DLHELPERS_PROGRESS", str(tmp_path / "own.json"))
    record("lesson_00.guessing", done=True, first="right")
    progress.export(folder / "me.json")
    shutil.copy(folder / "me.json", folder / "another name.json")
    for first in ("wrong", None):
        record("lesson_00.unseen", done=False, first=first)
    progress.export(folder / "me (1).json")
    monkeypatch.setenv("DLHELPERS_PROGRESS", str(tmp_path / "another learner.json"))
    record("lesson_00.guessing", done=True, first="right")
    progress.export(folder / "equal.json")
    assert rows(folder)["lesson_00.guessing"]["reached"] == 2
    assert rows(folder)["lesson_00.unseen"]["stuck"] == [{"file": "me (1).json", "tries": 2}]
    assert sum("same learner" in note for note in pool(folder).notes) == 2
    assert pool(folder).learners == 6


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_that_an_editor_has_saved_in_its_own_encoding_is_read(folder, encoding):
    path = folder / "a.json"
    path.write_text(path.read_text(encoding="utf-8"), encoding=encoding)
    assert pool(folder).learners == 4 and pool(folder).notes == []


ONE = {"state": "done", "tries": 1, "first": "right"}
HOSTILE = {
    "holiday.png": b"\x89PNG\xff",
    "deep.json": b"[" * 900_000,
    "huge.json": b'{"tasks": {}, "id": "' + b"x" * 30_000_000 + b'"}',
    "\x1b[2J.json": b"clears the terminal that prints its name",
    "list.json": b"[]",
    "no tasks.json": b"{}",
    "tasks in a list.json": b'{"tasks": []}',
} | {
    f"{number} task.json": json.dumps({"tasks": {"start_here.guessing": one}}).encode()
    for number, one in enumerate(
        [
            None,
            ONE | {"state": "won"},
            ONE | {"tries": -3},
            ONE | {"tries": 10**400},
            ONE | {"tries": True},
            ONE | {"first": ["right"]},
        ]
    )
}


def test_hostile_files_are_named_with_the_reason_and_change_no_number(folder, capsys):
    clean = pool(folder).tasks
    for name, content in HOSTILE.items():
        (folder / name).write_bytes(content)
    (folder / "subfolder").mkdir()
    expected = {name.replace("\x1b", r"\x1b") for name in (*HOSTILE, "subfolder")}
    if os.name == "posix":
        os.mkfifo(folder / "pipe.json")
        (folder / "circle.json").symlink_to("circle.json")
        expected |= {"pipe.json", "circle.json"}
    code, out = run(capsys, folder)
    assert code == 0 and pool(folder).tasks == clean
    told = {line.removeprefix("Note: ") for line in out.splitlines() if "ignored" in line}
    assert told == {f"ignored: '{name}' is no file of progress" for name in expected}


def test_a_file_that_may_not_be_read_is_named_with_the_reason(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(classroom, "read_file", refuse)
    found = pool(folder)
    assert found.learners == 0
    assert found.notes[0] == "ignored: 'a.json' cannot be read: Permission denied"


def test_tasks_that_the_course_does_not_have_are_named_and_left_out(folder):
    clean = pool(folder).tasks
    strange = {f"start_here.{'x' * 60}\x1b[2J{k}": ONE for k in range(100)}
    strange |= {"$\\frac{1$": ONE, "count_your_batches.batch_of": ONE}
    content = {"tasks": dict(reversed(strange.items()))}
    (folder / "e.json").write_text(json.dumps(content))
    found = pool(folder)
    assert len(found.tasks) == len(clean) and rows(folder)["lesson_02.batch_of"]["reached"] == 4
    [note] = found.notes
    assert note.startswith("'e.json' has tasks unknown here: '$\\\\frac{1$', 'start_here.xxx")
    assert note.endswith("and 98 more") and len(note) < 250


def test_nothing_of_a_file_reaches_a_terminal_or_a_spreadsheet_raw(folder, tmp_path, capsys):
    names = [
        "-2.json",
        "+3.json",
        "@x.json",
        "a;=1+1.json",
        "$x$ \n.json",
        "\udcff.json",
        "\x1b]0;x\x07.json",
    ]
    for k, name in enumerate(names):
        hand_in(folder, name, {"lesson_02.batch_of": ("tried", 20 + k, "\x1b[2J<b>=1")}, id=name)
    for form in ([], ["--json"], ["--csv"]):
        code, out = run(capsys, folder, *form)
        assert code == 0 and "<b>=1" not in out
        assert all(letter == "\n" or letter.isprintable() for letter in out)
    found = list(csv.DictReader(io.StringIO(out)))
    assert [row["task"] for row in found] == list(TASKS)
    cells = [cell.strip() for row in found for value in row.values() for cell in value.split(";")]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@") and cell]
    assert sum("=1+1.json" in cell for cell in cells) == 1
    assert run(capsys, folder, "--picture", tmp_path / "class.png")[0] == 0


def test_the_forms_for_programs_hold_the_same_numbers(folder, capsys):
    code, out = run(capsys, folder, "--json")
    found = json.loads(out)
    assert code == 0 and found["learners"] == 4 and found["tasks"] == pool(folder).tasks
    code, out = run(capsys, folder, "--csv")
    [row] = [row for row in csv.DictReader(io.StringIO(out)) if row["task"] == "lesson_02.batch_of"]
    assert (row["reached"], row["right"], row["stuck"]) == ("3", "0", "a.json (4); d.json (9)")


def test_a_name_that_the_output_cannot_hold_is_printed_in_its_place(folder, monkeypatch):
    (folder / "a.json").rename(folder / "Jože.json")
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="latin-1"))
    assert main(["classroom", str(folder)]) == 0
    assert b"Jo\\u017ee.json" in raw.getvalue()


def test_a_folder_without_a_learner_is_a_failure(tmp_path, capsys):
    (tmp_path / "holiday.png").write_bytes(b"\x89PNG\xff")
    code, out = run(capsys, tmp_path, "--picture", tmp_path / "class.png")
    assert code == 1 and not (tmp_path / "class.png").exists()
    assert "ignored: 'holiday.png'" in out and "progress.export('me.json')" in out
    assert main(["classroom", str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_watching_prints_anew_what_has_changed_and_ends_with_ctrl_c(tmp_path, capsys, monkeypatch):
    def nothing():
        pass

    def comes():
        hand_in(tmp_path, "a.json", {"lesson_00.guessing": ("done", 1, "wrong")})

    def ends():
        raise KeyboardInterrupt

    meanwhile = iter([nothing, comes, nothing, ends])
    monkeypatch.setattr(time, "sleep", lambda seconds: next(meanwhile)())
    code, out = run(capsys, tmp_path, "--watch", "--picture", tmp_path / "class.svg")
    assert code == 0 and (tmp_path / "class.svg").exists()
    learners = [line for line in out.splitlines() if "learners" in line]
    # the third time, the picture itself lies in the folder
    assert learners == ["Note: learners: 0", "Note: learners: 1", "Note: learners: 1"]


def a_class(tmp_path, learners=50):
    """Hand in what a class leaves in which every other one is stuck at the first task, every third at the next ..."""
    tasks = [task.name for lesson in lesson_names()[:4] for task in tasks_of(lesson)]
    folder = tmp_path / "class"
    folder.mkdir()
    for number in range(learners):
        kept = {
            name: ("done", 1, "right") if number % k else ("tried", number + 1, "wrong")
            for k, name in enumerate(tasks, 2)
        }
        hand_in(folder, f"learner_{number:03}.json", kept, id=str(number))
    return folder


def test_the_picture_has_the_tasks_with_most_wrong_first_tries_and_no_names(tmp_path, capsys):
    folder = a_class(tmp_path)
    for name in ("class.png", "class.svg"):
        assert run(capsys, folder, "--picture", tmp_path / name)[0] == 0
    assert Image.open(tmp_path / "class.png").size == (1920, 1080)
    text = (tmp_path / "class.svg").read_text(encoding="utf-8")
    assert "more are stuck, with fewer tries" in repr(pool(folder))
    drawn = [name for name in TASKS if f"<!-- {name[7:].replace('.', ' ')} -->" in text]
    assert drawn == list(TASKS)[:10]
    assert f"at first: {drawn[0][7:].replace('.', ' ')}, 25 of 50" in text
    assert "learner_" not in text
    assert main(["classroom", str(folder), "--picture", str(tmp_path / "class.json")]) == 1
    assert "json" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["class", "class.png", "class.svg"]


def test_the_picture_says_in_words_what_it_shows(folder):
    assert repr(show(pool(folder).plot())) == (
        "Figure: Most often wrong at first: 02 small_loader, 3 of 4. 4 learners; the 2 of 2 tasks with the most wrong"
        " first tries. Right at the first try: 02 small_loader 25 %, 02 batch_of 0 %."
    )
