"""What lesson 09, Feed the device, asks."""

from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from dlhelpers.course.judges import NotWritten, is_blank
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Feed the device"

one_worker = Prediction(
    "lesson_09.one_worker",
    "A batch takes 160 ms to load and 120 ms to train on. With `num_workers=1`, does an iteration take about the"
    ' "sum" of the two, the "longer" of the two, or the "shorter"?',
    answer="longer",
    choices=("sum", "longer", "shorter"),
    because="While one batch is learned from, the worker makes the next: the slower of the two sets the pace.",
    wrong={
        "sum": "That was so without a worker. Now two processes work at the same time.",
        "shorter": "Training cannot start on a batch that has not come.",
    },
    hints=["Two people work at one table, and each batch has to pass both."],
)

processes = Prediction(
    "lesson_09.processes",
    "A loader has `num_workers=2`. We iterate over it twice, which is two epochs. How many worker processes are started"
    " in all?",
    answer=4,
    because="Workers end with their epoch, and the next epoch starts two new ones.",
    wrong={
        2: "That would be so if the two were kept for the second epoch. One has to ask for it.",
        16: "A worker makes many samples; no process is started for each.",
    },
    hints=["What happens to the workers at the end of an epoch?"],
)

ordered = Prediction(
    "lesson_09.ordered",
    "A loader has 20 batches, `num_workers=2` and `prefetch_factor=2`, its default. A loop starts, and has not asked"
    " for a batch yet. How many batches have been ordered from the workers?",
    answer=4,
    because="Each of 2 workers is given 2 batches to make in advance.",
    wrong={
        0: "That would be so without workers: then a batch is made when it is asked for.",
        2: "That is what one worker gets.",
    },
    hints=["prefetch_factor counts batches for each worker."],
)

calls = Prediction(
    "lesson_09.calls",
    "The 1,438 training digits, in batches of 100. How often does a loader call `__getitems__` in an epoch?",
    answer=15,
    because="There is one call a batch: 14 full batches and a ragged one.",
    wrong={
        1438: "That is `__getitem__`, which makes one sample. `__getitems__`, with an s, is given many indices.",
        14: "The last batch is not full, and it has to be fetched too.",
        100: "That is how many indices one call is given.",
    },
    hints=["It is given the indices of one batch.", "How many batches do 1,438 images make?"],
)

names_read = Prediction(
    "lesson_09.names_read",
    "The worker reads each name once and changes none. Meanwhile, does the memory that it has to itself grow by more"
    ' than 5 MB: "yes" or "no"?',
    answer="yes",
    choices=("yes", "no"),
    because="To read a Python object is to count a reference to it, and the count is written beside the object.",
    wrong={
        "no": "Nothing changes in the names. What changes is the count that Python keeps beside each of them."
    },
    hints=["What does Python note in an object each time somebody takes hold of it?"],
)

kept_generator = Prediction(
    "lesson_09.kept_generator",
    "A dataset makes one NumPy generator when it is created, and draws one number from it for each sample. Eight"
    " samples, two workers, two epochs: 16 draws. How many different numbers come?",
    answer=4,
    because="Each new worker starts with a copy of the generator as it was made, and makes four samples with it.",
    wrong={
        16: "That would hold if all workers drew from one generator that went on. Each starts from the same copy.",
        8: "The second worker of an epoch starts from the same copy as the first, and so do those of the next epoch.",
    },
    hints=[
        "What does a worker get: the main process's generator, or a copy of it?",
        "How many draws has each worker?",
    ],
)

who_gains = Question(
    "lesson_09.who_gains",
    "A machine has 8 cores and a GPU. Which of these trainings gains most from `num_workers=4`?",
    [
        Choice(
            "Small images in a TensorDataset",
            "fetching one is cheap; carrying a batch to another process is not.",
        ),
        Choice(
            "A million JPEG files, a waiting GPU",
            "four cores decode at once, and the GPU learns on.",
            right=True,
        ),
        Choice(
            "A large model, compute-bound",
            "loading is a small part of the time. Only the model can gain.",
        ),
        Choice(
            "Tensors that do not fit into memory",
            "workers make no data smaller. Lesson 10 has what helps.",
        ),
    ],
    hints=["In which of them does making a batch take longer than learning from it?"],
)

epoch_seconds = Exercise(
    "lesson_09.epoch_seconds",
    """
    Write `epoch_seconds(batches, load_ms, train_ms, workers)`: how many seconds an epoch takes when a batch needs
    `load_ms` milliseconds to make and `train_ms` to learn from. Assume that the loop waits for each step,
    that workers share the loading evenly and have a core each. Neglect the wait for the first batch. Do not round.
    """,
    minutes=5,
    cases=[
        ((100, 80, 60, 0), 14.0),
        ((100, 80, 60, 1), 8.0),
        ((100, 80, 60, 2), 6.0),
        ((1_000, 30, 10, 2), 15.0),
    ],
    wrong=[
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
            "with a worker the two overlap: do not add.",
        ),
        (
            lambda n, load, train, w: n * max(load / (w or 1), train) / 1000,
            "without workers the two take turns: add.",
        ),
        (
            lambda n, load, train, w: n * (max(load / w, train) if w else load + train),
            "these are milliseconds, and seconds are asked for.",
        ),
        (
            lambda n, load, train, w: n * (max(load, train) / w if w else load + train) / 1000,
            "workers share the loading alone. The training is not divided between them.",
        ),
        (
            lambda n, load, train, w: n * (max(load, train) if w else load + train) / 1000,
            "right for 0 and 1 workers. Two of them make two batches in the time of one.",
        ),
    ],
    hints=[
        "Treat 0 workers by itself.",
        "With workers a batch arrives every load_ms / workers; the model may be slower.",
    ],
    code="""
    def epoch_seconds(batches, load_ms, train_ms, workers):
        batch_ms = max(load_ms / workers, train_ms) if workers else load_ms + train_ms
        return batches * batch_ms / 1000
    """,
)

sample_noise = Exercise(
    "lesson_09.sample_noise",
    """
    Write `sample_noise(seed, epoch, index)`: one random number from 0 to 1, the first that `random()` of a NumPy
    generator gives. The generator is made in the call, from a list of the three numbers in this order.
    """,
    minutes=5,
    cases=[
        (case, float(np.random.default_rng(list(case)).random()))
        for case in ((0, 1, 2), (0, 2, 1), (3, 0, 2))
    ],
    wrong=[
        (
            lambda s, e, k: np.random.default_rng(s).random(),
            "this gives each sample the same number, in each epoch.",
        ),
        (
            lambda s, e, k: np.random.default_rng([s, k]).random(),
            "without the epoch, each epoch repeats the first.",
        ),
        (
            lambda s, e, k: np.random.default_rng([s, e]).random(),
            "without the index, all samples get the same number.",
        ),
        (
            lambda s, e, k: np.random.default_rng(s + e + k).random(),
            "the sum is equal for (0, 1, 2) and (0, 2, 1).",
        ),
        (
            lambda s, e, k: np.random.default_rng([e, k]).random(),
            "without the seed, every run draws the same numbers.",
        ),
        (
            lambda s, e, k: np.random.default_rng([k, e, s]).random(),
            "the order is seed, epoch, index.",
        ),
        (
            lambda s, e, k: np.random.default_rng([s, k, e]).random(),
            "the order is seed, epoch, index.",
        ),
    ],
    hints=[
        "`np.random.default_rng` takes a list of whole numbers as its seed.",
        "A new generator gives `random()`.",
    ],
    code="""
    import numpy as np


    def sample_noise(seed, epoch, index):
        return np.random.default_rng([seed, epoch, index]).random()
    """,
)


def judge_whole_batches(answer: Callable[[Tensor, Tensor], object]) -> str | None:
    """What is wrong with a learner's WholeBatches class, or None."""
    if not isinstance(answer, type):
        return "a class is expected: pass its name without brackets."
    if is_blank(answer.__dict__.get("__len__")) and is_blank(answer.__dict__.get("__getitems__")):
        raise NotWritten
    images, labels, wanted = torch.arange(24.0).view(6, 1, 2, 2), torch.arange(6) + 10, [4, 1, 3]
    whole = answer(images.clone(), labels.clone())
    if (length := type(whole).__len__(whole)) != 6:
        return f"of six images its length is {length}: 6 is expected."
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
        return f"`__getitems__` gave back {came or 'nothing'}: two tensors are expected, images and labels."
    if not torch.equal(batch[0], images[wanted]):
        return "asked for the images 4, 1 and 3 it gives others, or another order: index with the list as it came."
    if not torch.equal(batch[1], labels[wanted]):
        return "the images are right, and the labels are not theirs: index both with the same list."
    return None


whole_batches = Exercise(
    "lesson_09.whole_batches",
    """
    Write the class `WholeBatches`: it keeps `images` and `labels`, two tensors of equal length, and says how many
    samples there are. Its `__getitems__` is given a list of indices, in any order, and returns two tensors: the images
    at these indices, and their labels. It needs no `__getitem__`.
    """,
    minutes=10,
    judge=judge_whole_batches,
    praise="the batch comes at once, in the order asked for.",
    hints=[
        "A tensor can be indexed with a list: `images[[4, 1, 3]]` has three rows.",
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
