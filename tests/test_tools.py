"""`make lab`: what is installed, and which build of torch; a copy of each lesson that stays the learner's own.

And the README: its pictures, numbers and example are those of lessons and helpers.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import install
import lessons
import pages
import pictures
import pytest
import slides
from run_notebooks import ROOT

LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# ---- the install: make and tools/install.py as they are, and a stand-in for the Python in .venv ----

FAKE = """#!/bin/bash
case "$1 $2" in
  "-c "|"-m pip") [ "$2" != pip ] || [ "$3" = --version ] || echo "pip ${*: -1}" >> log
                  [ "$3" != install ] || [ ! -e broken ] || exit 1 ;;
  "-P -c") [ -e whole ] ;;
  "-c import torchvision") [ ! -e unlike ] ;;
esac
"""
whole = ["pip pip", "pip .[course,test]"]
no_make = pytest.mark.skipif(
    not shutil.which("make") or os.name == "nt", reason="make is not installed"
)


@pytest.fixture
def clone(tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "tools/install.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    fake = tmp_path / ".venv" / "bin" / "python"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    return tmp_path


def make(clone, *arguments):
    (clone / "log").write_text("")
    kept = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "CPU", "PY")}
    command = ["make", ".venv/.ok", f"PY={sys.executable}", *arguments]
    result = subprocess.run(command, cwd=clone, capture_output=True, text=True, env=kept)
    return result, (clone / "log").read_text().splitlines()


@no_make
def test_a_failed_install_is_not_taken_for_a_finished_one(clone):
    (clone / "broken").touch()
    result, log = make(clone, "GPU=1")
    assert result.returncode != 0 and log == whole
    assert "The same command goes on from here" in result.stderr
    assert not (clone / ".venv" / ".ok").exists()
    (clone / "broken").unlink()
    result, log = make(clone, "GPU=1")
    assert result.returncode == 0 and log == whole, result.stderr
    assert make(clone)[1] == [], "the third run has nothing to do"


@no_make
def test_where_all_is_there_a_touched_list_asks_for_nothing(clone):
    """As after a pull, on a train."""
    make(clone, "GPU=1")
    (clone / "whole").touch()
    stamp = (clone / ".venv" / ".ok").stat().st_mtime
    os.utime(clone / "pyproject.toml", (stamp + 5, stamp + 5))
    assert make(clone)[1] == [] and (clone / ".venv" / ".ok").stat().st_mtime > stamp
    (clone / "whole").unlink()
    os.utime(clone / "pyproject.toml", (stamp + 9999, stamp + 9999))
    assert make(clone, "GPU=1")[1] == whole


@no_make
def test_the_small_build_comes_first_both_from_one_index_and_what_does_not_fit_is_told(clone):
    (clone / "unlike").touch()
    result, log = make(clone, "CPU=1")
    installed = ["pip pip", f"pip {install.CPU_INDEX}", "pip .[course,test]"]
    assert log == [*installed, "pip torchvision"], "which is removed, or the next run would take it"
    assert "Try GPU=1 make lab" in result.stderr


@no_make
def test_a_python_that_is_too_old_is_refused_by_name(clone):
    old = clone / "old"
    code = "import runpy, sys; sys.version_info = (3, 10, 1); runpy.run_path('tools/install.py', run_name='__main__')"
    old.write_text(f'#!/bin/bash\nexec {sys.executable} -c "{code}"\n')
    old.chmod(0o755)
    result, log = make(clone, "PY=./old")
    assert result.returncode != 0 and log == []
    assert "needs Python 3.11 or newer, and this is 3.10. Try: make PY=python3.12" in result.stderr


def test_an_environment_is_whole_where_every_range_holds_and_the_helpers_are_this_folders(tmp_path):
    def ends(folder):
        command = [sys.executable, "-P", "-c", install.WHOLE]
        return subprocess.run(command, cwd=folder, capture_output=True).returncode

    if Path(__import__("dlhelpers").__file__).parent.parent != ROOT:
        pytest.skip("the helpers are not those of this folder")
    assert ends(ROOT) == 0
    listed = (ROOT / "pyproject.toml").read_text("utf-8")
    for text in (listed.replace("torch>=2.10,<3", "torch>=9"), listed):
        (tmp_path / "pyproject.toml").write_text(text, "utf-8")
        assert ends(tmp_path) != 0, "a range that does not hold, or another folder's helpers"


@pytest.mark.parametrize("answers", (True, False))
@pytest.mark.parametrize("gpu", (False, True))
def test_the_build_of_torch_follows_from_what_is_there(monkeypatch, tmp_path, answers, gpu):
    def urlopen(address, timeout):
        if not answers:
            raise OSError("no route")
        return io.BytesIO()

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    (tmp_path / "nvidia0").touch() if gpu else None
    monkeypatch.setattr(install, "GPUS", [str(tmp_path / "nvidia*")])
    monkeypatch.setattr(sys, "platform", "linux")
    small, why = install.small_build({})
    assert small is (answers and not gpu)
    assert ("there is a GPU here" in why) is gpu
    assert install.small_build({"GPU": "1"}) == (False, "as GPU=1 says")
    assert install.small_build({"CPU": "1"}) == (True, "as CPU=1 says")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not install.small_build({})[0]


# ---- the copies ----


@pytest.fixture
def course(tmp_path):
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "00_start_here.ipynb", tmp_path / "notebooks" / "00_a.ipynb")
    return tmp_path


def change(path, text):
    book = json.loads(path.read_text("utf-8"))
    book["cells"][0]["source"] = [text]
    path.write_text(json.dumps(book), "utf-8")


def test_a_copy_without_outputs_stays_the_learners_and_a_new_edition_is_put_beside_it_once(
    course, capsys
):
    lessons.main(course)
    mine = course / "my-lessons" / "00_a.ipynb"
    ours, theirs = (
        json.loads((course / folder / mine.name).read_text("utf-8"))["cells"]
        for folder in ("my-lessons", "notebooks")
    )
    assert [cell["source"] for cell in ours] == [cell["source"] for cell in theirs]
    assert any(cell.get("outputs") for cell in theirs)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in ours)
    change(mine, "what I wrote")
    written = mine.read_bytes()
    lessons.main(course)
    assert mine.read_bytes() == written and capsys.readouterr().out == ""
    change(course / "notebooks" / "00_a.ipynb", "# The second edition")
    lessons.main(course)
    assert "my-lessons/00_a.ipynb is yours and stays" in capsys.readouterr().out
    [new] = (course / "my-lessons").glob("00_a.new-*.ipynb")
    assert "The second edition" in new.read_text("utf-8")
    lessons.main(course)
    assert mine.read_bytes() == written and capsys.readouterr().out == ""
    mine.write_text("{", "utf-8")  # broken off while it was saved
    lessons.main(course)
    assert mine.read_text("utf-8") == "{"


def test_a_class_gets_a_folder_in_which_the_course_opens_as_here(tmp_path):
    target = tmp_path / "for the class"
    lessons.hand_out(target)
    for lesson in LESSONS:
        handed = json.loads((target / "notebooks" / lesson.name).read_text(encoding="utf-8"))
        assert not any(cell.get("outputs") for cell in handed["cells"])
    links = re.findall(r"\]\((?!https:)(.+?)\)", (target / "README.md").read_text("utf-8"))
    assert len(links) > 16 and all((target / link).exists() for link in links)
    start = "import dlhelpers.course.start as start; print(start.__file__)"
    run = [sys.executable, "-c", start]
    where = subprocess.run(run, cwd=target, env=os.environ | {"PYTHONPATH": ""}, stdout=-1).stdout
    assert Path(where.decode().strip()).is_relative_to(target)
    subprocess.run([sys.executable, target / "tools" / "lessons.py"], check=True)
    assert len(list((target / "my-lessons").glob("*.ipynb"))) == len(LESSONS)
    command = [sys.executable, ROOT / "tools" / "lessons.py", target]
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 1 and "name a new folder" in again.stderr


def printed(*numbers):
    """The numbers that the cells of lessons print."""
    said = [
        "".join(output.get("text") or output.get("data", {}).get("text/plain", ""))
        for lesson in numbers
        for cell in slides.cells(lesson).values()
        for output in cell.get("outputs", [])
    ]
    return set(re.findall(r"\d+(?:\.\d+)?", " ".join(said)))


def test_the_slides_show_what_lessons_show_and_their_numbers_are_printed_there():
    page = slides.page()
    assert page.count("<section>") == len(slides.SLIDES) == 6
    assert "http" not in re.sub("<svg.+?>", "", page), "it has to work without a network"
    words = " ".join(title + question for title, question, _ in slides.SLIDES)
    numbers = re.findall(r"\d+(?:\.\d+)?", words.replace("Lesson 00", ""))
    assert numbers and set(numbers) <= printed("02", "03")
    for place in (place for _, _, places in slides.SLIDES for place in places):
        assert slides.shown(place) and slides.shown(place) in page


def test_each_number_of_the_sheet_is_printed_by_its_lesson_and_each_lesson_has_a_card(monkeypatch):
    assert "<b>25.3%</b>" in pages.sheet()
    assert pages.cards().count("<svg") == len(LESSONS) == len(pages.lessons())
    monkeypatch.setattr(pages, "SHEET", [[*pages.SHEET[0][:-1], "no such text"]])
    with pytest.raises(ValueError, match="lesson 02 does not print no such text"):
        pages.sheet()


# ---- the README ----

README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_a_picture_is_that_of_its_lesson(name):
    kept = (ROOT / "docs" / "images" / f"{name}.png").read_bytes()
    assert kept == pictures.picture(*pictures.PICTURES[name]), "stale: python tools/pictures.py"


def test_the_numbers_at_the_top_are_printed_by_a_lesson():
    opening = README.partition("](docs/images")[0].partition("\n\n")[2]
    numbers = set(re.findall(r"\d+(?:\.\d+)?", opening))
    assert {"75", "25.3", "19.8"} <= numbers <= printed("03")


def test_the_example_runs_as_it_stands_and_prints_what_it_says(capsys):
    code, said = re.search(r"(?s)```python\n(.*?)```\n```text\n(.*?)```", README).groups()
    exec(code, {})
    assert capsys.readouterr().out == said


def test_the_hours_are_those_of_the_lessons_together():
    minutes = sum(map(int, re.findall(r"(?m)^\| \d\d \| .* \| (\d+) \| \[", README)))
    words = {8: "eight", 9: "nine", 10: "ten", 11: "eleven"}
    assert f"About {words[round(minutes / 60)]} hours in all" in README
