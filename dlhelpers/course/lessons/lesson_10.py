"""What lesson 10, Outgrow your memory, asks."""

import os
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from math import isclose
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from dlhelpers.course.judges import no_dataset
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question
from dlhelpers.machine.capped import LimitedRun, run_limited

TITLE = "Outgrow your memory"

CAP = 80_000_000
ROWS = 7_011  # images of 3 x 64 x 64 bytes: more than the cap, and no multiple of a usual block
LEVELS = np.arange(ROWS) * 256 // ROWS  # the byte that image k is full of: from dark to bright


def _in_a_child(function: Callable, answer: Callable) -> tuple[LimitedRun, bool]:
    """Run `function(answer, path)` under the cap on a file that is larger; also: is the file as it was?"""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, "images.npy")
        images = np.lib.format.open_memmap(path, "w+", np.uint8, (ROWS, 3, 64, 64))
        for k in range(0, ROWS, 256):
            images[k : k + 256] = LEVELS[k : k + 256, None, None, None]
        run = run_limited(function, answer, path, limit=CAP, timeout=45)
        kept = (images[0] == LEVELS[0]).all() and (images[-1] == LEVELS[-1]).all()
        del images
        return run, bool(kept)


def _broken(run: LimitedRun) -> str | None:
    """What kept a child from returning an answer, memory aside."""
    if run.outcome == "failed":
        return f"your code raised {run.error}"
    if run.outcome == "killed":
        return f"the child was {run.error}: does each loop come to an end?"
    return None


def _look(answer: Callable, path: Path) -> dict[str, Any]:
    """Take samples from a learner's dataset, keep none, and change one."""
    dataset = answer(path)
    told: dict[str, Any] = {"length": type(dataset).__len__(dataset)}
    for k in range(ROWS):
        dataset[k]
    told["samples"] = [_told(dataset[k]) for k in (0, 3_000, ROWS - 1)]
    if isinstance(dataset[0], Tensor):
        dataset[0].add_(1)
        dataset[ROWS - 1].add_(1)
        told["again"] = [_told(dataset[k])[-1] for k in (0, ROWS - 1)]
    return told


def _told(sample: Any) -> tuple:
    """Kind, type of numbers, shape and first number of a sample."""
    if not isinstance(sample, Tensor):
        return type(sample).__name__, "", (), 0
    return "Tensor", str(sample.dtype), tuple(sample.shape), int(sample.flatten()[0])


def judge_from_file(answer: Callable[[Path], Dataset]) -> str | None:
    """Say what is wrong with a learner's FromFile, or return None."""
    if problem := no_dataset(answer):
        return problem
    run, kept = _in_a_child(_look, answer)
    if run.outcome == "out of memory":
        if "Errno 12" in run.error:
            return "out of memory: mode 'c' reserves private memory for every page that you might change. Use \"r\"."
        if "with shape (3, 64, 64)" in run.error:
            return "out of memory after many samples: does the dataset keep every sample? The file has them."
        return (
            'out of memory: somewhere the whole file becomes an array. Open it with `mmap_mode="r"`, and copy one row'
            " in `__getitem__`, not all of them."
        )
    if "SIGSEGV" in run.error or "SIGBUS" in run.error:
        return (
            "we changed a sample in place, as a transform may, and that killed the process: the tensor still was the"
            " file, which is open read-only. Copy the row before you hand it out."
        )
    if problem := _broken(run):
        return problem
    told = run.value
    if not kept:
        return (
            "we changed a sample in place, as a transform may, and that changed the file on the disk. Open it with"
            ' `mmap_mode="r"`, and hand out a copy of the row.'
        )
    if told["length"] is None:
        return "`__len__` returned None: is a `return` missing?"
    if told["length"] != ROWS:
        return f"the file holds {ROWS:,} images, and `__len__` says {told['length']!r:.40}."
    for k, (kind, dtype, shape, number) in zip((0, 3_000, ROWS - 1), told["samples"], strict=True):
        if kind == "NoneType":
            return "`__getitem__` returned None: is a `return` missing?"
        if kind != "Tensor":
            return f"`__getitem__` returned a {kind}: make it a tensor with `torch.from_numpy`."
        if shape != (3, 64, 64):
            return f"a sample has the shape {shape}: one image is expected, of shape (3, 64, 64)."
        if dtype != "torch.uint8":
            return f"the file holds bytes, and your sample has the type {dtype}: return the row as it is."
        if number != LEVELS[k]:
            return f"sample {k:,} isn't row {k:,} of the file: does `__getitem__` use its `index`?"
    if told["again"] != [LEVELS[0], LEVELS[-1]]:
        return "we changed a sample and asked for it again, and it came back changed: hand out a new copy each time."
    return None


def _call(answer: Callable, path: Path) -> Any:
    """What a learner's function returns for a file, as plain numbers where it can be."""
    told = answer(path)
    if isinstance(told, (tuple, list)):  # the root of a negative number is complex
        return [v if v is None else float("nan" if isinstance(v, complex) else v) for v in told]
    return type(told).__name__


def judge_mean_and_std(answer: Callable[[Path], tuple[float, float]]) -> str | None:
    """Say what is wrong with a learner's mean_and_std, or return None."""
    run, _ = _in_a_child(_call, answer)
    if run.outcome == "out of memory":
        told = f"out of memory on our own, smaller file. {run.error.splitlines()[0].partition(': ')[2]:.120}"
        if f"({ROWS}," in run.error or "array with shape" not in run.error:
            remedy = "Somewhere you use the whole file at once: take a block of the map first, and divide that."
            if "in _var" in run.traceback:
                remedy = "`std` subtracts the mean from every number, into a new array. Add up squares, block by block."
            return f"{told}. {remedy}"
        return f"{told}. Take fewer images at a time: 256, say."
    if problem := _broken(run):
        return problem
    if run.value == "NoneType":
        return "it returned None: is a `return` missing?"
    if not isinstance(run.value, list) or len(run.value) != 2 or None in run.value:
        return f"it returned {run.value}: two numbers are expected, the mean and the standard deviation."
    mean, std = run.value
    levels = LEVELS / 255
    right, spread = levels.mean(), levels.std()
    if isclose(mean, 255 * right, rel_tol=1e-3):
        return f"the mean is {mean:.1f}: scale the bytes to 0 to 1, as before."
    if isclose(mean, 3 * 64 * 64 * right, rel_tol=1e-3):
        return "the sum is divided by the number of images. It has many numbers for each: count `block.size`."
    if not isclose(mean, right, rel_tol=1e-4):
        for size in (32, 50, 64, 100, 128, 200, 250, 256, 500, 512, 1000):
            means = [levels[k : k + size].mean() for k in range(0, ROWS, size)]
            if isclose(mean, np.mean(means), rel_tol=1e-6):
                return (
                    "this is the mean of the blocks' means, and the last block is short. Lesson 03: add up sums, and"
                    " divide once."
                )
        return f"the mean is {mean:.4f}, and {right:.4f} is expected. Does each image count once, the last one too?"
    if isclose(std, spread, rel_tol=1e-4):
        return None
    known = [
        (spread**2, "the second number is the variance: take its square root."),
        (
            (levels**2).mean() ** 0.5,
            "this is the root of the mean square: subtract the square of the mean before you take the root.",
        ),
        (
            (levels**2).mean(),
            "this is the mean of the squares: subtract mean**2, then take the root.",
        ),
    ]
    for value, message in known:
        if isclose(std, value, rel_tol=1e-4):
            return message
    wrapped = (LEVELS.astype(np.uint8) ** 2 / 255**2).mean()  # bytes squared are bytes
    if np.isnan(std) or isclose(std, max(wrapped - right**2, 0) ** 0.5, rel_tol=1e-3):
        return (
            "the mean is right, the standard deviation isn't: the square of a byte needs two bytes, and uint8 starts"
            " again at 0 after 255. Divide by 255 first, then square."
        )
    if std < spread / 2:
        return (
            f"the standard deviation is {std:.4f}, and {spread:.4f} is expected. Inside a block it's small, because"
            " neighbours are alike here. Add up squares over the whole file instead."
        )
    return f"the mean is right, the standard deviation is {std:.4f}, and {spread:.4f} is expected."


OLD, PARTS = b"the old content", [b"one ", b"two ", b"three"]
WHOLE = b"".join(PARTS)


def judge_write_whole(answer: Callable[[Path, Iterable[bytes]], None]) -> str | None:
    """Say what is wrong with a learner's write_whole, or return None."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "data.bin")
        answer(path, iter(PARTS))
        if _content(path) != WHOLE:
            return (
                f"the file holds {_content(path)}. It should hold all the parts, in order: {PARTS}."
            )
        path.write_bytes(OLD)
        return (
            _over_an_old_file(answer, path)
            or _broken_off(answer, path)
            or _all_at_once(answer, path)
        )


def _over_an_old_file(answer: Callable, path: Path) -> str | None:
    """Look at the old file with each part that comes, and when the new one takes its name."""
    seen, renames, beside = [], [], True

    def parts() -> Iterator[bytes]:
        for part in PARTS:
            seen.append(_content(path))
            yield part

    def rename_and_note(old: Path, new: Path, rename: Callable = os.replace) -> None:
        nonlocal beside
        beside = path.parent.resolve() in Path(old).resolve().parents
        renames.append((_content(path), _content(Path(old))))
        rename(old, new)

    # those of Path and of shutil call these
    with patch.multiple(os, rename=rename_and_note, replace=rename_and_note):
        answer(path, parts())
    if set(seen) != {OLD}:
        return (
            "while the parts came, the old file was gone, or an unfinished one was there: write under another name"
            " until the end."
        )
    before, content = renames[-1] if renames else (None, None)
    if before != OLD:
        return (
            "at the end the old file was overwritten or removed, so a kill at that moment leaves half a file or none."
            " (Or you renamed it in a way that we can't see.) Call `os.replace(old, new)` by that name: it's a single"
            " step."
        )
    if not beside:
        return (
            "the new file was written into another folder, which may be on another disk, and `os.replace` works on one"
            " disk only: write it beside `path`."
        )
    if content != WHOLE:
        return "the file got its name before it was closed: its last bytes were not in it yet."
    path.write_bytes(OLD)
    return None


def _broken_off(answer: Callable, path: Path) -> str | None:
    """Let the parts end with an error, and then let the answer begin anew."""
    told = False

    def parts() -> Iterator[bytes]:
        yield PARTS[0]
        raise ConnectionError("the parts broke off")

    try:
        answer(path, parts())
    except ConnectionError:
        told = True
    if not told:
        return "`parts` raised an error, and you swallowed it: let it through, or nobody will know."
    if _content(path) != OLD:
        return "the parts broke off, and the unfinished file got the name all the same: rename only when all is well."
    try:
        answer(path, iter(PARTS))
    except FileExistsError:
        return "an attempt broke off, and the next one refused to write over what it had left: mode 'x' does that."
    if _content(path) != WHOLE:
        return "an attempt broke off, and what it left ended up in the next file: start with an empty one."
    return None


def _all_at_once(answer: Callable, path: Path) -> str | None:
    """Look at the memory that ten pieces of a megabyte take."""
    tracemalloc.start()
    try:
        answer(path, (bytes([k]) * 1_000_000 for k in range(10)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()  # it would slow down whatever is run next
    if peak > 6_000_000:
        return "all ten pieces were in memory at the same time: they might not fit. Write each one when it comes."
    return None


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


fails_first = Prediction(
    "lesson_10.fails_first",
    'Under a cap of 80 MB, which line of `usual_example` raises the error? Give its first word: "images", "dataset",'
    ' "loader" or "return".',
    belief="a TensorDataset with four workers handles data larger than memory, because a loader only holds batches: the"
    " second example of the usual answer to the question that the course starts from",
    answer="images",
    choices=("images", "dataset", "loader", "return"),
    because="`torch.randn` asks for all bytes at once. Dataset, loader and workers never come into being.",
    wrong={
        "dataset": "A `TensorDataset` copies nothing. It keeps the tensors it's given, so they must exist already.",
        "loader": "A loader makes batches when you iterate over it. Before that it takes next to no memory.",
        "return": "That's where workers would start and batches would come. It never gets that far.",
    },
    hints=["Which line makes the numbers?"],
)

scaled_map = Prediction(
    "lesson_10.scaled_map",
    "`images` is the map of our file: 251.66 MB of bytes (uint8). How many MB of private memory does the line"
    " `scaled = images / 255` ask for?",
    belief="a memory map is lazy, so whatever I compute from it stays on the disk (forum advice to use np.memmap,"
    " without a word on arithmetic), and a result is as large as what it was made of",
    answer=2013.27,
    within=15,
    because="Reading is lazy, arithmetic isn't: the result is a new array in memory. Dividing bytes gives float64,"
    " eight bytes for each one.",
    wrong={
        0: "The map's numbers are in the file. The result isn't: it has to go into memory.",
        251.66: "As many numbers, yes. But a byte divided by 255 isn't a byte any more.",
        1006.63: "That would be float32, PyTorch's usual type. NumPy divides bytes into a wider one.",
        503.32: "That would be two bytes for each number, a float16. NumPy uses a wider type.",
    },
    hints=[
        "Where is the result, in the file or in memory?",
        "Which type does NumPy give to a byte divided by a number?",
    ],
)

resident_size = Prediction(
    "lesson_10.resident_size",
    "A child maps the file and reads all 252 MB of it, under its cap of 80 MB. Does its resident memory grow"
    ' by less than 80 MB ("below") or by more ("above")?',
    belief="resident memory (RES in top, RSS in ps) is what counts against a limit; met wherever a leak is diagnosed"
    " from top",
    answer="above",
    choices=("below", "above"),
    because="Pages of the file count as resident while they're in memory, though the system may drop them at any time.",
    wrong={
        "below": "It would have to, if the cap counted resident memory. It counts private memory."
    },
    hints=["Where are the bytes of the file while they are added up, and who counts them?"],
)

pickled_map = Prediction(
    "lesson_10.pickled_map",
    "`KeepsMap` holds only the map of a file of 49 MB. How big is its pickle, in MB, to the nearest whole number?",
    belief="a memory map is a handle, so every worker opens the same file; forum advice on np.memmap with num_workers,"
    " and the expectation behind joblib's issue 38",
    answer=49,
    within=1,
    because="A map is an array, and an array is pickled with all of its numbers. Nothing in the pickle leads back to"
    " the file.",
    wrong={
        0: "That's what you'd get if NumPy stored the file's name. It stores the numbers.",
        98: "One pickle holds one copy. Two workers would get two.",
        393: "Bytes stay bytes: nothing is divided here.",
    },
    hints=["What does a pickle of any other NumPy array hold?"],
)

opened_map = Prediction(
    "lesson_10.opened_map",
    "`MappedImages` keeps a path, and its pickle is 0.16 MB. You look at one of the 20,480 images, then pickle the"
    " dataset again. How big is the pickle now, in MB, to the nearest whole number?",
    belief="open the file on first use, in `__getitem__`, and the dataset stays small to send; the usual advice for"
    " files that workers read, and it works as long as nobody looks at a sample first",
    answer=252,
    within=1,
    because="Looking opened the map, `self.images` now holds it, and a map is pickled with all of its numbers.",
    wrong={
        0: "It was before. What did the look put into `self.images`?",
        49: "That was the smaller file. This one has all 20,480 images.",
    },
    hints=["What is in `self.images` before the look, and what after it?"],
)

promised_rows = Prediction(
    "lesson_10.promised_rows",
    "The writer was supposed to write 1,000 images, and was killed after 600. We open the file. How many images does it"
    " claim to have?",
    belief="an unfinished file is short, or fails to open, so `if path.exists()` is a sound test for 'already done':"
    " the caching idiom of most preprocessing scripts",
    answer=1000,
    because="The length is in the header, the first bytes of the file, and the file got its full length at once.",
    wrong={
        600: "That's what was written. The header says what was planned.",
        0: "It opens without an error. Nothing in it says that it's unfinished.",
    },
    hints=["Which of the two does the file's header know: what was planned, or what was done?"],
)

which_number = Question(
    "lesson_10.which_number",
    "A training run without workers reads a memory map of 50 GB in a container that allows 4 GB. A monitor shows 3.9 GB"
    " resident. Which number tells you whether the run is about to be killed?",
    [
        Choice(
            "The 3.9 GB: hardly anything is left",
            "most of it may be pages of the file, which can be dropped.",
        ),
        Choice(
            "The 50 GB: it cannot fit",
            "a map reserves addresses, and takes memory only for what is being read.",
        ),
        Choice(
            "Its anonymous and shared memory",
            "nothing else has to stay. While that's far below 4 GB, all is well.",
            True,
        ),
        Choice(
            "The free memory of the machine",
            "the container's limit counts here, not what the machine has.",
        ),
    ],
    hints=["Which part of the memory can the system take back without asking?"],
)

from_file = Exercise(
    "lesson_10.from_file",
    """
    Write `FromFile`, a dataset over a `.npy` file of images: sample k is row k, as a tensor of bytes. The file is
    larger than the cap. A transform may change a sample in place. That must neither crash the process nor change the
    file.
    """,
    minutes=4,
    seconds=90,
    judge=judge_from_file,
    praise="the file is larger than the cap, every row was read, and a changed sample changed nothing else.",
    hints=[
        '`np.load(path, mmap_mode="r")` in `__init__`; its length is the number of images.',
        "Copy one row, `self.images[index]`, and hand it to `torch.from_numpy`.",
    ],
    code="""
    import numpy as np
    import torch
    from torch.utils.data import Dataset


    class FromFile(Dataset):
        def __init__(self, path):
            self.images = np.load(path, mmap_mode="r")

        def __len__(self):
            return len(self.images)

        def __getitem__(self, index):
            row = self.images[index].copy()
            return torch.from_numpy(row)
    """,
)

mean_and_std = Exercise(
    "lesson_10.mean_and_std",
    """
    `mean_and_std(path)` returns the mean and standard deviation of all numbers in a file, scaled to 0 to 1. It maps the
    file, but still runs out of memory. Repair it so that it works under the cap of 80 MB, however long the file is.
    """,
    minutes=4,
    seconds=90,
    given="""
    def mean_and_std(path):
        images = np.load(path, mmap_mode="r") / 255
        return images.mean(), images.std()
    """,
    judge=judge_mean_and_std,
    praise="both numbers are right, and only a block was in memory at a time.",
    hints=[
        "Take a block of the map, `images[k : k + 256]`, and divide that.",
        "Add up three things over the blocks: the numbers, their squares, and how many there are.",
        "The variance is the mean of the squares minus the square of the mean.",
    ],
    code="""
    import numpy as np


    def mean_and_std(path):
        images = np.load(path, mmap_mode="r")
        total = squares = count = 0
        for k in range(0, len(images), 256):
            block = images[k : k + 256] / 255
            total += block.sum()
            squares += (block**2).sum()
            count += block.size
        mean = total / count
        return mean, (squares / count - mean**2) ** 0.5
    """,
)

write_whole = Exercise(
    "lesson_10.write_whole",
    """
    Write `write_whole(path, parts)`. It writes the pieces of bytes that `parts` yields, in order, to `path` (a `Path`):
    `write_whole(path, [b"ab", b"c"])`. Whenever the process is killed, `path` holds either the whole new content or
    what was there before. Don't collect the pieces: together they might not fit into memory. Leftovers of an earlier
    attempt must not matter. If `parts` raises an error, let it through. `os.replace(old, new)` renames a file in a
    single step, within one disk.
    """,
    minutes=4,
    judge=judge_write_whole,
    praise="old or new, and never half of it.",
    hints=[
        "Write under a different name in the same folder, one piece after the other: `for part in parts`.",
        "When is it safe to give the file its name?",
    ],
    code="""
    import os


    def write_whole(path, parts):
        partial = path.with_name(path.name + ".partial")
        with open(partial, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())  # on the disk before the name points to it
        os.replace(partial, path)
    """,
)
