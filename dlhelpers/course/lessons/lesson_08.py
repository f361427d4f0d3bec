"""What lesson 08, Count your steps, asks."""

from collections.abc import Callable
from contextlib import suppress
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset

from dlhelpers.course.judges import NotWritten, judge_cases, same
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question
from dlhelpers.train.history import History
from dlhelpers.train.loop import fit

TITLE = "Count your steps"


def _record_steps(answer: Callable) -> tuple[list[float], int, object]:
    """The gradient of each step of a learner's `accumulate` over two epochs, its backward passes, its first result.

    Of 22 images in loader batches of 4, image k has the gradient (k + 1) ** 2, wherever the weight is.
    """
    targets = torch.arange(1.0, 23).square()
    loader = DataLoader(TensorDataset(torch.ones(22, 1), targets), batch_size=4)
    model, seen, passes = nn.Linear(1, 1, bias=False), [], []
    model.weight.register_hook(passes.append)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    optimizer.register_step_pre_hook(lambda *_: seen.append(model.weight.grad.item()))

    def loss_fn(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs[:, 0] * targets).mean()

    returned = answer(model, loader, loss_fn, optimizer, 4)
    answer(model, loader, loss_fn, optimizer, 4)
    return seen, len(passes), returned


def judge_accumulate(answer: Callable) -> str | None:
    """Say what is wrong with a learner's accumulate, or return None."""
    seen, passes, returned = _record_steps(answer)
    if not seen and returned is None:
        raise NotWritten
    sums = [sum(k * k for k in range(1, 17)), sum(k * k for k in range(17, 23))]  # two groups
    means = [sum(k * k for k in range(a, b)) / (b - a) for a, b in ((1, 17), (17, 21), (21, 23))]
    full, mixed = means[0], means[1] + means[2]
    so_far = sum(sum(k * k for k in range(a - 3, a + 1)) / a for a in (4, 8, 12, 16))
    if len(seen) != 4:
        return (
            f"an epoch of 6 loader batches in groups of 4 took {len(seen) / 2:g} steps: 2 are expected, one for the"
            " full group and one for the rest."
        )
    known = [
        ([full, mixed / 4], "the last group is still divided by `every`: it holds 2 of 4."),
        (
            [full, mixed / 2],
            "every loader batch of a group counts alike, but here the last one holds 2 images and the one before 4."
            " Add up sums over images, and divide once.",
        ),
        (
            [sums[0] / 4, sums[1] / 2],
            "the sum over the images is divided by the number of loader batches: divide by the images.",
        ),
        (sums, "a step's gradient is now a sum over its images: divide it by their number."),
        ([full, sums[1] / 16], "the rest is divided by the 16 images of a full group: it holds 6."),
        (
            [full, sums[1] / 22],
            "the last step is divided by all images of the epoch so far: start a new count after each step.",
        ),
        (
            [so_far, means[1] + means[2] / 3],
            "each loss is divided by the images so far, before its group is complete: add up sums, and divide just"
            " before the step.",
        ),
        (
            [sums[0] / 22, sums[1] / 22],
            "each step is divided by the images of the whole epoch: divide by those of its group.",
        ),
    ]
    expected = [full, sums[1] / 6]
    for wrong, message in known:
        if same(seen[:2], wrong):
            return message
    if not same(seen, 2 * expected):
        return (
            f"the gradients of the four steps of two epochs are {[round(g, 1) for g in seen]}, and"
            f" {[round(g, 1) for g in 2 * expected]} are expected: means over the images of each group. Divide the"
            " gradient once, just before the step. Clear it after each step, and the count with it."
        )
    if passes < 12:
        return (
            f"the gradients are right, from {passes} backward passes for 12 loader batches: that holds a whole group in"
            " memory, and the device holds one loader batch. Call `backward()` for each."
        )
    if returned != 2:
        return f"the steps are right, and it returned {returned!r} in place of their number, 2."
    return None


WRONG_CALLS = [  # how many calls until the rate is 0, for n batches, k each step, e epochs
    (lambda n, k, e: e, "it was told the epochs, and is called after each optimizer step."),
    (
        lambda n, k, e: n * e,
        "it was told the iterations. There are fewer optimizer steps, and so fewer calls.",
    ),
    (lambda n, k, e: ceil(n / k), "it was told the steps of one epoch."),
    (
        lambda n, k, e: n // k * e,
        "this forgets the step that the rest of each epoch makes: round up, not down.",
    ),
    (lambda n, k, e: n / k * e, "a step is whole: the rest of an epoch makes one more."),
    (
        lambda n, k, e: (n // k + 1) * e,
        "where the groups come out even there's no rest, and no step for it.",
    ),
    (lambda n, k, e: ceil(n * e / k), "this lets groups run on into the next epoch."),
    (
        lambda n, k, e: ceil((2 * n - 1) / k) * e,
        "it counted images: `every` counts loader batches, and there are `len(loader)`.",
    ),
]


def judge_falling_rate(answer: Callable) -> str | None:
    """Say what is wrong with a learner's falling_rate, or return None."""

    def loader(batches: int) -> DataLoader:
        return DataLoader(range(2 * batches - 1), batch_size=2)

    made = answer(torch.optim.SGD([nn.Parameter(torch.zeros(1))]), loader(9), 4, 2)
    if not isinstance(made, CosineAnnealingLR):
        return f"it returned {made!r:.40}: build the `CosineAnnealingLR` and `return` it."

    def calls_until_0(batches: int, every: int, epochs: int) -> int | None:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
        scheduler = answer(optimizer, loader(batches), every, epochs)
        if not scheduler.T_max or scheduler.T_max % 1:  # its cosine would never be at 0
            return scheduler.T_max
        for call in range(1, 300):
            optimizer.step()
            scheduler.step()
            if scheduler.get_last_lr()[0] < 1e-9:
                return call
        return None

    calls_until_0.__name__ = "counting calls until the rate is 0, for batches, every, epochs = "
    cases = [((9, 4, 2), 6), ((6, 3, 5), 10), ((45, 1, 3), 135), ((3, 8, 2), 2)]
    return judge_cases(calls_until_0, cases, WRONG_CALLS)


def judge_start_or_resume(answer: Callable[[Path, nn.Module, Any], History]) -> str | None:
    """Say what is wrong with a learner's start_or_resume, or return None."""

    def fresh() -> tuple[nn.Module, Any]:
        model = nn.Linear(2, 1)
        return model, torch.optim.Adam(model.parameters(), lr=0.1)

    with TemporaryDirectory() as folder:
        path = Path(folder, "run.pt")
        try:
            history = answer(path, *fresh())
        except FileNotFoundError:
            return "on the first start there is no file yet, and it raised FileNotFoundError: ask `path.exists()`."
        if not isinstance(history, History) or len(history):
            return (
                f"on the first start it returned {history!r:.40}: an empty `History()` is expected."
            )
        model, optimizer = fresh()
        loader = DataLoader(TensorDataset(torch.ones(4, 2), torch.ones(4, 1)), batch_size=2)
        fit(
            model,
            loader,
            nn.MSELoss(),
            optimizer,
            epochs=2,
            seed=0,
            checkpoint=path,
            progress=False,
        )
        other, memory = fresh()
        history = answer(path, other, memory)
    if not all(map(torch.equal, other.parameters(), model.parameters())):
        return "there was a file of two finished epochs, and the model's weights are not those in it: it started anew."
    if not isinstance(history, History) or history.epochs != 2:
        found = f"{history.epochs} epochs" if isinstance(history, History) else repr(history)[:40]
        return (
            f"the weights came back, and in place of a history of 2 epochs it returned {found}: `fit` would not know"
            " where to go on. `load_checkpoint` returns the history."
        )
    if not memory.state_dict()["state"]:
        return "the weights came back and Adam starts anew: hand `optimizer` to `load_checkpoint`."
    with TemporaryDirectory() as folder, suppress(Exception):  # to raise is right
        path = Path(folder, "run.pt")
        path.write_bytes(b"cut short")
        answer(path, *fresh())
        return (
            "it took a damaged file for none, and `fit` would overwrite it. Ask `path.exists()`, and let"
            " `load_checkpoint` raise."
        )
    return None


updates = Prediction(
    "lesson_08.updates",
    "10,000 images come in loader batches of 32, which makes 313 iterations. The loop takes an optimizer step where"
    " `iteration % 8 == 0`, counting from 1. How many optimizer steps does an epoch have?",
    belief="iterations are updates ('the loader cycles through 313 iterations an epoch, so 313 updates'), the usual"
    " answer to the question the course starts from",
    answer=39,
    because="39 groups of 8 take 312 iterations. 313 is no multiple of 8, so the last loader batch gets no step.",
    wrong={
        313: "That's the number of iterations. Seven out of eight only add to the gradient.",
        40: "You rounded up: this loop takes no step for the rest.",
        39.125: "A step is taken or it isn't.",
        2504: "Divide, don't multiply: there are fewer steps than iterations.",
    },
    hints=["How many multiples of 8 are there from 1 to 313?"],
)

leftover = Prediction(
    "lesson_08.leftover",
    "The same loop goes straight on into a second epoch. How many loader batches are in the gradient of that epoch's"
    " first optimizer step?",
    belief="a loop that steps at every 8th iteration always steps with 8 batches: the loop of most blog posts and of"
    " the PyTorch forum's thread 55955; the Trainer of transformers did this until pull request 22098",
    answer=9,
    because="Nobody cleared the gradient of loader batch 313. It waits in `.grad` and joins the next epoch's first"
    " group.",
    wrong={
        8: "Eight are added in this epoch. What was in `.grad` when it began?",
        7: "The new epoch counts from 1 again, so it adds eight.",
        1: "One is left from the first epoch. How many join it before the step?",
    },
    hints=[
        "What becomes of loader batch 313 of the first epoch?",
        "When is `zero_grad()` called next?",
    ],
)

quarter_each = Prediction(
    "lesson_08.quarter_each",
    "30 images go through the model in parts of 8, 8, 8 and 6. Each part's mean loss is divided by 4, and the gradients"
    " add up. How much an image in the part of 6 counts, divided by how much an image in a part of 8 counts: what is"
    " the result?",
    belief="dividing by the number of parts makes all images count alike; met wherever"
    " `loss / accumulation_steps` is explained",
    answer=1.333,
    within=0.035,
    because="Each part gets a quarter of the step. Among 6 images that's 1/24 each, among 8 it's 1/32.",
    wrong={
        1: "The parts count alike, so the images don't. Lesson 03 had this mean of means.",
        0.75: "It's the other way round: where fewer share a quarter, each gets more.",
        1.25: "That's 1/24 divided by a fair 1/30. The others get less than that.",
    },
    hints=["How much of the step does each part get, and how many images share that?"],
)

tail_factor = Prediction(
    "lesson_08.tail_factor",
    "72 images come in loader batches of 8. The loop divides each loss by 4, and steps after every 4th loader batch and"
    " after the last one. How long is the gradient of the epoch's last step, as a fraction of its right length?",
    belief="a step for the rest repairs the loop; Lightning divides the last group this way (its issue 19987), and"
    " transformers did until pull request 39659",
    answer=0.25,
    within=0.001,
    because="Nine loader batches make groups of 4, 4 and 1. The last group holds one, and is divided by four anyway.",
    wrong={
        1: "It would be if the last group were full. How many loader batches does it hold?",
        4: "It's the other way round: divided by too much, the gradient is too short.",
        0.111: "It's not the nine loader batches of the epoch that matter, only those of the last group.",
        0.125: "The eight images are averaged correctly. Count loader batches.",
    },
    hints=["How many loader batches are in the last group?", "By what should its loss be divided?"],
)

twenty_calls = Prediction(
    "lesson_08.twenty_calls",
    "For ten epochs somebody writes `CosineAnnealingLR(optimizer, T_max=10)`, to lower the rate from 0.1 to 0. The loop"
    " calls `scheduler.step()` after each optimizer step. What is the learning rate after 20 calls?",
    belief="a scheduler stays at its minimum once it has got there; met in forum answers that read T_max as 'when to"
    " stop lowering'",
    answer=0.1,
    within=0.0005,
    because="The cosine is at 0 after ten calls and doesn't stop there: it climbs back to 0.1 by call 20.",
    wrong={
        0: "It would be if a scheduler stopped at its lowest rate.",
        0.05: "That's where it is after 5 calls, and after 15.",
        0.098: "That would be close if it counted epochs. It counts calls.",
        0.2: "It never gets above the rate it starts from.",
    },
    hints=["How does a cosine go on after its minimum?"],
)

resumed = Prediction(
    "lesson_08.resumed",
    "One run trains its eight epochs without a break. The other was unplugged in the fifth epoch, and resumed in a new"
    " model with a new optimizer from what the file had. Both use `seed=0`. Afterwards, are their weights the"
    ' "same" in every bit, "close" or "different"?',
    belief="a resumed run can never repeat an unbroken one exactly, because of random numbers; met in most forum"
    " threads on resuming",
    answer="same",
    choices=("same", "close", "different"),
    because="Everything the next step depends on was in the file, or follows from the seed and the epoch's number. The"
    " unfinished epoch was repeated from its start.",
    wrong={
        "close": "Saving loses no bit, and on one machine the same operations on the same bits give the same bits.",
        "different": "The order follows from the seed and the epoch's number. Everything else was saved.",
    },
    hints=["What does the next optimizer step depend on? For each part, say where it comes from."],
)

not_the_same = Question(
    "lesson_08.not_the_same",
    "A step batch of 32 is trained whole, and in micro-batches of 8 with the right shares. The loss is a mean over the"
    " images. For which model may the two optimizer steps differ by more than rounding?",
    [
        Choice(
            "One with convolutions, which mix neighbouring pixels",
            "a convolution looks at one image at a time, however many come together.",
        ),
        Choice(
            "One with BatchNorm, which subtracts a mean over the batch and divides by its spread",
            "in training mode it takes mean and variance from what passes through it together: 8 images in place of 32."
            " The shares repair the loss, but they can't repair this.",
            right=True,
        ),
        Choice(
            "Any model, when the last micro-batch is smaller",
            "with the shares n_i / n that's no special case.",
        ),
        Choice("No model", "it holds for models that treat each image by itself. Not all do."),
    ],
    hints=["Lesson 04 has a layer whose outputs depend on the other samples."],
)

optimizer_steps = Exercise(
    "lesson_08.optimizer_steps",
    """
    Write `optimizer_steps(batches, every, epochs)`: the number of optimizer steps of a loop that steps after every
    `every` loader batches and after the last one of each epoch. `batches` is `len(loader)`.
    """,
    minutes=3,
    cases=[
        ((313, 8, 1), 40),
        ((180, 4, 10), 450),
        ((9, 4, 2), 6),
        ((45, 1, 10), 450),
        ((3, 8, 2), 2),
    ],
    wrong=[
        (lambda n, k, e: n * e, "these are the iterations: `every` of them share a step."),
        (lambda n, k, e: n // k * e, "this forgets the step for the rest of each epoch."),
        (
            lambda n, k, e: -(-n * e // k),
            "this lets groups run on into the next epoch. Here each epoch ends one.",
        ),
        (
            lambda n, k, e: (n // k + 1) * e,
            "where the groups come out even there's no rest, and no step for it.",
        ),
        (
            lambda n, k, e: n * e // k + 1,
            "this counts a rest once, at the end of the run. An epoch may have one, or none.",
        ),
        (lambda n, k, e: n / k * e, "a step is whole: the rest of an epoch makes one more."),
        (lambda n, k, e: n * k * e, "more loader batches in each step make fewer steps, not more."),
        (lambda n, k, e: -(-n // k), "these are the steps of one epoch."),
    ],
    hints=[
        "How many groups does an epoch have, the smaller last one included?",
        "To round up, write `-(-a // b)`, or use `math.ceil`.",
    ],
    code="""
    def optimizer_steps(batches, every, epochs):
        return epochs * -(-batches // every)
    """,
)

shares = Exercise(
    "lesson_08.shares",
    """
    Write `shares(sizes)`: for parts of these sizes, the list of factors for their mean losses, so that the gradients
    add up to the gradient of the mean loss over all images. Don't round.
    """,
    minutes=3,
    cases=[
        (([4, 4, 2],), [0.4, 0.4, 0.2]),
        (([8, 8],), [0.5, 0.5]),
        (([8, 8, 8, 6],), [8 / 30, 8 / 30, 8 / 30, 0.2]),
        (([5],), [1.0]),
    ],
    wrong=[
        (
            lambda sizes: [1 / len(sizes)] * len(sizes),
            "this divides by the number of parts, so a smaller part counts as much as a full one.",
        ),
        (
            lambda sizes: [sizes[0] / sum(sizes)] * len(sizes),
            "these add up to more than 1 where the last part is smaller.",
        ),
        (
            lambda sizes: [n / sizes[0] for n in sizes],
            "these are shares of a full part. Take shares of all images: they add up to 1.",
        ),
        (lambda sizes: list(sizes), "these are the numbers of images. As shares they add up to 1."),
        (
            lambda sizes: [n / sizes[0] / len(sizes) for n in sizes],
            "this takes every part for a full one: divide by the images that there are.",
        ),
        (
            lambda sizes: [n / 8 / len(sizes) for n in sizes],
            "this divides by 8 images for each part: divide by the images that there are.",
        ),
        (
            lambda sizes: [round(n / sum(sizes), 3) for n in sizes],
            "these are rounded: give the shares as they come.",
        ),
        (
            lambda sizes: [n / 30 for n in sizes],
            "30 is the number of images of one step batch: other sizes have other sums.",
        ),
        (
            lambda sizes: [n / len(sizes) for n in sizes],
            "this divides by the number of parts: divide by the number of images.",
        ),
        (
            lambda sizes: [1 / sum(sizes)] * len(sizes),
            "this is the share of one image. A part has the share of all its images together.",
        ),
        (
            lambda sizes: [1 / n for n in sizes],
            "the mean loss has already divided by the part's size. Multiply it back in.",
        ),
    ],
    hints=[
        "A mean loss is a sum divided by the part's size. What do you need it divided by?",
        "Undo one division, then divide by all images.",
    ],
    code="""
    def shares(sizes):
        return [size / sum(sizes) for size in sizes]
    """,
)

accumulate = Exercise(
    "lesson_08.accumulate",
    """
    Repair `accumulate`, so that the gradient of each step is the mean over the images of its group, however many loader
    batches the group has, and however many images the last of them. Call `backward()` for each loader batch and return
    the number of steps, as now.
    """,
    minutes=5,
    given="""
    def accumulate(model, loader, loss_fn, optimizer, every):
        steps = 0
        for iteration, (images, labels) in enumerate(loader, 1):
            loss = loss_fn(model(images), labels) / every
            loss.backward()
            if iteration % every == 0 or iteration == len(loader):
                optimizer.step()
                optimizer.zero_grad()
                steps += 1
        return steps
    """,
    judge=judge_accumulate,
    praise="each step is the mean over its images, full group or not.",
    hints=[
        "You don't know the size of the group until it's complete. Lesson 03's way out: add up sums, divide once.",
        "Multiply each mean loss by `len(labels)` and count the images.",
        "Just before `optimizer.step()`, divide the `.grad` of each of `model.parameters()` by the count.",
    ],
    code="""
    def accumulate(model, loader, loss_fn, optimizer, every):
        steps = samples = 0
        for iteration, (images, labels) in enumerate(loader, 1):
            loss = loss_fn(model(images), labels) * len(labels)
            loss.backward()
            samples += len(labels)
            if iteration % every == 0 or iteration == len(loader):
                for parameter in model.parameters():
                    parameter.grad /= samples
                optimizer.step()
                optimizer.zero_grad()
                steps += 1
                samples = 0
        return steps
    """,
)

falling_rate = Exercise(
    "lesson_08.falling_rate",
    """
    Write `falling_rate(optimizer, loader, every, epochs)`: return a `CosineAnnealingLR` that gets to 0 with the last
    optimizer step of the run, and no sooner. The loop is the repaired `accumulate`, and it calls `scheduler.step()`
    after each optimizer step.
    """,
    minutes=3,
    judge=judge_falling_rate,
    praise="0 with the last step, and not before.",
    hints=[
        "Which of the three counts is the number of calls?",
        "You wrote that number in this lesson's first exercise; `batches` is `len(loader)`.",
    ],
    code="""
    from torch.optim.lr_scheduler import CosineAnnealingLR

    def falling_rate(optimizer, loader, every, epochs):
        steps = epochs * -(-len(loader) // every)
        return CosineAnnealingLR(optimizer, T_max=steps)
    """,
)

start_or_resume = Exercise(
    "lesson_08.start_or_resume",
    """
    Write `start_or_resume(path, model, optimizer)`. Where there's a checkpoint at `path`, load it into both and return
    its history; else return an empty `History()`.
    """,
    minutes=3,
    judge=judge_start_or_resume,
    praise="it starts without a file, and resumes with one: weights, Adam's averages and history.",
    hints=[
        "`path.exists()` says whether there's a file.",
        "`load_checkpoint(path, model, optimizer)` fills both and returns the history.",
    ],
    code="""
    from dlhelpers.train import History, load_checkpoint

    def start_or_resume(path, model, optimizer):
        if path.exists():
            return load_checkpoint(path, model, optimizer)
        return History()
    """,
)
