"""What lesson 09, Feed the device, asks."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from unittest.mock import patch

import torch
from torch import Tensor

from dlhelpers.course.judges import NotWritten, is_blank, judge_cases, same
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Feed the device"

START = 7.0  # seconds that the stand-in below needs before its first batch


class _Metered:
    """Stands for a loader: moves a clock on by its start, and by half a second for each image."""

    def __init__(self, sizes: Sequence[int]):
        self.sizes, self.batch_size, self.dataset = sizes, sizes[0], range(sum(sizes))
        self.now, self.passes = 0.0, 0

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.passes += 1
        self.now += START
        for size in self.sizes:
            self.now += size / 2
            yield torch.zeros(size, 1, 2, 2), torch.zeros(size)


def judge_images_per_second(answer: Callable) -> str | None:
    """Say what is wrong with a learner's images_per_second, or return None."""
    for sizes in ((4, 4, 4, 2), (8, 8, 3)):
        loader = _Metered(sizes)
        try:
            speed = answer(loader, lambda: loader.now)  # noqa: B023
        except ZeroDivisionError as error:
            if "division by zero" not in str(error):
                raise
            return "the time came out as 0: read the clock before the loop over the other batches, and again after it."
        if speed is None:
            return "it returned None: is a `return` missing?"
        if loader.passes > 1:
            return (
                "it goes through the loader twice, and each pass starts the workers again: call `iter(loader)` once,"
                " and take the first batch and the others from that."
            )
        first, images = sizes[0], sum(sizes)
        padded, rest = first * len(sizes), images - sizes[0]
        whole, timed = START + images / 2, rest / 2
        known = [
            (
                [padded / whole],
                "you still time the loader's start, and you count images that the short last batch doesn't have.",
            ),
            (
                [images / whole],
                "you count correctly. But the clock runs while the loader starts and makes its first batch.",
            ),
            (
                [(padded - first) / timed],
                "the clock is right. But the last batch is smaller: count with `len(images)`.",
            ),
            (
                [images / timed, padded / timed],
                "the clock starts after the first batch has arrived, so don't count its images.",
            ),
            (
                [rest / whole, rest / (START + timed)],
                "the start of the loader still counts: read the clock after the first batch has come.",
            ),
            (
                [(len(sizes) - 1) / timed, len(sizes) / timed],
                "these are batches per second. Count images.",
            ),
            (
                [2 * (len(sizes) - 1) / timed, 2 * len(sizes) / timed],
                "a batch is a pair, so `len` of it is 2. Take `len(images)`.",
            ),
            ([timed / rest], "these are seconds per image. Turn the fraction around."),
        ]
        for results, message in known:
            if any(same(float(speed), result) for result in results):
                return message
        if not same(float(speed), rest / timed):
            return (
                f"batches of {', '.join(map(str, sizes))} came, {timed:g} seconds from the first one to the end: you"
                f" return {speed:.3g} images per second, and {rest} / {timed:g} = {rest / timed:g} is expected."
            )
    return None


images_per_second = Exercise(
    "lesson_09.images_per_second",
    """
    Repair `images_per_second(loader, clock)`: from the first batch's arrival to the end, how many images come per
    second? `clock()` returns the time in seconds.
    """,
    minutes=4,
    given="""
    def images_per_second(loader, clock):
        start = clock()
        for batches, (images, labels) in enumerate(loader, 1):
            pass
        return batches * loader.batch_size / (clock() - start)
    """,
    judge=judge_images_per_second,
    praise="neither the loader's start nor a short last batch throws it off any more.",
    hints=[
        "Workers take a while to start, and the last batch may be smaller. `batches = iter(loader)` lets you take the"
        " first with `next(batches)`, and the others in a `for` loop over `batches`.",
        "Take one batch, read the clock, and add up `len(images)` over the others.",
    ],
    code="""
    def images_per_second(loader, clock):
        batches = iter(loader)
        next(batches)
        start, count = clock(), 0
        for images, labels in batches:
            count += len(images)
        return count / (clock() - start)
    """,
)

one_worker = Prediction(
    "lesson_09.one_worker",
    "Without a worker, an iteration loads for 160 ms and then trains for 120 ms. You can buy a disk twice as fast, or"
    ' set `num_workers=1` and keep the old disk. Which gives the shorter iteration: "the disk", "one worker", or'
    ' "neither" if they are equal?',
    belief="one worker only moves the same work elsewhere, so it takes at least two to gain anything; met in forum"
    " threads that call num_workers=1 the same as 0",
    answer="one worker",
    choices=("the disk", "one worker", "neither"),
    because="With the faster disk it's 80 + 120 ms. A worker loads the next batch while this one is trained on, so an"
    " iteration takes as long as the slower of the two: 160 ms.",
    wrong={
        "the disk": "It takes 80 ms off. What could a worker do during the 120 ms in which the model trains?",
        "neither": "80 + 120 and 160 aren't equal. What is the worker doing while the model trains?",
    },
    hints=[
        "How long is an iteration with the fast disk?",
        "What does the worker do during the 120 ms?",
    ],
)

SECONDS = [
    ((100, 80, 60, 0), 14.0),
    ((100, 80, 60, 1), 8.0),
    ((100, 80, 60, 2), 6.0),
    ((1_000, 30, 10, 2), 15.0),
]
WRONG_SECONDS = [
    (
        lambda n, load, train, w: n * (load + train) / 1000,
        "with workers the slower of the two sets the pace.",
    ),
    (
        lambda n, load, train, w: n * max(load, train) / 1000,
        "without workers nothing overlaps: add the two.",
    ),
    (
        lambda n, load, train, w: n * (load / (w or 1) + train) / 1000,
        "with a worker the two overlap: don't add.",
    ),
    (
        lambda n, load, train, w: n * max(load / (w or 1), train) / 1000,
        "without workers the two take turns: add.",
    ),
    (
        lambda n, load, train, w: n * (max(load / w, train) if w else load + train),
        "these are milliseconds. We asked for seconds.",
    ),
    (
        lambda n, load, train, w: (max(load / w, train) if w else load + train) / 1000,
        "these are the seconds of one iteration. An epoch has `batches` of them.",
    ),
    (
        lambda n, load, train, w: n * (max(load, train) / w if w else load + train) / 1000,
        "workers share the loading, and nothing else. Training isn't divided among them.",
    ),
    (
        lambda n, load, train, w: n * (min(load / w, train) if w else load + train) / 1000,
        "the faster side has to wait for the slower one. Which of the two sets the pace?",
    ),
    (
        lambda n, load, train, w: n * (max(load, train) if w else load + train) / 1000,
        "right for 0 and 1 workers. Two of them make two batches in the time of one.",
    ),
    (
        lambda n, load, train, w: n * max(load / (w + 1), train) / 1000,
        "the main process makes no batches once there are workers, and without any the two take turns.",
    ),
]


def judge_epoch_seconds(answer: Callable) -> str | None:
    """Say what is wrong with a learner's epoch_seconds, or return None."""
    try:
        answer(100, 80, 60, 0)
    except ZeroDivisionError as error:
        if "division by zero" in str(error):
            return "with 0 workers this divides by 0. There the main process loads, so treat that case separately."
    return judge_cases(answer, SECONDS, WRONG_SECONDS)


epoch_seconds = Exercise(
    "lesson_09.epoch_seconds",
    """
    Write `epoch_seconds(batches, load_ms, train_ms, workers)`: how many seconds an epoch takes if making a batch takes
    `load_ms` milliseconds and training on it `train_ms`. The loop waits for each training step to end, as it does with
    our sleeping model. All workers work at the same time, each on a whole batch, and don't slow each other down. Ignore
    the wait for the first batch, and don't round.
    """,
    minutes=3,
    judge=judge_epoch_seconds,
    wrong=WRONG_SECONDS,
    hints=[
        "Treat 0 workers separately.",
        "With workers, how often is a batch ready? The model may still be slower than that.",
    ],
    code="""
    def epoch_seconds(batches, load_ms, train_ms, workers):
        batch_ms = max(load_ms / workers, train_ms) if workers else load_ms + train_ms
        return batches * batch_ms / 1000
    """,
)

peek = Prediction(
    "lesson_09.peek",
    "`images, labels = next(iter(loader))` is how most people look at the first batch. The loader has 20 batches,"
    " `num_workers=2` and the usual `prefetch_factor=2`. How many batches does that line request from the workers?",
    belief="next(iter(loader)) makes one batch; the idiom stands in nearly every tutorial, this course included",
    answer=5,
    because="`iter` requests 2 batches from each of 2 workers. Taking one makes room for another, so a"
    " fifth is requested.",
    wrong={
        1: "One is what you take. The loader works ahead as soon as `iter` is called.",
        2: "That's what one worker gets. There are two.",
        3: "Each worker is given two, before you take anything.",
        4: "That's right for `iter(loader)` alone. Then you take one.",
        20: "It works ahead, but not on everything: that would fill the memory.",
    },
    hints=[
        "How many are requested before you take any?",
        "What does the loader do when you take one?",
    ],
)


def _event(name: str, ts: int, dur: int) -> dict:
    return {"ph": "X", "name": name, "pid": 1, "tid": 1, "ts": ts, "dur": dur}


_NAMED = {"ph": "M", "name": "process_name", "pid": 1, "tid": 0, "args": {"name": "python"}}
_TRACE = [
    _NAMED,
    _event("waiting for data", 5_000, 1_500),
    _event("forward", 6_500, 9_000),
    _event("waiting for data", 0, 4_250),
    _event("optimizer", 15_500, 800),
    _event("waiting for data", 16_300, 2_900),
]


def _waits(events: list[dict], what: Callable, order: Callable = lambda e: e.get("ts", 0)) -> list:
    """A learner's `waits`, with an idea of its own of what to give for an event, and in which order."""
    return [what(e) for e in sorted(events, key=order) if e["name"] == "waiting for data"]


WAITED = [
    ((_TRACE,), [4.25, 1.5, 2.9]),
    (([_NAMED, _event("backward", 0, 700)],), []),
]
WRONG_WAITS = [
    (
        lambda events: [e["dur"] / 1000 for e in events if e["name"] == "waiting for data"],
        "these are in the order of the list. Sort by `ts` first.",
    ),
    (
        lambda events: _waits(events, lambda e: e["dur"]),
        "`dur` is in microseconds. A millisecond has a thousand of them.",
    ),
    (
        lambda events: _waits(events, lambda e: e["dur"] / 1e6),
        "these are seconds. We asked for milliseconds.",
    ),
    (
        lambda events: _waits(events, lambda e: e["dur"] * 1000),
        "divide, don't multiply: a microsecond is a thousandth of a millisecond.",
    ),
    (
        lambda events: _waits(events, lambda e: e["dur"] // 1000),
        "`//` drops everything after the decimal point.",
    ),
    (
        lambda events: _waits(events, lambda e: e["ts"] / 1000),
        "`ts` says when an event began. How long it took is `dur`.",
    ),
    (
        lambda events: _waits(events, lambda e: (e["ts"] + e["dur"]) / 1000),
        "this is when each wait ended. How long it took is `dur` alone.",
    ),
    (
        lambda events: _waits(events, lambda e: e["dur"] / 1000, lambda e: e.get("dur", 0)),
        "these are sorted by length. Sort by `ts`, when they began.",
    ),
    (
        lambda events: _waits(events, lambda e: e["dur"] / 1000, lambda e: -e.get("ts", 0)),
        "the order is backwards: the first wait comes first.",
    ),
    (
        lambda events: [e["dur"] / 1000 for e in events if "dur" in e],
        "these are all events. Keep those with the name `waiting for data`.",
    ),
    (
        lambda events: sum(_waits(events, lambda e: e["dur"] / 1000)),
        "this is the sum. Return a list, one number for each wait.",
    ),
]


def judge_waits(answer: Callable) -> str | None:
    """Say what is wrong with a learner's waits, or return None."""
    try:
        answer(deepcopy(_TRACE))
    except KeyError as error:
        return f"not every event has {error}: the first one here only names the process. Filter by name first."
    return judge_cases(answer, WAITED, WRONG_WAITS)


waits = Exercise(
    "lesson_09.waits",
    """
    Write `waits(events)`: return a list with the duration, in milliseconds, of each event named `"waiting for data"`.
    Sort by start time: the events of a trace needn't be in order.
    """,
    minutes=4,
    judge=judge_waits,
    wrong=WRONG_WAITS,
    hints=[
        'Keep the events whose `event["name"]` is the right one. Only those are sure to have `ts` and `dur`.',
        '`sorted(kept, key=lambda event: event["ts"])` puts them in order.',
    ],
    code="""
    def waits(events):
        kept = [event for event in events if event["name"] == "waiting for data"]
        kept.sort(key=lambda event: event["ts"])
        return [event["dur"] / 1000 for event in kept]
    """,
)
full_gpu = Question(
    "lesson_09.full_gpu",
    "During training, `nvidia-smi` shows a GPU utilisation of 100 %. What do you know?",
    [
        Choice(
            "Its cores are all computing",
            "a kernel that keeps one core busy counts as much as one that fills the chip.",
        ),
        Choice(
            "Something was running on it nearly all the time",
            "the number is the share of time in which at least one kernel was running, however small.",
            right=True,
        ),
        Choice(
            "A larger batch won't speed up training",
            "it may: a kernel of a small batch can leave most of the chip empty.",
        ),
        Choice(
            "It's running at full speed",
            "a kernel that waits for the GPU's memory counts as running, and so does a badly written one.",
        ),
    ],
    hints=["The number is about time. Is it about anything else?"],
)

on_tensors = Prediction(
    "lesson_09.on_tensors",
    "The 1,438 training digits are in memory, in a `TensorDataset`. A loop takes them in batches of 8 and does nothing"
    ' with them. With `num_workers=2` instead of 0, does an epoch take "less" time, "about the same" or "more"?',
    belief="`num_workers` enhances efficiency, the usual answer to the question the course starts from",
    answer="more",
    choices=("less", "about the same", "more"),
    because="Fetching eight small tensors takes microseconds. Moving them to another process takes longer,"
    " 180 times over, and two processes have to start.",
    wrong={
        "less": "It would if making a sample took time. What do the workers have to do here, and what does it cost to"
        " hand over the result?",
        "about the same": "Handing over isn't free: each batch goes through memory that both processes can see, and the"
        " workers have to start first.",
    },
    hints=[
        "How long does it take to fetch a row of a tensor?",
        "How does a batch get to the loop?",
    ],
)


def judge_whole_batches(answer: Callable[[Tensor, Tensor], object]) -> str | None:
    """What is wrong with a learner's WholeBatches class, or None."""
    if not isinstance(answer, type):
        return "a class is expected: pass its name without brackets."
    written = answer.__dict__.get("__getitems__")
    if is_blank(written) and (written or is_blank(answer.__dict__.get("__len__"))):
        raise NotWritten
    images, labels, wanted = torch.arange(24.0).view(6, 1, 2, 2), torch.arange(6) + 10, [4, 1, 3]
    whole = answer(images.clone(), labels.clone())
    if (length := type(whole).__len__(whole)) != 6:
        return f"with six images its length is {length}: 6 is expected."
    if written is None:
        return "there is no `__getitems__`, with an s: that's what a loader calls once per batch."
    with patch("torch.stack", wraps=torch.stack) as stacked:
        batch = whole.__getitems__(list(wanted))
    if stacked.called:
        return "it picks rows one by one and stacks them: index the tensors with the list, which is one copy."
    if isinstance(batch, list) and len(batch) == 3:
        return "it returns a list of samples, which would be stacked one by one. Index the tensors with the list."
    if (
        not isinstance(batch, (tuple, list))
        or len(batch) != 2
        or not all(isinstance(part, Tensor) for part in batch)
    ):
        came = ", ".join(
            type(part).__name__ for part in (batch if isinstance(batch, (tuple, list)) else [batch])
        )
        return f"`__getitems__` returned {came or 'nothing'}: two tensors are expected, images and labels."
    if same(batch[0], labels[wanted]) and same(batch[1], images[wanted]):
        return "labels and images are swapped: images come first."
    if not torch.equal(batch[0], images[wanted]):
        return "asked for images 4, 1 and 3, it returns others, or a different order: index with the list as it came."
    if not torch.equal(batch[1], labels[wanted]):
        return (
            "the images are right, but the labels belong to others: index both with the same list."
        )
    return None


whole_batches = Exercise(
    "lesson_09.whole_batches",
    """
    Write `__getitems__` for `WholeBatches`. It gets a list of indices, in any order, and returns two tensors: the
    images at these indices and their labels. No loop.
    """,
    minutes=3,
    judge=judge_whole_batches,
    praise="the whole batch comes in one call, in the order asked for.",
    hints=[
        "You can index a tensor with a list: `images[[4, 1, 3]]` has three rows.",
        "Return two tensors as a pair.",
    ],
    code="""
    class WholeBatches:
        def __init__(self, images, labels):
            self.images, self.labels = images, labels

        def __len__(self):
            return len(self.labels)

        def __getitems__(self, indices):
            return self.images[indices], self.labels[indices]
    """,
)

kept_generator = Prediction(
    "lesson_09.kept_generator",
    "For its augmentation, a dataset makes one NumPy generator in `__init__` and draws one number from it per sample."
    " Eight samples, two workers, two epochs: 16 draws. How many different numbers do you get?",
    belief="PyTorch seeds every worker, so random numbers in a dataset differ; met in answers that call the old NumPy"
    " bug fixed",
    answer=4,
    because="Each new worker starts with a copy of the generator as it was in the main process, and makes four samples"
    " with it.",
    wrong={
        16: "They would all differ if the workers drew from one generator. Each starts from the same copy.",
        8: "The second worker of an epoch starts from the same copy as the first, and so do those of the next epoch.",
        2: "A worker draws four times, and its generator moves on each time.",
    },
    hints=[
        "What does a worker get: the main process's generator, or a copy of it?",
        "How many draws does each worker make?",
    ],
)

names_read = Prediction(
    "lesson_09.names_read",
    "One worker reads each of the 200,000 names in the list once, and changes none. Does the memory that it shares with"
    ' nobody grow by more than 5 MB: "yes" or "no"?',
    belief="a forked worker shares the dataset as long as it only reads; met wherever copy-on-write is explained",
    answer="yes",
    choices=("yes", "no"),
    because="Reading a Python object counts a reference to it, and the count is stored in the object. To count is to"
    " write.",
    wrong={
        "no": "No name changes. What changes is the reference count that Python keeps with each of them."
    },
    hints=["Python counts how many variables refer to an object. Where does it store that count?"],
)
