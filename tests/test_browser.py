"""The lessons in a real JupyterLab in headless Chromium: they run, and react to what a learner does."""

import re

import pytest
from lab import CHROMIUM, close, lab, run_all, run_cell
from long_cases import FULL
from run_notebooks import lessons, memory_line

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import expect  # noqa: E402  (it may be missing)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]
LESSONS = lessons()
MOST_MEMORY = 1_600_000_000  # bytes, of kernel and JupyterLab together: Binder gives 2 GB
LONG = """
from time import sleep
history = fit(model, train_loader, nn.CrossEntropyLoss(), optimizer, epochs={epochs},
              on_epoch_end=lambda *results: sleep(0.2))
"""
TOO_WIDE = """() => {
    const wide = element => element.scrollWidth > element.clientWidth + 1;
    const parts = document.querySelectorAll('.jp-Notebook, .jp-WindowedPanel-outer, .jp-OutputArea-output');
    return [...parts].filter(wide).map(part => part.textContent.slice(0, 80));
}"""
if not FULL:  # `make test-browser` takes all; nbval has run every cell once already
    LESSONS = [path for path in LESSONS if path.name.startswith("02_")]


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
    stored = lesson.read_text("utf-8")
    # of an explorer's three pictures, two are in a fold of its twin
    pictures = stored.count("<img alt=") - 2 * stored.count("<details>")
    assert page.locator(".jp-OutputArea img[alt]").count() >= pictures
    assert page.evaluate(TOO_WIDE) == [], "wider than a window of 1280 pixels"
    assert peak_memory(open_lesson.server) < MOST_MEMORY
    if lesson.name.startswith("00_"):
        the_bar_moves_and_ends(page)
        the_interrupt_button_keeps_the_history(page)
    if lesson.name.startswith("02_"):
        the_widget_redraws(page)
        the_exercise_answers(page)
        a_card_is_answered_by_keyboard(page)
    close(page)


def peak_memory(server):
    """The most that JupyterLab and its kernels held, each at its own time; what is file-backed or shared left out."""
    pids = [server.pid, *(child.pid for child in server.children(recursive=True))]
    return sum(
        memory_line(pid, "VmHWM") - memory_line(pid, "RssFile") - memory_line(pid, "RssShmem")
        for pid in pids
    )


def the_bar_moves_and_ends(page):
    run_cell(page, "history = fit(", LONG.format(epochs=8), wait=False)
    bar = page.locator(".jp-OutputArea .progress-bar").last
    expect(bar).to_be_visible()
    widths = set()
    while (
        len(widths) < 4
    ):  # it moves at least three times; the page's own time limit ends a bar that does not
        page.wait_for_function(
            "([bar, seen]) => !seen.includes(bar.style.width)",
            arg=[bar.element_handle(), [*widths]],
        )
        widths.add(bar.evaluate("bar => bar.style.width"))
    expect(bar).to_have_attribute("style", re.compile("width: 100%"))
    expect(bar).to_have_class(re.compile("progress-bar-success|bg-success"))


def the_interrupt_button_keeps_the_history(page):
    run_cell(page, "on_epoch_end=lambda", LONG.format(epochs=10_000), wait=False)
    expect(page.locator(".jp-OutputArea .progress-bar").last).to_be_visible()
    page.wait_for_timeout(1_500)
    page.locator('[data-command="notebook:interrupt-kernel"]').first.click()
    run_cell(page, "on_epoch_end=lambda", "history.stop_reason, history.epochs > 1")
    expect(page.locator(".jp-OutputArea").get_by_text("('interrupted', True)")).to_be_visible()


def the_widget_redraws(page):
    frame = page.locator(".jp-OutputArea .dl-explorer")
    panel = frame.locator(".widget-html", has=page.locator("img"))
    expect(panel).to_contain_text("20 samples in 4 batches, the last of 2; 0 left out.")
    picture = panel.locator("img").get_attribute("src")
    frame.locator(".noUi-handle").nth(1).focus()  # the batch size, by keyboard alone
    page.keyboard.press("ArrowRight")
    expect(panel).to_contain_text("20 samples in 3 batches, the last of 6; 0 left out.")
    assert panel.locator("img").get_attribute("src") != picture
    field = frame.get_by_label("batch size (samples)")
    expect(field).to_have_value("7")
    field.fill("10")
    field.press("Enter")
    expect(panel).to_contain_text("20 samples in 2 batches, the last of 10; 0 left out.")
    box = frame.bounding_box()
    assert box["height"] < 700, "controls and picture are seen together at 1280 x 900"


def the_exercise_answers(page):
    task = "lesson_02.last_batch_size.check("
    remainder = "def last_batch_size(samples, batch_size):\n    return samples % batch_size"
    run_cell(page, task, f"{remainder}\n\nlesson_02.last_batch_size.check(last_batch_size)")
    expect(
        page.locator(".jp-OutputArea").get_by_text("the last batch is full: 64 samples")
    ).to_be_visible()
    run_cell(
        page, task, f"{remainder} or batch_size\n\nlesson_02.last_batch_size.check(last_batch_size)"
    )
    expect(page.locator(".jp-OutputArea").get_by_text("every case holds.")).to_be_visible()


def a_card_is_answered_by_keyboard(page):
    card = page.locator(".dl-card").first
    card.get_by_label("a number").focus()
    for typed, said in (("half", "is no number"), ("2.5", "your prediction: 2.5")):
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type(typed)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(card).to_contain_text(said)
        card.get_by_label("a number").focus()
    run_cell(page, "small_loader.reveal(", "lesson_02.small_loader.reveal(3)")
    expect(card).to_contain_text("measured: 3")
    said = page.locator(".jp-OutputArea").get_by_text("A loader gives no half batch")
    expect(said).to_be_visible()
