"""What lesson 01, Count your dataset, asks."""

from collections.abc import Callable

from torch.utils.data import Dataset

from dlhelpers.exercises.core import Choice, Exercise, NotWritten, Prediction, Question

eager_bytes = Prediction(
    "lesson_01.eager_bytes",
    "A dataset class builds `[torch.randn(3, 224, 224) for _ in range(10_000)]` when it is made. How many gigabytes"
    " (thousand million bytes) does it take, to the nearest tenth?",
    answer=6.0,
    tolerance=0.02,
    because="Each image has 150,528 numbers of four bytes.",
    wrong={
        1.5: "Those are numbers, not bytes: a float32 number takes four.",
        5.6: "Those are units of 1,024 x 1,024 x 1,024 bytes. Disks and this course count in thousands.",
        0.0006: "That is one image.",
    },
    hints=["Numbers in an image, times bytes in a number, times images.", "3 * 224 * 224 * 4 * 10_000"],
)

promised = Prediction(
    "lesson_01.promised",
    "The class below can make six images, but its `__len__` returns 1,000. What is `len(dataset)`?",
    answer=1000,
    because="len() calls __len__ and believes it; nobody counts.",
    wrong={
        6: "That is how many images it can make. Nothing compares the two.",
    },
    hints=["Which method does len() call, and what does that method look at?"],
)

after_flip = Prediction(
    "lesson_01.after_flip",
    "The digits have 1,438 training images. We add a random flip: each image is mirrored with a chance of one half when"
    " it is fetched. How long is the dataset now?",
    answer=1438,
    because="The flip happens inside __getitem__; __len__ has not changed.",
    wrong={
        2876: "That would be so if the flipped images were stored beside the others.",
        2157: "Half of the images come flipped, in place of the original and not in addition.",
    },
    hints=["Does a transform add samples, or does it change the one that is being fetched?"],
)

short_epoch = Prediction(
    "lesson_01.short_epoch",
    "A dataset holds ten images, and its `__len__` returns 8. How many images does an epoch of a `DataLoader` over it"
    " deliver?",
    answer=8,
    because="The loader asks for the indices 0 to len - 1, and never learns that more would answer.",
    wrong={
        10: "The loader does not try how far it can go: it asks len(dataset) first.",
        0: "Nothing fails: the eight images are delivered, and two are missing in silence.",
    },
    hints=["Which indices does the loader ask for?"],
)

changes_length = Question(
    "lesson_01.changes_length",
    "Which of these changes `len(dataset)`?",
    [
        Choice("A larger batch size", "the batch size belongs to the loader. The dataset does not know of it."),
        Choice("Shuffling", "shuffling changes the order of the indices, and leaves their number alone."),
        Choice("A random crop in the transform", "each image is cropped anew when it is fetched; there are as many."),
        Choice(
            "Keeping only the images of one class",
            "a Subset with fewer indices is a dataset of its own, with a length of its own.",
            right=True,
        ),
    ],
    hints=["Which of them makes a new list of indices?"],
)

price_gb = Exercise(
    "lesson_01.price_gb",
    """
    Write `price_gb(shape, bytes_per_number, length)`: what `length` tensors of that shape take, in gigabytes of
    1,000,000,000 bytes. `shape` is a tuple such as `(3, 224, 224)`.
    """,
    minutes=5,
    cases=[
        (((3, 224, 224), 4, 10_000), 6.02112),
        (((3, 224, 224), 1, 10_000), 1.50528),
        (((1000,), 1, 1_000_000), 1.0),
        (((2, 5), 8, 0), 0.0),
    ],
    wrong=[
        (
            lambda shape, bytes_per_number, length: _product(shape) * bytes_per_number * length / 1024**3,
            "these are units of 1,024 x 1,024 x 1,024 bytes (GiB). Divide by 1,000,000,000.",
        ),
        (
            lambda shape, bytes_per_number, length: _product(shape) * length / 1e9,
            "this counts numbers. Each takes bytes_per_number bytes.",
        ),
        (
            lambda shape, bytes_per_number, length: sum(shape) * bytes_per_number * length / 1e9,
            "the sides of a shape are multiplied, not added: 3 x 224 x 224 numbers.",
        ),
        (
            lambda shape, bytes_per_number, length: _product(shape) * bytes_per_number * length,
            "these are bytes. A gigabyte has 1,000,000,000 of them.",
        ),
    ],
    hints=["`math.prod(shape)` multiplies the sides.", "numbers x bytes per number x length / 1e9"],
    solution="""
    import math


    def price_gb(shape, bytes_per_number, length):
        return math.prod(shape) * bytes_per_number * length / 1e9
    """,
)


def judge_every_other(answer: Callable[[Dataset], Dataset]) -> str | None:
    """What is wrong with a learner's EveryOther class, or None."""
    if not isinstance(answer, type):
        return "a class is expected: pass its name without brackets."
    letters = "abcdefg"
    if not hasattr(answer, "__len__") or not hasattr(answer, "__getitem__"):
        raise NotWritten
    halved, odd = answer(letters[:6]), answer(letters)
    length = type(halved).__len__(halved)  # len() would refuse an unwritten None
    if length is None:
        raise NotWritten
    if length == 6:
        return "of six samples it has the length 6: __len__ must return the number of samples you keep."
    if length != 3:
        return f"of six samples it has the length {length}: 3 is expected, the samples 0, 2 and 4."
    if len(odd) == 3:
        return "of seven samples it has the length 3: samples 0, 2, 4 and 6 are four. Round up."
    if len(odd) != 4:
        return f"of seven samples it has the length {len(odd)}: 4 is expected, the samples 0, 2, 4 and 6."
    try:
        got = "".join(odd[k] for k in range(4))
    except IndexError:
        return "the last sample it promises fails with an IndexError: is the index doubled twice, or counted from 1?"
    if got == "abcd":
        return "it returns samples 0, 1, 2, 3: the index is passed on as it is. Sample k of yours is sample 2 * k."
    if got != "aceg":
        return f"of the samples a to g it returns {', '.join(got)}: a, c, e, g are expected."
    try:
        extra = odd[4]
    except IndexError:
        return None
    return f"index 4 is beyond its length of 4 and still gives {extra!r}: an IndexError is expected."


every_other = Exercise(
    "lesson_01.every_other",
    """
    Write the class `EveryOther`: it takes a dataset and offers its samples 0, 2, 4, ... and no others, as
    `Subset` would. Its length must be right for odd lengths too, and an index beyond it must raise an `IndexError`
    (the wrapped dataset already does so).
    """,
    minutes=10,
    judge=judge_every_other,
    praise="length and samples agree, for even and for odd lengths.",
    hints=[
        "How many even numbers are there from 0 up to 6? And up to 7, that one left out?",
        "The length is `(len(self.dataset) + 1) // 2`, and sample k is `self.dataset[2 * k]`.",
    ],
    solution="""
    class EveryOther:
        def __init__(self, dataset):
            self.dataset = dataset

        def __len__(self):
            return (len(self.dataset) + 1) // 2

        def __getitem__(self, index):
            return self.dataset[2 * index]
    """,
)


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
