"""Explorers: controls redraw picture and sentence in time, and the twin stands still for readers without a kernel."""

import gc
import html
import json
import re
import time
from functools import cache
from random import Random

import pytest
import torch
from run_notebooks import ROOT

from dlhelpers import explore

NAMES = [name.removeprefix("explore_") for name in explore.__all__ if name != "network"]


def fresh(name):
    return getattr(explore, f"explore_{name}")()


known = cache(fresh)  # draws its pictures once


def column(explorer):
    return explorer.widget.children[0].children


def controls(explorer):
    named = [child for child in column(explorer) if getattr(child, "description", "")]
    return {child.description: child for child in named}


def panel(explorer):
    return explorer.widget.children[1].value


def picture(explorer):
    return panel(explorer).partition("<img")[2]


def say(name, *values):
    """The sentence of an explorer whose controls have these values."""
    return known(name).draw(*values).alt


def numbers(name, *values):
    """The numbers of this sentence."""
    found = re.findall(r"[\d,]*\d(?:\.\d+)?", say(name, *values))
    return [float(number.replace(",", "")) for number in found]


@pytest.mark.parametrize("name", NAMES)
def test_the_twin_stands_beside_the_widget_in_one_small_bundle(name):
    explorer = known(name)
    bundle = explorer._repr_mimebundle_()
    view = bundle["application/vnd.jupyter.widget-view+json"]
    assert view["model_id"] == explorer.widget.model_id
    assert not hasattr(explorer, "_ipython_display_"), "ipywidgets 7 would show the widget alone"
    first, fold = bundle["text/html"].split("<details>")
    told = [html.unescape(alt) for alt in re.findall('<img alt="(.*?)"', bundle["text/html"])]
    assert bundle["text/plain"] == "\n".join(f"Figure: {alt}" for alt in told)
    assert first.count("<img") == 1 and fold.count("<img") == 2 and len({*told}) == 3
    assert len(bundle["text/html"]) < 150_000
    assert told[0] in panel(explorer) and column(explorer)[-1].value.count("<li>") == 3
    start = [control[1] for control in explorer.controls]  # as the site draws its frames
    assert explorer.draw(*start).alt == told[0]


@pytest.mark.parametrize(
    ("name", "control", "value", "sentence"),
    [
        ("batches", "batch size (samples)", 3, "20 samples in 7 batches, the last of 2;"),
        ("batches", "drop_last", True, "20 samples in 3 batches, the last of 6; 2 left out."),
        ("digit", "columns to the right", -1, "says 5, with 100 %"),
        ("digit", "swap ink and paper", True, "says 4, with 100 %"),
        ("price", "memory", "8 GB", "take 6.02 GB, and that fits into 8 GB."),
        ("price", "type of a number", "float16", "take 3.01 GB, and that does not fit into 2 GB."),
        ("plan", "epochs", 4, "40 optimizer steps from 9,616 samples (10,000 are allowed)"),
        ("plan", "micro-batch (samples)", 1, "13.2 MB at the peak of a step (88 MB are"),
        ("shuffle", "block (samples)", 7, "35 disk requests and holds at most 7 samples"),
        ("shuffle", "window (blocks)", 20, "holds at most 240 samples"),
        ("steps", "samples", 19, "the last of an epoch from 3. Told 6,"),
        (
            "ranks",
            "samples",
            1,
            "0 taken twice. 1 optimizer step, the last with 1 sample from 1 rank",
        ),
    ],
)
def test_a_control_changes_picture_and_sentence(name, control, value, sentence):
    explorer = fresh(name)
    before, drawn = panel(explorer), picture(explorer)
    controls(explorer)[control].value = value
    assert sentence in panel(explorer) and sentence not in before
    assert picture(explorer) != drawn and "aria-live" in panel(explorer)


def test_a_slider_and_its_named_field_move_together():
    field, slider, *_ = column(fresh("batches"))
    slider.value = 12
    assert field.value == 12 and field.description == "samples"
    field.value = 10_000
    assert slider.value == field.value == 24


@pytest.mark.parametrize("name", NAMES)
def test_every_end_of_a_control_is_drawn_in_time_and_the_twin_stands_still(name):
    explorer, spent = known(name), []
    twin, pictures = repr(explorer), {picture(explorer)}
    gc.disable()  # as timeit does: collecting what other tests have left takes up to a second
    try:
        for control in controls(explorer).values():
            slider = hasattr(control, "max")
            ends = (control.max, control.min) if slider else getattr(control, "options", (1, 0))
            for end in ends:  # the last one stays while the next control moves
                begin = time.process_time()
                control.value = end
                spent.append(time.process_time() - begin)
                pictures.add(picture(explorer))
    finally:
        gc.enable()
    assert max(spent) < 1.5, "a quiet machine needs 0.3 seconds"
    values = [control.value for control in controls(explorer).values()]
    assert explorer.draw(*values).alt in panel(explorer)
    assert len(pictures) > 1 and repr(explorer) == twin


@pytest.mark.parametrize(("images", "size"), [(75, 32), (1, 75)])
def test_averages_are_those_of_the_lessons_model(images, size):
    right = 100 * torch.tensor([0.0] * 25 + [1] * 19 + [0] * 31)[:images]
    batches = right.split(size)
    mean = sum(batch.mean() for batch in batches) / len(batches)
    last = len(batches[-1])
    found = numbers("averages", size, images, True)
    expected = [mean, right.mean(), last, len(batches[0]) / last]
    assert found == pytest.approx([float(value) for value in expected], abs=0.0501)
    shuffled = numbers("averages", size, images, False)
    assert shuffled[1:] == found[1:], "the order moves the mean of means alone"


@pytest.mark.parametrize(
    ("kept", "start", "copies"),
    [
        ("the path of a map", "spawn", 0),
        ("a map", "fork", 0),
        ("an array", "fork", 1),
        ("an array", "spawn", 4),
    ],
)
def test_what_cannot_be_dropped_is_a_copy_for_each_process_that_has_one(kept, start, copies):
    _, _, *sizes = numbers("kinds", kept, start, 2, 3, 100)
    anonymous, shared, limit, pages, resident = sizes
    assert anonymous == pytest.approx(2 * copies + 0.3 + 3 * (0.02, 0.3)[start == "spawn"])
    assert shared == pytest.approx(3 * 2 * 100 * 3 * 224 * 224 * 4 / 1e9, abs=0.0051)
    assert limit == 4 and pages <= max(0, 4.01 - anonymous - shared)
    assert resident >= anonymous + shared - 0.01


def test_memory_is_that_of_the_lessons_tensors():
    lesson = json.loads(next(ROOT.glob("notebooks/06_*")).read_text("utf-8"))
    scope = {}
    for cell in lesson["cells"]:
        if cell["id"] in ("cnn", "held"):
            exec("".join(cell["source"]), scope)
    held = scope["held"](34)
    total, parameters = sum(held.values()), held["parameters"]
    for optimizer, precision, expected in [
        ("SGD", "mixed", total - 1.5 * parameters - held["activations"] / 2),
        ("momentum", "float32", total - parameters),
    ]:
        found = numbers("memory", 100, 3, optimizer, precision)  # micro-batches of 34, 34 and 32
        assert found == pytest.approx([100, 34, expected / 1e6, 20], abs=0.0051)


def test_a_click_turns_the_pixel_that_is_seen_and_it_moves_with_the_sheet():
    explorer = fresh("digit")
    start, right, down, swap = controls(explorer).values()
    pixels = column(explorer)[0].children
    white = lambda: [k for k, key in enumerate(pixels) if key.style.button_color[4:7] == "255"]  # noqa: E731
    start.value = "blank"
    before = picture(explorer)
    pixels[9].click()
    assert white() == [9] and picture(explorer) != before
    assert pixels[9].tooltip == "row 2, column 2"
    right.value, down.value = 2, 1
    assert white() == [9 + 2 + 8]
    swap.value = True
    pixels[19].click()
    assert white() == [*range(64)]
    pixels[63].click()
    assert white() == [*range(63)]
    swap.value, start.value = False, "0"
    start.value = "blank"
    assert white() == [], "a new start is a new sheet"


def test_the_network_of_the_digits_can_be_ones_own():
    seven = torch.nn.Linear(64, 10)
    seven.weight.data.zero_()
    seven.bias.data[7] = 20
    own = explore.explore_digit(torch.nn.Sequential(torch.nn.Flatten(), seven))
    assert "says 7, with 100 %" in panel(own)


def simulated(loads, train_ms, workers, prefetch):
    """Live through an epoch ms by ms; return its length, and how long workers waited for an order."""
    left, now, taken, free, waits = list(loads), 0, 0, 0, 0
    while taken < 12 or now < free:
        if taken < 12 and now >= free and not left[taken]:
            taken, free = taken + 1, now + train_ms
        for worker in range(workers):
            batch = next((k for k in range(worker, 12, workers) if left[k]), None)
            if batch is not None:
                ordered = batch < workers * prefetch + taken
                left[batch] -= ordered
                waits += not ordered
        now += 1
    return now, waits


def test_lanes_are_those_of_a_loader_lived_through_ms_by_ms():
    random = Random(0)
    for _ in range(3):
        load, train = random.randint(1, 60), random.randint(1, 60)
        workers, prefetch = random.randint(1, 4), random.randint(1, 4)
        uneven = random.random() < 0.7
        loads = [load * (5 if uneven and k % 5 == 4 else 1) for k in range(12)]
        length, waits = simulated(loads, train, workers, prefetch)
        found = numbers("lanes", load, train, workers, prefetch, uneven)
        assert found == [12, length, length - 12 * train, waits]
    assert numbers("lanes", 30, 20, 0, 2, False) == [12, 12 * 50, 12 * 30, 11 * 20], "in turns"


@pytest.mark.parametrize(
    ("reads", "runs"), [(0, [16]), (1, [4] * 4), (2, [2] * 8), (3, [2, 1, 1] * 4), (4, [1] * 16)]
)
@pytest.mark.parametrize("kernel", [1, 7])
def test_between_two_reads_the_longer_of_host_and_device_sets_the_time(reads, runs, kernel):
    """A run of kernels is handed over in 3 ms each, and waits for the host's first or the device's last."""
    length = sum(max(3 + run * kernel, run * 3 + kernel) for run in runs)
    for lead in (16, 2) if kernel > 3 else (16,):
        found = numbers("reads", reads, kernel, lead)
        assert found == [4, length, length - 16 * kernel, length - 48]
    assert numbers("reads", reads, kernel, 1)[1] == 16 * (3 + kernel), "in turns"


SAID = [(1, "rolls"), (49, "rolls"), (50, "lands"), (99, "closer"), (100, "for ever")]
SAID += [(101, "flies off"), (120, "flies off")]


@pytest.mark.parametrize("clear", [True, False])
@pytest.mark.parametrize(("hundredths", "word"), SAID)
def test_the_ball_is_moved_by_torchs_own_optimizer(hundredths, word, clear):
    weight = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=hundredths / 100)
    for _ in range(20):
        if clear:
            optimizer.zero_grad()
        (weight - 3).square().backward()
        optimizer.step()
    loss = (weight.item() - 3) ** 2
    found = numbers("step", hundredths, 20, clear)
    assert found[-4:] == pytest.approx([0, abs(weight.item()), 9, loss], abs=0.0051)
    assert (word if clear else "sledge") in say("step", hundredths, 20, clear)
