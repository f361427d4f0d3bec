"""The lessons in a real JupyterLab in headless Chromium: they run, the widget answers, and so does an exercise."""

import os
from pathlib import Path

import pytest
from lab import CHROMIUM, close, lab, run_all, run_cell

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import expect  # noqa: E402  (it may be missing)

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]
LESSONS = sorted((Path(__file__).parent.parent / "notebooks").glob("[0-9]*.ipynb"))
if not os.environ.get("DLHELPERS_FULL"):  # `make test-browser` takes all; nbval has run every cell once already
    LESSONS = [path for path in LESSONS if path.name.startswith(("00_", "02_"))]


@pytest.fixture(scope="module")
def open_lesson():
    with lab(LESSONS) as open_notebook:
        yield open_notebook


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_lesson_runs_without_an_error_or_a_warning_box(open_lesson, lesson):
    page = open_lesson(lesson)
    outputs = run_all(page)
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    assert len(outputs) > 10
    assert page.locator(".jp-OutputArea img[alt]").count() >= lesson.read_text(encoding="utf-8").count("<img alt=")
    if lesson.name.startswith("02_"):
        the_widget_redraws(page)
        the_exercise_answers(page)
    close(page)


def the_widget_redraws(page):
    panel = page.locator(".jp-OutputArea .widget-html").first
    expect(panel).to_contain_text("20 samples in 4 batches, the last of 2; 0 left out.")
    picture = panel.locator("img").get_attribute("src")
    page.locator(".jp-OutputArea .noUi-handle").nth(1).focus()  # the batch size, by keyboard alone
    page.keyboard.press("ArrowRight")
    expect(panel).to_contain_text("20 samples in 3 batches, the last of 6; 0 left out.")
    assert panel.locator("img").get_attribute("src") != picture


def the_exercise_answers(page):
    task = "lesson_02.last_batch_size.check("
    remainder = "def last_batch_size(samples, batch_size):\n    return samples % batch_size"
    run_cell(page, task, f"{remainder}\n\nlesson_02.last_batch_size.check(last_batch_size)")
    expect(page.locator(".jp-OutputArea").get_by_text("the last batch is full: 64 samples")).to_be_visible()
    run_cell(page, task, f"{remainder} or batch_size\n\nlesson_02.last_batch_size.check(last_batch_size)")
    expect(page.locator(".jp-OutputArea").get_by_text("every case holds.")).to_be_visible()
