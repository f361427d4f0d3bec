"""Explorers: controls redraw picture and sentence in time, and the twin stands still for readers without a kernel."""

import gc
import html
import json
import re
import time
from random import Random

import numpy as np
import pytest
import torch
from run_notebooks import ROOT
from torch.utils.data import DataLoader

from dlhelpers.base.sizes import human_bytes
from dlhelpers.data import BlockShuffleSampler, NumberedImages, SplitStream, Stream
from dlhelpers.explore import (
    explore_averages,
    explore_batches,
    explore_digit,
    explore_gradients,
    explore_kinds,
    explore_lanes,
    explore_memory,
    explore_plan,
    explore_price,
    explore_ranks,
    explore_reads,
    explore_shuffle,
    explore_step,
    explore_steps,
    explore_stream,
)

EXPLORERS = [value for name, value in [*globals().items()] if name.startswith("explore_")]


@pytest.fixture(scope="module", params=EXPLORERS)
def explorer(request):
    return request.param()


def column(explorer):
    return explorer.widget.children[0].children


def controls(explorer):
    named = [child for child in column(explorer) if getattr(child, "description", "")]
    return {child.description: child for child in named}


def panel(explorer):
    return explorer.widget.children[1].value


def say(explorer, *values):
    """Set the controls in their order, and return the sentence."""
    for control, value in zip(controls(explorer).values(), values, strict=True):
        control.value = value
    return re.search("<b>(.*)</b>", panel(explorer))[1]


def numbers(explorer, *values):
    """Set the controls in their order, and return the numbers of the sentence."""
    found = re.findall(r"[\d,]*\d(?:\.\d+)?", say(explorer, *values))
    return [float(number.replace(",", "")) for number in found]


def test_the_twin_stands_beside_the_widget_in_one_small_bundle(explorer):
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
    ("explore", "control", "value", "sentence"),
    [
        (explore_batches, "batch size (samples)", 3, "20 samples in 7 batches, the last of 2;"),
        (explore_batches, "drop_last", True, "20 samples in 3 batches, the last of 6; 2 left out."),
        (explore_averages, "batch size (images)", 25, "says 25.3 %, the truth is 25.3 %"),
        (explore_digit, "columns to the right", -1, "says 5, with 100 %"),
        (explore_digit, "swap ink and paper", True, "says 4, with 100 %"),
        (explore_gradients, "batch size (points)", 64, "by 0.80 on average: 20% of it"),
        (
            explore_kinds,
            "the dataset keeps",
            "a list",
            "5.38 GB anonymous and 0.31 GB shared: that does",
        ),
        (explore_memory, "optimizer", "SGD", "take 15.12 MB and fit under the limit of 20 MB"),
        (explore_price, "memory", "8 GB", "take 6.02 GB, and that fits into 8 GB."),
        (
            explore_steps,
            "samples",
            16,
            "8 iterations, 4 optimizer steps from 8 samples each. Told 4",
        ),
        (
            explore_stream,
            "workers share the stream",
            True,
            "20 samples come in 6 batches, 2 of them",
        ),
        (
            explore_shuffle,
            "window (blocks)",
            5,
            "holds 2.9 of 3 classes on average. An epoch makes 10",
        ),
        (
            explore_shuffle,
            "block (samples)",
            1,
            "makes 240 disk requests and holds at most 1 ",
        ),
        (explore_shuffle, "sorted by class", False, "A batch of 12 holds 3.0 of 3 classes"),
        (explore_step, "learning rate (hundredths)", 50, "lands at the bottom in one step."),
        (explore_lanes, "num_workers", 0, "takes 3,360 ms. The device waits for 1,920 ms"),
        (
            explore_ranks,
            "policy",
            "pad",
            "2 taken twice. 2 optimizer steps, the last with 4 samples",
        ),
        (explore_plan, "epochs", 4, "40 optimizer steps from 9,616 samples (10,000 are allowed)"),
        (explore_plan, "micro-batch (samples)", 1, "13.2 MB at the peak of a step (88 MB are"),
        (explore_reads, "reads per step", 4, "4 steps take 144 ms. The device waits for 48 ms"),
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


def test_every_end_of_a_control_is_drawn_in_time(explorer):
    spent = []
    gc.disable()  # as timeit does: collecting what other tests have left takes up to a second
    try:
        for control in controls(explorer).values():
            slider = hasattr(control, "max")
            ends = (control.max, control.min) if slider else getattr(control, "options", (1, 0))
            for end in ends:  # the last one stays while the next control moves
                begin = time.process_time()
                control.value = end
                spent.append(time.process_time() - begin)
    finally:
        gc.enable()
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


@pytest.mark.parametrize(
    ("kept", "start", "copies"),
    [
        ("the path of a map", "spawn", 0),
        ("a map", "fork", 0),
        ("a map", "spawn", 3),
        ("an array", "fork", 1),
        ("an array", "spawn", 4),
        ("a list", "fork", 4),
    ],
)
def test_what_cannot_be_dropped_is_a_copy_for_each_process_that_has_one(kept, start, copies):
    _, _, *sizes = numbers(explore_kinds(), kept, start, 2, 3, 100)
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


def test_a_price_is_what_pytorch_holds():
    for images, side, name in [(40, 8, "float32"), (33, 11, "uint8"), (64, 16, "float64")]:
        kept = torch.zeros(images, 3, side, side, dtype=getattr(torch, name))
        [price] = re.findall("take (.*?), and", say(explore_price(), images, side, name, "2 GB"))
        assert price == human_bytes(kept.untyped_storage().nbytes())


def test_a_click_turns_the_pixel_that_is_seen_and_it_moves_with_the_sheet():
    explorer = explore_digit()
    start, right, down, swap = controls(explorer).values()
    pixels = column(explorer)[0].children
    white = lambda: [k for k, key in enumerate(pixels) if key.style.button_color[4:7] == "255"]  # noqa: E731
    start.value = "blank"
    before = panel(explorer)
    pixels[9].click()
    assert white() == [9] and panel(explorer) != before
    right.value, down.value = 2, 1
    assert white() == [9 + 2 + 8]
    pixels[63].click()
    swap.value = True
    assert set(range(64)) - {*white()} == {19, 63}
    pixels[19].click()
    assert set(range(64)) - {*white()} == {63}
    swap.value, start.value = False, "0"
    start.value = "blank"
    assert white() == [], "a new start is a new sheet"
    assert pixels[9].tooltip == "row 2, column 2"


def test_the_network_of_the_digits_can_be_ones_own():
    class Favourite(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scores = torch.nn.Parameter(20.0 * torch.eye(10)[7])

        def forward(self, images):
            assert images.shape == (1, 1, 8, 8) and 0 <= images.min() <= images.max() <= 1
            return self.scores.expand(1, 10)

    assert "says 7, with 100 %" in panel(explore_digit(Favourite()))


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


def lived_through(reads, kernel_ms, lead):
    """Live through four steps of four kernels ms by ms, on a host that hands each over in 3 ms; return the length."""
    now = handed = done = 0
    left, working = 3, kernel_ms
    stops = {4 * step + k for step in range(4) for k in READS_AFTER[reads]}
    while done < 16:
        busy = handed > done
        begun = left < 3 or (handed < 16 and handed - done < lead)
        if handed in stops and busy and left == 3:
            begun = False
        if begun and handed < 16:
            left -= 1
        if busy:
            working -= 1
        now += 1
        if left == 0:
            handed, left = handed + 1, 3
        if working == 0:
            done, working = done + 1, kernel_ms
    return now


@pytest.mark.parametrize("policy", ["exact", "pad", "drop"])
def test_ranks_are_those_of_the_sampler_and_its_loader(policy):
    explorer, random = explore_ranks(), Random(1)
    for _ in range(4):
        samples, world, size = random.randint(1, 24), random.randint(1, 6), random.randint(1, 6)
        loaders = [
            DataLoader(
                range(samples),
                size,
                sampler=BlockShuffleSampler(samples, rank=rank, world=world, policy=policy),
            )
            for rank in range(world)
        ]
        epoch = [[len(batch) for batch in loader] for loader in loaders]
        seen = sum(map(sum, epoch))
        steps = max(map(len, epoch))
        last = [batches[-1] for batches in epoch if len(batches) == steps > 0]
        found = numbers(explorer, samples, world, size, policy)
        expected = [samples, world, max(samples - seen, 0), max(seen - samples, 0), steps]
        assert found == expected + [sum(last), len(last)] * (steps > 0)


READS_AFTER = {0: [], 1: [4], 2: [2, 4], 3: [2, 3, 4], 4: [1, 2, 3, 4]}  # these kernels of a step


def test_reads_are_those_of_a_queue_lived_through_ms_by_ms():
    explorer, random = explore_reads(), Random(0)
    for reads in READS_AFTER:
        kernel, lead = random.randint(1, 12), random.randint(1, 16)
        length = lived_through(reads, kernel, lead)
        assert numbers(explorer, reads, kernel, lead) == [
            4,
            length,
            length - 16 * kernel,
            length - 48,
        ]


@pytest.mark.parametrize(("kind", "workers"), [(Stream, 2), (SplitStream, 2)])
def test_the_lanes_of_a_stream_are_those_of_a_loader(kind, workers):
    loader = DataLoader(kind(NumberedImages(20)), batch_size=3, num_workers=workers)
    batches = [labels.tolist() for _, labels in loader]
    samples, short = sum(batches, []), sum(len(batch) < 3 for batch in batches)
    expected = [workers, len(samples), len(batches), short, len(samples) - 20]
    found = numbers(explore_stream(), workers, kind is SplitStream, 1, 3)
    assert found == [*expected, 0, 0]
    found = numbers(explore_stream(), workers, kind is SplitStream, 6, 3)
    assert found[:5] == expected and 0 < found[5] <= 6 - 1 and found[6] > 0


@pytest.mark.parametrize(
    ("unit", "count"), [("optimizer steps", 9), ("iterations", 24), ("epochs", 3)]
)
def test_steps_and_rates_are_those_of_a_loop_with_pytorchs_scheduler(unit, count):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, count)
    iterations = steps = 0
    for _ in range(3):
        batches = torch.arange(29).split(4)
        for iteration, _ in enumerate(batches, 1):
            iterations += 1
            if iteration % 3 == 0 or iteration == len(batches):
                optimizer.step()
                scheduler.step()
                steps += 1
    found = numbers(explore_steps(), 29, 4, 3, 3, unit)
    last = 29 - 2 * 12
    assert found == [iterations, steps, 12, last, count, round(scheduler.get_last_lr()[0], 3)]


def test_gradients_are_those_that_autograd_finds():
    random = np.random.default_rng(0)
    x, noise = torch.from_numpy(random.normal(size=(2, 1_000)))
    places = torch.from_numpy(random.integers(1_000, size=(24, 8)))
    y, weights = noise - 2 * x - 1, torch.zeros(2, dtype=x.dtype, requires_grad=True)

    def gradient(chosen):
        loss = (weights[0] * x[chosen] + weights[1] - y[chosen]).square().mean()
        return torch.autograd.grad(loss, weights)[0]

    for _ in range(3):
        weights.data -= 0.1 * gradient(slice(None))
    full = gradient(slice(None))
    batches = torch.stack([gradient(chosen) for chosen in places])
    length, miss = full.norm().item(), (batches - full).norm(dim=1).mean().item()
    found = numbers(explore_gradients(), 8, 3)
    assert found[:3] == pytest.approx([8, length, miss], abs=0.0051)
    assert found[3] == pytest.approx(100 * miss / length, abs=0.51)
    assert found[4:] == [24, (batches @ full < 0).sum()]


@pytest.mark.parametrize(("block", "window"), [(24, 1), (7, 3), (100, 2), (240, 20)])
def test_shuffled_batches_are_those_of_the_sampler(block, window):
    labels = np.arange(240) // 80
    order = list(BlockShuffleSampler(240, block=block, window=window))
    batches = [order[k : k + 12] for k in range(0, 240, 12)]
    classes = np.mean([len(set(labels[batch].tolist())) for batch in batches])
    found = numbers(explore_shuffle(), block, window, True)
    blocks = len({index // block for index in order})
    expected = [12, classes, 3, blocks, min(240, block * window)]
    assert found == pytest.approx(expected, abs=0.0501)


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
