"""The teacher's guide speaks of tasks, sections and minutes that the lessons have."""

import json
import re
from importlib import import_module

import pytest
from addresses import ROOT
from run_notebooks import lessons

GUIDE = (ROOT / "docs/teaching.md").read_text("utf-8")
LESSONS = {path.name[:2]: path for path in lessons()}
SECTIONS = re.findall(r"(?ms)^### (\d\d) (.+?)(?=^##)", GUIDE.partition("## Lesson by lesson")[2])
NOTES = dict(SECTIONS)
WORDS = {
    "drop_last",
    "fit",
    "len",
    "reveal",
    "webdataset",
    "dlhelpers",
    "images.to(device)",
    "1 / classes",
}


def cells(number):
    return json.loads(LESSONS[number].read_text("utf-8"))["cells"]


def headings(number):
    return {
        line
        for cell in cells(number)
        for line in "".join(cell["source"]).splitlines()
        if line.startswith("#")
    }


def tasks(number):
    lesson = import_module(f"dlhelpers.course.lessons.lesson_{number}")
    return {name for name, value in vars(lesson).items() if hasattr(value, "hint")}


def test_each_lesson_has_notes_with_its_title_and_its_minutes():
    assert [number for number, _ in SECTIONS] == list(LESSONS)
    for number, notes in NOTES.items():
        text = "".join(cells(number)[0]["source"])
        title, first, second = re.match(r"(.+) \((\d+) \+ (\d+) minutes\)", notes).groups()
        assert f"# {title}" == text.splitlines()[0]
        assert int(first) + int(second) == int(re.search(r"about\s+(\d+)\s+minutes", text)[1]), (
            title
        )


@pytest.mark.parametrize("number", LESSONS)
def test_the_notes_name_what_the_lesson_has(number):
    late = " ".join(NOTES[number].partition("- Late:")[2].split())
    for section in re.findall(r'"([A-Z][^"]+\?)"', late):
        assert f"## {section}" in headings(number), section
    asked = [name for name in re.findall(r"^- `(\w+)`", NOTES[number], re.MULTILINE)]
    assert len(asked) >= 3 and set(asked) <= tasks(number)


def test_the_plans_name_what_the_lessons_have():
    rows = re.findall(r"(?m)^\| \d+ \| (\d\d) \| (.+) \|$", GUIDE)
    assert len(rows) > 15
    for number, what in rows:
        for section in re.findall(r'"([^"]+)"', what):
            assert f"## {section}" in headings(number), section
        for name in re.findall(r"`(\w+)`", what):
            assert name in tasks(number) | WORDS, name
