"""What lesson 01, Count your dataset, asks."""

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dlhelpers.course.judges import no_dataset
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question
from dlhelpers.data.datasets import NumberedImages

TITLE = "Count your dataset"


class Watched(NumberedImages):
    """Counts the samples that were fetched."""

    fetched = 0

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if isinstance(index, slice):
            raise TypeError("a dataset gives one sample for one index, and a slice is none")
        self.fetched += 1
        return super().__getitem__(index)


def judge_every_other(answer: Callable[[Dataset], Dataset]) -> str | None:
    """What is wrong with a learner's EveryOther class, or None."""
    if problem := no_dataset(answer):
        return problem
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
        return "`__len__` returned None: is a `return` missing?"
    if any(type(length) is not int for length in lengths):
        return "`__len__` must return a whole number, an int: divide with `//`, not with `/`."
    if lengths == [5, 6, 7]:
        return "of six samples it has the length 6: `__len__` must return the number of samples you keep."
    if lengths == [2, 3, 3]:
        return "of seven samples it has the length 3: samples 0, 2, 4 and 6 are four."
    if lengths != [3, 3, 4]:
        return (
            f"of five, six and seven samples it has the lengths {lengths}: 3, 3 and 4 are expected."
        )
    kept = wrapped[-1]
    try:
        samples = [kept[k] for k in range(4)]
    except IndexError:
        return "an index below the length of 4 raised an IndexError. Sample k of yours is sample 2 * k."
    if None in samples:
        k = samples.index(None)
        return f"the length is right; for index {k}, `__getitem__` returned None: `return` sample {2 * k}."
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
    Write the two methods of `EveryOther`. It wraps a dataset and offers its samples 0, 2, 4, ... and no others, each
    with its label. Its length must be right for odd lengths too. Past its end it must raise an `IndexError` (you'll
    soon see why), which the wrapped dataset does for you. Negative indices don't matter here.
    """,
    minutes=4,
    judge=judge_every_other,
    praise="length and samples agree, for even and for odd lengths.",
    hints=[
        "Which of the samples 0 to 5 do you keep, and which of 0 to 6? Count them.",
        "The length is `(len(self.dataset) + 1) // 2`, and sample k is `self.dataset[2 * k]`.",
    ],
    code="""
    from torch.utils.data import Dataset


    class EveryOther(Dataset):
        def __init__(self, dataset):
            self.dataset = dataset

        def __len__(self):
            return (len(self.dataset) + 1) // 2

        def __getitem__(self, index):
            return self.dataset[2 * index]
    """,
)


after_append = Prediction(
    "lesson_01.after_append",
    "The inbox held 10 scans when we built the loader. Since then, six more have arrived, and the loader has not been"
    " touched. How many scans does its next epoch deliver?",
    belief="A dataset's length is a static property that the loader reads when it is built (the usual answer to the"
    " question that the course starts from)",
    answer=16,
    because="The loader keeps no length. At the start of every epoch it calls `len(dataset)` again.",
    wrong={
        10: "That would need a length that the loader wrote down when it was built. It wrote none down.",
        6: "The first ten are still there: an epoch delivers everything, not what is new.",
        0: "Nothing breaks here when it grows between two epochs.",
    },
    hints=["Does the loader know a length, or does it know whom to ask?"],
)


joined = Prediction(
    "lesson_01.joined",
    "`ConcatDataset([inbox, inbox])` had a length of 20 when we built it. The inbox has since grown from 10 to 16. What"
    " is its length now?",
    belief="Whatever is made of datasets follows them, as the loader does (what the documentation's word"
    " 'concatenation' leaves open, and what the prediction before has just taught)",
    answer=20,
    because="ConcatDataset adds the lengths up once, when it is built, and keeps the sum.",
    wrong={
        32: "So it would be if it asked its parts again, as the loader does. It does not.",
        26: "It would be half fresh then. Both parts are the same inbox, and neither is asked again.",
        16: "It holds the inbox twice.",
    },
    hints=[
        "When could it ask its parts: when it is built, or each time? The loader does the second."
    ],
)


after_flip = Prediction(
    "lesson_01.after_flip",
    "The digits have 1,438 training images. We add a random flip: each image is mirrored with a chance of one half. How"
    " long is the dataset now?",
    belief="Augmentation makes a dataset larger (tutorials that speak of an inflated training set, as asked about in"
    " github.com/lambdal/TensorFlow2-tutorial/issues/7; 'flipped, doubling the training set size' in"
    " github.com/prob-ml/bliss/issues/904)",
    answer=1438,
    because="The flip happens inside `__getitem__`, and `__len__` is what it was.",
    wrong={
        2876: "That would be so if the flipped images were stored beside the others.",
        2157: "Half of the images come flipped, in place of the original and not in addition to it.",
    },
    hints=["Does a flip add samples, or does it change the one that is being fetched?"],
)


class Numbered(NumberedImages):
    """Images whose mirror image is another one: a dot on the left."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = super().__getitem__(index)
        image[0, 0, 0] = 1
        return image, label


def judge_with_mirrors(answer: Callable[[Dataset], Dataset]) -> str | None:
    """What is wrong with a learner's WithMirrors class, or None."""
    if problem := no_dataset(answer):
        return problem
    wrapped = answer(Numbered(3))
    length = type(wrapped).__len__(wrapped)
    if length is None:
        return "`__len__` returned None: is a `return` missing?"
    if length == 3:
        return "for three samples it still promises 3. Nobody would ever ask for the mirrored ones."
    if type(length) is not int or length != 6:
        return f"for three samples its length is {length!r}: 6 is expected, an int."
    turned = {"unchanged": [], "mirrored": [-1], "upside down": [-2], "turned round": [-2, -1]}
    got = []
    for k in range(6):
        try:
            sample = wrapped[k]
        except IndexError:
            return f"index {k} is below the length of 6 and raised an IndexError. Which image is it of three?"
        if sample is None:
            return f"for index {k}, `__getitem__` returned None: is a `return` missing?"
        image, label = sample if isinstance(sample, tuple) and len(sample) == 2 else (None, None)
        if not isinstance(image, Tensor):
            return f"sample {k} is not an image and its label: return both, in this order."
        looks = (
            name
            for name, sides in turned.items()
            for original, number in Numbered(3)
            if number == label and torch.equal(original.flip(sides), image)
        )
        got.append((label, next(looks, "altered")))
    expected = [(k, look) for look in ("unchanged", "mirrored") for k in range(3)]
    if got != expected:
        k = next(k for k in range(6) if got[k] != expected[k])
        came, wanted = (f"image {label} {look}" for label, look in (got[k], expected[k]))
        return (
            f"sample {k} is {came}: {wanted} is expected. First all three as they are, then all three with"
            " left and right exchanged, which is `image.flip(-1)`."
        )
    try:
        wrapped[6]
    except IndexError:
        return None
    return (
        "index 6 is beyond its length of 6 and still gives a sample: an IndexError is expected, and with `index % n`"
        " none ever comes."
    )


with_mirrors = Exercise(
    "lesson_01.with_mirrors",
    """
    Now make the dataset twice as long, for real. `WithMirrors` wraps a dataset of n samples. Its samples 0 to n - 1 are
    those of the dataset; sample n + k is sample k mirrored (`image.flip(-1)`), always, with the same label. A sample
    is a pair, image and label. Past its end it must raise an `IndexError`.
    """,
    minutes=4,
    judge=judge_with_mirrors,
    praise="twice the samples, and a `__len__` that says so.",
    hints=[
        "Is the index in the first half or in the second? `n = len(self.dataset)` tells you.",
        "From n on, fetch sample `index - n` and mirror the image. Past the end, the wrapped dataset then raises the"
        " IndexError for you; with `index % n` it would not.",
    ],
    code="""
    from torch.utils.data import Dataset


    class WithMirrors(Dataset):
        def __init__(self, dataset):
            self.dataset = dataset

        def __len__(self):
            return 2 * len(self.dataset)

        def __getitem__(self, index):
            n = len(self.dataset)
            if index < n:
                return self.dataset[index]
            image, label = self.dataset[index - n]
            return image.flip(-1), label
    """,
)


promised = Prediction(
    "lesson_01.promised",
    "`TooShort` holds ten images, and its `__len__` returns 8. How many turns does the plain loop"
    " `for sample in TooShort()` make, without a loader?",
    belief="A `for` loop goes as far as `len` says (met wherever a loop over the dataset is used as a test of it)",
    answer=10,
    because="Python calls `__getitem__` with 0, 1, 2 and so on until an IndexError. It doesn't ask for the length.",
    wrong={
        8: "That would need a loop that asks for the length.",
        0: "The loop does run: a class with `__getitem__` can be looped over.",
    },
    hints=[
        "`TooShort` has no method that says how to loop. Which of its two methods could a loop use?"
    ],
)


short_epoch = Prediction(
    "lesson_01.short_epoch",
    "And through a loader? The same dataset of ten images, whose `__len__` returns 8: how many of them does an epoch of"
    " a `DataLoader` deliver?",
    belief="An epoch delivers all the data there is, and a wrong length would show as an error or a warning (the"
    " usual answer's 'number of image-label pairs', and whoever takes a loop that runs for a test of the data)",
    answer=8,
    because="The loader asks for the indices 0 to len - 1, and never learns that more would answer.",
    wrong={
        10: "The loader doesn't try how far it can go: it asks `len(dataset)` first.",
        0: "Nothing fails: eight images are delivered, and two are missing without a word.",
    },
    hints=["Which indices does the loader ask for?"],
)


def judge_windows(answer: Callable[[Tensor, int], Dataset]) -> str | None:
    """What is wrong with a learner's make_windows, or None."""
    for days, size in ((10, 3), (5, 5), (4, 1)):
        made = answer(torch.arange(days), size)
        if made is None:
            return "`make_windows` returned None: its last line returns the dataset."
        length, right = type(made).__len__(made), days - size + 1
        told = f"{days} days have {right} windows of {size}, and the length is {length!r}"
        if length == right - 1:
            return f"{told}: day {days - 1}, the last one, is in no window. On which days can a window start? Count."
        if length == days and size > 1:
            return f"{told}: that is one window per day, and the last days have too few days after them."
        if length == days // size != right:
            return f"{told}: that counts windows side by side. Here each starts a day after the one before."
        if type(length) is not int or length != right:
            return f"{told}."
        for k in range(right):
            try:
                window = made[k]
            except IndexError:
                return f"index {k} is one of the {right} windows of {size} days and raised an IndexError."
            if window is None or list(window) != list(range(k, k + size)):
                return f"window {k} of {size} days is {_days(window)}: {list(range(k, k + size))} is expected."
        for beyond in (right, days + 1):
            try:
                window = made[beyond]
            except IndexError:
                continue
            except Exception as error:
                return f"past the end it raised a {type(error).__name__}: only an IndexError ends a plain loop."
            return (
                f"the length is right. But index {beyond} is beyond the {right} windows of {size} days and gives"
                f" {_days(window)}: a slice past the end is short or empty, and never an error. Raise the IndexError"
                " yourself, or a plain loop never stops."
            )
    return None


def _days(window: object) -> object:
    return window.tolist() if isinstance(window, Tensor) else window


windows = Exercise(
    "lesson_01.windows",
    """
    A dataset of a time series: each sample is a window of `size` days in a row, and the next starts a day later. It
    goes through a loader without an error, and it breaks both promises: the last day is in no window, and a plain `for`
    loop over it never ends. Repair both methods.
    """,
    minutes=5,
    judge=judge_windows,
    praise="every day is used, and every loop ends.",
    given="""
    def make_windows(series, size):
        class Windows(Dataset):
            def __len__(self):
                return len(series) - size

            def __getitem__(self, index):
                return series[index : index + size]

        return Windows()
    """,
    hints=[
        "Take five days and windows of five. How many windows is that, and what does this `__len__` say?",
        "The length is one more. For the second promise: `if index >= len(self): raise IndexError(index)`.",
    ],
    code="""
    from torch.utils.data import Dataset


    def make_windows(series, size):
        class Windows(Dataset):
            def __len__(self):
                return len(series) - size + 1

            def __getitem__(self, index):
                if index >= len(self):
                    raise IndexError(f"there is no window {index}")
                return series[index : index + size]

        return Windows()
    """,
)


eager_bytes = Prediction(
    "lesson_01.eager_bytes",
    "How many gigabytes (of 1,000,000,000 bytes) does `EagerNoise(10_000)` take? A number of this kind, a float32,"
    " takes four bytes. (Within 0.3 gigabytes counts as right.)",
    belief="`[torch.randn(3, 224, 224) for _ in range(10000)]` is a simple example that any machine runs (the usual"
    " answer to the question that the course starts from)",
    answer=6.02,
    within=0.3,
    because="Each image has 150,528 numbers of four bytes.",
    wrong={
        1.5: "Those are numbers, not bytes: a float32 number takes four.",
        2: "That is one colour channel; each image has three.",
        12: "That counts eight bytes per number, as float64 takes. PyTorch's default, float32, takes four.",
        5.6: "Those are units of 1,024 x 1,024 x 1,024 bytes (GiB).",
        0.0006: "That is one image.",
        0.6: "That is 1,000 images.",
        60: "That is 100,000 images.",
        6021: "Those are megabytes.",
    },
    hints=[
        "Numbers in an image, times bytes per number, times images.",
        "3 * 224 * 224 * 4 * 10_000",
    ],
)


price_gb = Exercise(
    "lesson_01.price_gb",
    """
    Write `price_gb(shape, bytes_per_number, length)`: what `length` tensors of that shape take, in gigabytes of
    1,000,000,000 bytes. `shape` may have any number of dimensions, such as `(3, 224, 224)` or `(1000,)`. Then try it on
    your prediction.
    """,
    minutes=2,
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
            "this always takes four bytes per number. Use bytes_per_number.",
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
            "the numbers in a shape are multiplied, not added: 3 x 224 x 224 numbers.",
        ),
        (
            lambda shape, size, n: prod(shape) * size * n,
            "these are bytes. A gigabyte has 1,000,000,000 of them.",
        ),
    ],
    hints=[
        "`math.prod(shape)` multiplies the numbers in a shape.",
        "numbers x bytes per number x length / 1e9",
    ],
    code="""
    import math


    def price_gb(shape, bytes_per_number, length):
        return math.prod(shape) * bytes_per_number * length / 1e9
    """,
)


still_held = Prediction(
    "lesson_01.still_held",
    "A tensor of 100 such images takes 60.21 MB. We keep ten, `ten = images[:10]`, and `del images`. How many MB does"
    " `ten` keep in memory? (Within 0.5 MB counts as right.)",
    belief="After `del`, what is left takes as much as its shape says (met by those who wonder"
    " about the size of a saved slice: docs.pytorch.org/docs/stable/notes/serialization.html had to explain it)",
    answer=60.21,
    within=0.5,
    because="A slice is a view: it shares the numbers of the tensor that it was cut from, and keeps all of them alive.",
    wrong={
        6.02: "That is what the shape of `ten` costs. But `ten` has no numbers of its own.",
        0: "`ten` copied nothing, which is right. So whose numbers does it show, and who still needs them?",
        54.19: "That is the part nobody can reach any more. It stays, and so do the ten.",
        66.23: "That would be both: all hundred and a copy of ten. A slice copies nothing.",
    },
    hints=[
        "Does a slice copy its numbers?",
        "Can Python free the first tenth of a tensor, or only the whole?",
    ],
)


def judge_first_images(answer: Callable[[Tensor, int], Tensor]) -> str | None:
    """What is wrong with a learner's first_images, or None."""
    images = torch.arange(24.0).view(6, 1, 2, 2)
    few = answer(images, 2)
    if few is None:
        return "it returned None: is a `return` missing?"
    if not isinstance(few, Tensor):
        return f"it returned a {type(few).__name__}: one tensor of `count` images is expected."
    if few.shape != (2, 1, 2, 2) or not torch.equal(few, images[:2]):
        return (
            f"of images of the shape {tuple(images.shape)} the first 2 were asked for, and it returned a tensor of the"
            f" shape {tuple(few.shape)}: {(2, 1, 2, 2)} is expected, with the numbers of images 0 and 1."
        )
    held = few.untyped_storage()
    if held.data_ptr() == images.untyped_storage().data_ptr():
        return (
            f"it still holds {held.nbytes()} bytes, those of all 6 images: this is a view. (So is what `.contiguous()`,"
            " `.detach()` or `.to(...)` return where nothing has to change.) Which call always copies?"
        )
    if held.nbytes() == images.untyped_storage().nbytes():
        return (
            f"it holds {held.nbytes()} bytes of its own, all 6 images: the copy was made before the cut, or by"
            " `deepcopy`, which copies all that lies behind a view. Which call copies no more than the shape says?"
        )
    if held.nbytes() != 32:
        return f"it holds {held.nbytes()} bytes of its own, and 2 images need 32: cut first, then copy."
    return None


first_images = Exercise(
    "lesson_01.first_images",
    """
    Write `first_images(images, count)`: the first `count` images of a tensor, as one tensor that keeps nothing else
    alive.
    """,
    minutes=2,
    judge=judge_first_images,
    praise="32 bytes for two images of 16. The other four can go.",
    hints=[
        "Cut, then copy what you have cut.",
        "A tensor's copy, with numbers of its own, is `.clone()`.",
    ],
    code="""
    def first_images(images, count):
        return images[:count].clone()
    """,
)


changes_length = Question(
    "lesson_01.changes_length",
    "Your dataset lists the files of a folder when it is built, and `__len__` counts that list. Which of these makes"
    " `len(dataset)` return a different number?",
    [
        Choice(
            "Building a loader with a larger batch size",
            "the batch size belongs to the loader. The dataset does not know of it.",
        ),
        Choice(
            "A random crop when an image is fetched",
            "each fetch is cropped anew, and there are as many images as before.",
        ),
        Choice(
            "Deleting half of the files from the folder",
            "the list was made earlier. The length stays, and half of the fetches now fail.",
        ),
        Choice(
            "Removing names from that list",
            "that list is all `__len__` looks at. The files themselves don't matter to it.",
            right=True,
        ),
    ],
    hints=["What exactly does this `__len__` look at?"],
)
