"""What lesson 01, Count your dataset, asks."""

from collections.abc import Callable
from math import prod

from torch import Tensor
from torch.utils.data import Dataset

from dlhelpers.course.judges import NotWritten, is_blank
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question
from dlhelpers.data.datasets import NumberedImages

TITLE = "Count your dataset"

eager_bytes = Prediction(
    "lesson_01.eager_bytes",
    "How many gigabytes (of 1,000,000,000 bytes) does `EagerNoise(10_000)` take? A number of this kind, a float32,"
    " takes four bytes. (Within 0.3 gigabytes counts as right.)",
    answer=6.02,
    within=0.3,
    because="Each image has 150,528 numbers of four bytes.",
    wrong={
        1.5: "Those are numbers, not bytes: a float32 number takes four.",
        2: "That is one colour channel; each image has three.",
        12: "That counts eight bytes a number, as Python's own floats and float64 take. PyTorch's default takes four.",
        5.6: "Those are units of 1,024 x 1,024 x 1,024 bytes (GiB).",
        0.0006: "That is one image.",
        6021: "Those are megabytes.",
    },
    hints=[
        "Numbers in an image, times bytes in a number, times images.",
        "3 * 224 * 224 * 4 * 10_000",
    ],
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
    hints=["Does a flip add samples, or does it change the one that is being fetched?"],
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

promised = Prediction(
    "lesson_01.promised",
    "The same dataset of ten images, whose `__len__` promises 8. How many turns does the plain loop"
    " `for sample in TooShort()` make, without a loader?",
    answer=10,
    because="Python calls __getitem__ with 0, 1, 2 and so on until an IndexError. It does not ask for the length.",
    wrong={
        8: "The loader stops there, because it asks for the length. A plain loop does not.",
        0: "The loop does run: a class with __getitem__ can be looped over.",
    },
    hints=[
        "`TooShort` has no method that says how to loop. Which of its two methods could a loop use?"
    ],
)

changes_length = Question(
    "lesson_01.changes_length",
    "Which of these changes the length of a dataset?",
    [
        Choice(
            "A larger batch size",
            "the batch size belongs to the loader. The dataset does not know of it.",
        ),
        Choice(
            "Shuffling",
            "shuffling changes the order of the indices, and leaves their number alone.",
        ),
        Choice(
            "A random crop when an image is fetched",
            "each fetch is cropped anew; there are as many images.",
        ),
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
    1,000,000,000 bytes. `shape` is a tuple of any length, such as `(3, 224, 224)`.
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
            lambda shape, bytes_per_number, length: (
                prod(shape) * bytes_per_number * length / 1024**3
            ),
            "these are units of 1,024 x 1,024 x 1,024 bytes (GiB). Divide by 1,000,000,000.",
        ),
        (
            lambda shape, bytes_per_number, length: prod(shape) * 4 * length / 1e9,
            "this takes four bytes a number always. Take bytes_per_number.",
        ),
        (
            lambda shape, bytes_per_number, length: prod(shape) * length / 1e9,
            "this counts numbers. Each takes bytes_per_number bytes.",
        ),
        (
            lambda shape, bytes_per_number, length: prod(shape) * bytes_per_number * length / 1e6,
            "these are megabytes. A gigabyte has 1,000,000,000 bytes.",
        ),
        (
            lambda shape, bytes_per_number, length: prod(shape) * bytes_per_number / 1e9,
            "this is one tensor. There are `length` of them.",
        ),
        (
            lambda shape, bytes_per_number, length: sum(shape) * bytes_per_number * length / 1e9,
            "the sides of a shape are multiplied, not added: 3 x 224 x 224 numbers.",
        ),
        (
            lambda shape, size, n: prod(shape) * size * n,
            "these are bytes. A gigabyte has 1,000,000,000 of them.",
        ),
    ],
    hints=["`math.prod(shape)` multiplies the sides.", "numbers x bytes per number x length / 1e9"],
    code="""
    import math


    def price_gb(shape, bytes_per_number, length):
        return math.prod(shape) * bytes_per_number * length / 1e9
    """,
)


class Watched(NumberedImages):
    """Counts the samples that were fetched."""

    fetched = 0

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.fetched += 1
        return super().__getitem__(index)


def judge_every_other(answer: Callable[[Dataset], Dataset]) -> str | None:
    """What is wrong with a learner's EveryOther class, or None."""
    if not isinstance(answer, type):
        return "a class is expected: pass its name without brackets."
    if is_blank(answer.__dict__.get("__len__")) and is_blank(answer.__dict__.get("__getitem__")):
        raise NotWritten
    watched = [Watched(length) for length in (5, 6, 7)]
    wrapped = [answer(dataset) for dataset in watched]
    if watched[-1].fetched:
        return (
            f"built for seven samples, it fetched {watched[-1].fetched} at once: keep the dataset, and fetch a sample"
            " when it is asked for."
        )
    lengths = [
        type(kept).__len__(kept) for kept in wrapped
    ]  # len() would refuse what is no whole number
    if None in lengths:
        return "`__len__` gave back None: is a `return` missing?"
    if any(type(length) is not int for length in lengths):
        return "`__len__` must return a whole number, an int: divide with `//`, not with `/`."
    if lengths == [5, 6, 7]:
        return "of six samples it has the length 6: `__len__` must return the number of samples you keep."
    if lengths == [2, 3, 3]:
        return "of seven samples it has the length 3: samples 0, 2, 4 and 6 are four. Round up."
    if lengths != [3, 3, 4]:
        return (
            f"of five, six and seven samples it has the lengths {lengths}: 3, 3 and 4 are expected."
        )
    kept = wrapped[-1]
    try:
        samples = [kept[k] for k in range(4)]
    except IndexError as error:
        return f"an index below the length of 4 raised an IndexError ({error}). Sample k of yours is sample 2 * k."
    if None in samples:
        k = samples.index(None)
        return f"the length is right; for index {k}, `__getitem__` gave back None: `return` sample {2 * k}."
    if not all(isinstance(sample, tuple) and len(sample) == 2 for sample in samples):
        return "a sample came without its label: hand on the whole sample of the wrapped dataset, image and label."
    got = [label for _, label in samples]
    if got == [0, 1, 2, 3]:
        return "it returns samples 0, 1, 2, 3: the index is passed on as it is. Sample k of yours is sample 2 * k."
    if got != [0, 2, 4, 6]:
        return f"of the samples 0 to 6 it returns {got}: 0, 2, 4, 6 are expected."
    try:
        _, extra = kept[4]
    except IndexError:
        return None
    return f"index 4 is beyond its length of 4 and still gives sample {extra}: an IndexError is expected."


every_other = Exercise(
    "lesson_01.every_other",
    """
    Write the class `EveryOther`: it takes a dataset and offers its samples 0, 2, 4, ... and no others, each with its
    label. Its length must be right for odd lengths too, and an index beyond it must raise an `IndexError` (the wrapped
    dataset already does so). Negative indices do not matter here.
    """,
    minutes=10,
    judge=judge_every_other,
    praise="length and samples agree, for even and for odd lengths.",
    hints=[
        "Which of the samples 0 to 5 do you keep, and which of 0 to 6? Count them.",
        "The length is `(len(self.dataset) + 1) // 2`, and sample k is `self.dataset[2 * k]`.",
    ],
    code="""
    class EveryOther:
        def __init__(self, dataset):
            self.dataset = dataset

        def __len__(self):
            return (len(self.dataset) + 1) // 2

        def __getitem__(self, index):
            return self.dataset[2 * index]
    """,
)
