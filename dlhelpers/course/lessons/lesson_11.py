"""What lesson 11, Shuffle on disk, asks."""

from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, Subset, TensorDataset

from dlhelpers.course.judges import OWN_NUMBERS
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question
from dlhelpers.data.sampling import BlockShuffleSampler

TITLE = "Shuffle on disk"


def classes_of(labels: np.ndarray, order: list[int], batch_size: int) -> list[int]:
    """The answer to `classes_per_batch`, from which its known mistakes are made."""
    starts = range(0, len(order), batch_size)
    return [len({int(labels[k]) for k in order[start : start + batch_size]}) for start in starts]


class Watched:
    """An array that notes how many of its rows were asked for at once."""

    def __init__(self, values: np.ndarray):
        self.values, self.most = values, 0
        self.shape, self.dtype = values.shape, values.dtype

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, key: Any) -> np.ndarray:
        rows = self.values[key]
        self.most = max(self.most, len(rows) if rows.ndim == self.values.ndim else 1)
        return rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self.most = len(self.values)
        return np.array(self.values, dtype)


def judge_block_order(answer: Callable[[int, int, Random], Iterable[int]]) -> str | None:
    """Say what is wrong with a learner's block_order, or return None."""
    try:
        orders = [list(answer(10, 4, Random(seed))) for seed in range(60)]
    except TypeError as error:
        return (
            f"{error}: one list of indices is expected. (`random.shuffle` returns nothing; it shuffles the list you"
            " give it.)"
        )
    for order in orders:
        gave = f"for 10 samples in blocks of 4 it gave {order}: "
        if any(isinstance(item, Iterable) for item in order):
            return gave + "one list of indices is expected, not a list of lists."
        if 10 in order:
            return gave + "the last index is 9. Where does the short block end?"
        if sorted(order) != list(range(10)):
            return gave + "each index should come exactly once, those of the short block too."
    if orders != [list(answer(10, 4, Random(seed))) for seed in range(60)]:
        return OWN_NUMBERS
    blocks = [[block for block, _ in groupby(order, lambda index: index // 4)] for order in orders]
    for order, come in zip(orders, blocks, strict=True):
        if len(come) > 3:
            return f"it gave {order}: keep a block's samples together (0 to 3 here), or the reads jump around."
    if len(set(map(tuple, blocks))) < 6:
        return "three blocks have six possible orders, and some never came: shuffle them with `random`."
    for block in range(3):
        inside = [[index for index in order if index // 4 == block] for order in orders]
        if all(part == sorted(part) for part in inside):
            return "inside a block the samples are still in file order: shuffle them, too."
    return None


def judge_shuffled_copy(answer: Callable) -> str | None:
    """Say what is wrong with a learner's shuffled_copy, or return None."""
    count = 2_500
    images = Watched(np.arange(count, dtype=np.int32).reshape(count, 1, 1, 1))
    labels = np.arange(count) // 1_000  # sorted, as the lesson's
    labels.flags.writeable = False
    with TemporaryDirectory() as folder:
        path = Path(folder, "copy.npy")
        result = answer(images, labels, path, np.random.default_rng(11))
        if result is None:
            return "it returned None in place of the copy's labels: is a `return` missing?"
        if not path.is_file():
            return "there is no file at `path` afterwards."
        rows = np.load(path).reshape(-1).tolist()
    found = np.asarray(result).reshape(-1).tolist()
    if sorted(rows) != list(range(count)):
        return "an image is missing from the copy, or there twice: each should be there once."
    if len(found) != count:
        return f"it returned {len(found)} labels for {count} images."
    if images.most > 1_000:
        return f"it read {images.most} images at once. Keep to 1,000: the file may be larger than memory."
    if rows == list(range(count)):
        return "the copy's images are still in file order: shuffle them."
    if found == labels.tolist():
        return "you moved the images but not the labels: those are still in file order."
    for k, (row, label) in enumerate(zip(rows, found, strict=True)):
        if label != labels[row]:
            return (
                f"row {k} of the copy holds image {row}, whose label is {labels[row]}, and you return {label}: order"
                " the labels exactly as you ordered the images."
            )
    return None


def judge_own_loader(answer: Callable) -> str | None:
    """Say what is wrong with a learner's own_loader, or return None."""
    kept = Subset(TensorDataset(torch.arange(1_000), torch.zeros(1_000)), range(100, 800))
    loader = answer(kept)
    if not isinstance(loader, DataLoader):
        return f"it returned {type(loader).__name__}, not a DataLoader."
    if loader.dataset is not kept:
        return "the loader reads something other than `kept`."
    sampler = loader.sampler
    if loader.batch_size is None:  # a sampler that makes the batches is as good
        sampler = loader.batch_sampler
    if isinstance(sampler, RandomSampler):
        return "`shuffle=True` draws from the whole file. Pass a BlockShuffleSampler as `sampler=`."
    if isinstance(sampler, SequentialSampler):
        return "it reads in file order. Pass a BlockShuffleSampler as `sampler=`."
    if not isinstance(sampler, BlockShuffleSampler):
        return f"its sampler is a {type(sampler).__name__}: a BlockShuffleSampler is expected."
    if sampler.samples != len(kept):
        return (
            f"its sampler hands out {sampler.samples:,} indices, but the `kept` used in this check (not yours) has"
            f" {len(kept):,} images. Use the length of the dataset your function is given."
        )
    if loader.collate_fn is tuple:
        return "`Mapped` needs `collate_fn=tuple`. Here the default collating takes a batch as it should: leave it out."
    if (sampler.block, sampler.window) != (96, 4):
        return f"it mixes {sampler.window} blocks of {sampler.block}: 4 blocks of 96 are expected."
    size = sampler.batch_size if loader.batch_size is None else loader.batch_size
    return None if size == 32 else f"its batches hold {size}: 32 are expected."


classes_per_batch = Exercise(
    "lesson_11.classes_per_batch",
    """
    Write `classes_per_batch(labels, order, batch_size)`: it returns a list: for each batch, the number of different
    classes in it. `order` is a list of indices, cut into batches from its start; the last batch may be short. `labels`
    is an array: `labels[k]` is the class of sample k.
    """,
    minutes=3,
    cases=[
        ((np.array([0, 0, 1, 1, 2, 2]), [0, 1, 2, 3, 4, 5], 2), [1, 1, 1]),
        ((np.array([0, 0, 1, 1, 2, 2]), [0, 2, 4, 1, 3, 5], 3), [3, 3]),
        ((np.array([5, 5, 7, 7]), [3, 2, 0, 1], 2), [1, 1]),
        ((np.array([0, 1, 1, 2, 1]), [1, 2, 0, 3, 4], 3), [2, 2]),
    ],
    wrong=[
        (
            lambda labels, order, size: classes_of(labels, list(range(len(order))), size),
            "this counts in file order. Which sample does `order` start with?",
        ),
        (
            lambda labels, order, size: [
                len(order[k : k + size]) for k in range(0, len(order), size)
            ],
            "these are batch sizes. Look up their classes in `labels`, and count the different"
            " ones with `len(set(...))`.",
        ),
        (
            lambda labels, order, size: classes_of(
                labels, order[: len(order) - len(order) % size], size
            ),
            "the last batch may be short, and it counts.",
        ),
        (
            lambda labels, order, size: float(np.mean(classes_of(labels, order, size))),
            "that's the mean. Return the list: one number per batch.",
        ),
        (
            lambda labels, order, size: len(set(labels.tolist())),
            "this is the number of classes in the whole file. Cut `order` into batches first.",
        ),
    ],
    hints=[
        "`range(0, len(order), batch_size)` gives the places where batches start.",
        "`labels[order[start : start + batch_size]]` are the classes of one batch.",
    ],
    code="""
    def classes_per_batch(labels, order, batch_size):
        found = []
        for start in range(0, len(order), batch_size):
            batch = labels[order[start : start + batch_size]]
            found.append(len(set(batch.tolist())))
        return found
    """,
)

reported = Prediction(
    "lesson_11.reported",
    "Two models with the same starting weights train for one epoch on the same 12,000 images. One reads"
    " them in file order, class after class, the other in random order. `fit` reports the training accuracy, measured"
    " batch by batch during the epoch. Which run reports the higher one:"
    ' "file order", "random order" or "about equal" (within 5 points)?',
    belief="a run that goes wrong shows it in its training curve ('my training accuracy is 97 %, so it learns'); met in"
    " most forum threads on a validation accuracy stuck at 1 / classes",
    answer="file order",
    choices=("file order", "random order", "about equal"),
    because="When all the neighbours are of one class, repeating what you've just seen is nearly always right.",
    wrong={
        "random order": "It has learned more, and its batches are harder: nothing tells it which class comes next.",
        "about equal": "They see the same images. But how hard is a batch with only one class in it?",
    },
    hints=["How would you answer in the middle of 4,000 circles, without looking?"],
)

classes_in_batch = Prediction(
    "lesson_11.classes_in_batch",
    "12,000 images, sorted by their three classes, pass through a shuffle buffer of 1,200 and come out in 200"
    ' batches of 60. How many of these have all three classes: "under 40", "about 100" or "over 170"?',
    belief="`shuffle(1000)` shuffles a dataset, and a tenth of it is plenty; met in tutorials on tf.data and on"
    " streaming, whose defaults are about 1,000",
    answer="under 40",
    choices=("under 40", "about 100", "over 170"),
    because="A buffer mixes what it has read. At first that is one class, and by the time the last class comes,"
    " hardly any of the first is left.",
    wrong={
        "about 100": "Before two thirds of the file are read, nothing of the third class can be in the buffer.",
        "over 170": "That's what a full shuffle would give. The buffer has to hand out images long before it has seen"
        " the other classes.",
    },
    hints=["What is in the buffer when batch 50 leaves it?"],
)

block_order = Exercise(
    "lesson_11.block_order",
    """
    Write `block_order(samples, block, random)`: it returns the indices 0 to `samples` - 1 as one list. Blocks of
    `block` neighbours come in random order, and each block is shuffled inside. The last block may be short. `random` is
    a generator of Python's `random` module: `random.shuffle(items)` shuffles a list in place.
    """,
    minutes=5,
    judge=judge_block_order,
    praise="each index once, neighbours together, and both orders drawn at random.",
    hints=[
        "Make a list of blocks first, each a list of indices.",
        "`range(0, samples, block)` gives their starts.",
    ],
    code="""
    def block_order(samples, block, random):
        blocks = [list(range(k, min(k + block, samples))) for k in range(0, samples, block)]
        random.shuffle(blocks)
        for indices in blocks:
            random.shuffle(indices)
        return [index for indices in blocks for index in indices]
    """,
)

fetched = Prediction(
    "lesson_11.fetched",
    "The file has 100 stretches of 120 images, and the cache has room for 10 stretches. In one epoch over all images in"
    ' random order, how often is each stretch fetched, on average: "about once", "about 10 times" or "over 100 times"?',
    belief="an epoch reads each image once, so it reads the file once, and a memory map makes random access free; met"
    " in answers that recommend np.memmap with shuffle=True, and in threads on slow HDF5 and zarr loaders",
    answer="over 100 times",
    choices=("about once", "about 10 times", "over 100 times"),
    because="For nine images out of ten, their stretch isn't in the cache. So nearly every one of a stretch's 120"
    " images fetches the whole stretch again, just for itself.",
    wrong={
        "about once": "It would be, if all its images were read together. In random order they are spread over"
        " the epoch.",
        "about 10 times": "Then a fetch would serve 12 of the 120 images. How many does it serve before its stretch is"
        " dropped?",
    },
    hints=["When an image's turn comes, how likely is it that its stretch is in the cache?"],
)

shuffled_copy = Exercise(
    "lesson_11.shuffled_copy",
    """
    Repair `shuffled_copy`. It should write the images in random order to a file at `path`, at most 1,000 at a time, and
    return the copy's labels. Its copy is perfectly mixed, and no model can learn from it. `random` is one of NumPy's
    generators.
    """,
    minutes=3,
    given="""
    def shuffled_copy(images, labels, path, random):
        order = random.permutation(len(images))
        copy = np.lib.format.open_memmap(path, "w+", images.dtype, images.shape)
        for k in range(0, len(images), 1_000):
            copy[k : k + 1_000] = images[order[k : k + 1_000]]
        copy.flush()
        return random.permutation(labels)
    """,
    judge=judge_shuffled_copy,
    praise="each image is there once, mixed, and has its own label.",
    hints=["Draw again, and you get a different order.", "Look at the captions below the cell."],
    code="""
    import numpy as np

    def shuffled_copy(images, labels, path, random):
        order = random.permutation(len(images))
        copy = np.lib.format.open_memmap(path, "w+", images.dtype, images.shape)
        for k in range(0, len(images), 1_000):
            copy[k : k + 1_000] = images[order[k : k + 1_000]]
        copy.flush()
        return labels[order]
    """,
)

company = Prediction(
    "lesson_11.company",
    "The file has been shuffled once. A sampler takes its blocks of 120 images in a new order each epoch, one at a time"
    " (a window of 1), and shuffles each. Batches hold 60. After 20 epochs, how many different images has image 0"
    " shared a batch with?",
    belief="after one shuffle on the disk, shuffling blocks is as good as shuffling everything (the mean loss and the"
    " class counts agree); met in the documentation of chunked formats",
    answer=119,
    because="Whatever the epoch, only the other images of its block can be in its batch.",
    wrong={
        1180: "59 new ones in each of 20 epochs: from where, if its block has 120 images?",
        59: "That's one epoch. Each epoch splits the block in half in a new way.",
        11999: "That would take a shuffle of the whole file. Images of two blocks never share a batch here.",
        120: "One of these is image 0 itself.",
    },
    hints=["From how many blocks does a batch of 60 come?"],
)

fits = Question(
    "lesson_11.fits",
    "A folder of photos takes 3 GB, and 16 GB of memory is free. You want to load all of it as float32"
    " tensors, at the photos' own size. Does it fit?",
    [
        Choice(
            "Yes, five times over",
            "a JPEG file is compressed. In memory, each pixel takes three numbers of four bytes, and the file no longer"
            " matters.",
        ),
        Choice(
            "You can't tell from the size of the files",
            "what counts is pixels: width x height x 3 numbers x 4 bytes for each photo. `inspect` adds them up.",
            right=True,
        ),
        Choice(
            "Yes: at four bytes per number it's 12 GB",
            "a float32 takes four bytes, but a JPEG file isn't one byte per number: it's compressed, some photos more"
            " than others.",
        ),
    ],
    hints=["What does a JPEG file compress, and what happens to it in a tensor?"],
)

own_loader = Exercise(
    "lesson_11.own_loader",
    """
    Write `own_loader(kept)`: a DataLoader over the dataset `kept`, in batches of 32, in the order of a
    `BlockShuffleSampler` with blocks of 96 and a window of 4.
    """,
    minutes=2,
    judge=judge_own_loader,
    praise="blocks of 96, mixed four at a time, over exactly these images.",
    hints=[
        "The sampler takes the length of the dataset that it orders.",
        "`DataLoader(..., sampler=...)`",
    ],
    code="""
    from torch.utils.data import DataLoader
    from dlhelpers.data import BlockShuffleSampler

    def own_loader(kept):
        sampler = BlockShuffleSampler(len(kept), block=96, window=4)
        return DataLoader(kept, batch_size=32, sampler=sampler)
    """,
)

finds_flip = Prediction(
    "lesson_11.finds_flip",
    "We flip one bit in the middle of a photo's JPEG file, and one in the middle of the packed images. Then `inspect`"
    " decodes every photo, and `verify` reads every byte of the packed dataset. Which of them finds a wrong"
    " bit:"
    ' "inspect", "verify", "both" or "neither"?',
    belief="a damaged image raises an error when it is decoded, so a pass of decoding (or `Image.verify()`) finds it;"
    " met in scripts that clean a dataset by opening each file in a try block",
    answer="verify",
    choices=("inspect", "verify", "both", "neither"),
    because="A decoder has no idea what the picture should look like. Only a hash of what was written can tell, and"
    " JPEG files have none.",
    wrong={
        "inspect": "It does find a file that's cut short. One wrong bit usually decodes into slightly wrong pixels.",
        "both": "`verify` does. But what would the decoder compare the photo with?",
        "neither": "`verify` compares hashes, and one bit changes a hash completely.",
    },
    hints=["Who knows what the bytes should be?"],
)
