"""Explorers: controls redraw picture and sentence in time, and the twin stands still for readers without a kernel."""

import html
import json
import re
import time
from pathlib import Path
from random import Random

import pytest
import torch

from dlhelpers.explore import (
    explore_averages,
    explore_batches,
    explore_lanes,
    explore_memory,
    explore_step,
)

EXPLORERS = [explore_averages, explore_batches, explore_lanes, explore_memory, explore_step]
each_explorer = pytest.mark.parametrize("explore", EXPLORERS)
ROOT = Path(__file__).parent.parent


def column(explorer):
    return explorer.widget.children[0].children


def controls(explorer):
    return {child.description: child for child in column(explorer) if child.description}


def panel(explorer):
    return explorer.widget.children[1].value


def numbers(explorer, *values):
    """Set the controls in their order, and return the numbers of the sentence."""
    for control, value in zip(controls(explorer).values(), values, strict=True):
        control.value = value
    sentence = re.search("<b>(.*)</b>", panel(explorer))[1]
    return [
        float(number.replace(",", "")) for number in re.findall(r"[\d,]*\d(?:\.\d+)?", sentence)
    ]


@each_explorer
def test_the_twin_stands_beside_the_widget_in_one_small_bundle(explore):
    explorer = explore()
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


@pytest.mark.parametrize(
    ("explore", "control", "value", "sentence"),
    [
        (explore_batches, "batch size (samples)", 3, "20 samples in 7 batches, the last of 2;"),
        (explore_batches, "drop_last", True, "20 samples in 3 batches, the last of 6; 2 left out."),
        (explore_averages, "batch size (images)", 25, "says 25.3 %, the truth is 25.3 %"),
        (explore_memory, "optimizer", "SGD", "take 15.12 MB and fit under the limit of 20 MB"),
        (explore_step, "learning rate (hundredths)", 50, "lands at the bottom in one step."),
        (explore_lanes, "num_workers", 0, "takes 3,360 ms. The device waits for 1,920 ms"),
    ],
)
def test_a_control_changes_picture_and_sentence(explore, control, value, sentence):
    explorer = explore()
    before, twin = panel(explorer), repr(explorer)
    controls(explorer)[control].value = value
    after = panel(explorer)
    assert sentence in after and sentence not in before and "aria-live" in after
    assert after.partition("<img")[2] != before.partition("<img")[2]
    assert repr(explorer) == twin, "the twin stands still"


def test_a_slider_and_its_named_field_move_together():
    field, slider, *_ = column(explore_batches())
    slider.value = 12
    assert field.value == 12 and field.description == "samples"
    field.value = 10_000
    assert slider.value == field.value == 24


@each_explorer
def test_every_end_of_a_control_is_drawn_in_time(explore):
    explorer, spent = explore(), []
    for control in controls(explorer).values():
        slider = hasattr(control, "max")
        ends = (control.max, control.min) if slider else getattr(control, "options", (1, 0))
        for end in ends:  # the last one stays while the next control moves
            begin = time.process_time()
            control.value = end
            spent.append(time.process_time() - begin)
    assert max(spent) < 1.5, "a quiet machine needs 0.3 seconds"


@pytest.mark.parametrize(("images", "size"), [(75, 32), (1, 75)])
def test_averages_are_those_of_the_lessons_model(images, size):
    right = ([0] * 25 + [1] * 19 + [0] * 31)[:images]
    batches = [right[k : k + size] for k in range(0, images, size)]
    mean = 100 * sum(sum(batch) / len(batch) for batch in batches) / len(batches)
    last = len(batches[-1])
    found = numbers(explore_averages(), images, size, True)
    expected = [mean, 100 * sum(right) / images, last, len(batches[0]) / last]
    assert found == pytest.approx(expected, abs=0.0501)
    shuffled = numbers(explore_averages(), images, size, False)
    assert shuffled[1:] == found[1:], "the order moves the mean of means alone"


def test_memory_is_that_of_the_lessons_tensors():
    lesson = json.loads(next(ROOT.glob("notebooks/07_*")).read_text(encoding="utf-8"))
    scope = {}
    for cell in lesson["cells"]:
        if cell["id"] in ("cnn", "make-cnn", "make-batch", "held"):
            exec("".join(cell["source"]), scope)
    held, explorer = scope["held"](34), explore_memory()
    total, parameters = sum(held.values()), held["parameters"]
    mixed = total + parameters / 2 - held["activations"] / 2
    for optimizer, precision, expected in [
        ("Adam", "float32", total),
        ("Adam", "mixed", mixed),
        ("SGD", "mixed", mixed - 2 * parameters),
        ("momentum", "float32", total - parameters),
    ]:
        found = numbers(explorer, 100, 3, optimizer, precision)  # micro-batches of 34, 34 and 32
        assert found == pytest.approx([100, 34, expected / 1e6, 20], abs=0.0051)


def simulated(loads, train_ms, workers, prefetch):
    """Live through an epoch ms by ms; return its length, and how long workers waited for an order."""
    queues, orders, left = [[] for _ in range(workers)], iter(range(12)), list(loads)

    def order():
        if (batch := next(orders, None)) is not None:
            queues[batch % workers].append(batch)

    for _ in range(workers * prefetch):
        order()
    now = taken = free = waits = 0
    while taken < 12 or now < free:
        if taken < 12 and now >= free and not left[taken]:
            taken, free = taken + 1, now + train_ms
            order()
        for worker, queue in enumerate(queues):
            if queue:
                left[queue[0]] -= 1
                if not left[queue[0]]:
                    queue.pop(0)
            elif any(left[worker::workers]):
                waits += 1
        now += 1
    return now, waits


def test_lanes_are_those_of_a_loader_lived_through_ms_by_ms():
    explorer, random = explore_lanes(), Random(0)
    for _ in range(3):
        load, train = random.randint(1, 60), random.randint(1, 60)
        workers, prefetch, uneven = (
            random.randint(1, 4),
            random.randint(1, 4),
            random.random() < 0.7,
        )
        loads = [load * (5 if uneven and k % 5 == 4 else 1) for k in range(12)]
        length, waits = simulated(loads, train, workers, prefetch)
        found = numbers(explorer, load, train, workers, prefetch, uneven)
        assert found == [12, length, length - 12 * train, waits]
    assert numbers(explorer, 30, 20, 0, 2, False) == [12, 12 * 50, 12 * 30, 11 * 20], "in turns"


@pytest.mark.parametrize("clear", [True, False])
@pytest.mark.parametrize("hundredths", [1, 49, 50, 99, 100, 101, 120])
def test_the_ball_is_moved_by_torchs_own_optimizer(hundredths, clear):
    weight = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=hundredths / 100)
    for _ in range(20):
        if clear:
            optimizer.zero_grad()
        (weight - 3).square().backward()
        optimizer.step()
    explorer = explore_step()
    found = numbers(explorer, hundredths, 20, clear)
    loss = (weight.item() - 3) ** 2
    assert found[-4:] == pytest.approx([0, abs(weight.item()), 9, loss], abs=0.0051)
    if clear:  # what the sentence says of the ball is what becomes of its distance
        said = {49: "rolls", 99: "closer", 100: "for ever", 120: "flies off"}
        word = "lands" if hundredths == 50 else next(said[k] for k in said if hundredths <= k)
        assert word in panel(explorer)
    else:
        assert "sledge" in panel(explorer) and abs(weight.item() - 3) < 5
