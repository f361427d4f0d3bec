"""Which batch size does a study find under a limit, and how far is that from the true one? Beside Lightning's finder.

    python benchmarks/study.py                Linux only: elsewhere no process can be given such a limit

1. A hard cap on private memory (RLIMIT_DATA): memory that runs out is an error, which can be caught. The true limit is
   found by training in fresh children under the same cap, doubling and then halving the interval.
2. A keeper that kills at a limit, which the variable MEM_LIMIT tells, as on Binder: a finder that waits
   for an error does not get one.
"""

import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from time import sleep

import psutil
import torch
from peer_loops import LOSS_FN, lightning_parts
from report import Report, options
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dlhelpers.machine import human_bytes, memory_use, run_limited
from dlhelpers.measure import study_batch_sizes

MODEL = nn.Sequential(
    nn.Conv2d(3, 16, 3),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 16, 3),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(16 * 29 * 29, 10),
)
HIGHEST = 4096  # no size that runs under these limits is as large
OURS = "study_batch_sizes"
Finder = Callable[[int], int]  # from the largest size it may try to the one it found


def make_batch(size: int) -> tuple[Tensor, Tensor]:
    """Return a batch of images of 64 x 64 pixels."""
    return torch.zeros(size, 3, 64, 64), torch.zeros(size, dtype=torch.int64)


def runs(size: int) -> bool:
    """Train three steps on a batch of a size, as both finders do; an error tells that it does not fit."""
    optimizer = torch.optim.SGD(MODEL.parameters(), lr=0.01)
    batch = make_batch(size)
    for _ in range(3):
        optimizer.zero_grad()
        LOSS_FN(MODEL(batch[0]), batch[1]).backward()
        optimizer.step()
    return True


def ours(highest: int) -> int:
    """Return the largest size of our study."""
    return study_batch_sizes(MODEL, make_batch, LOSS_FN, limit=highest).largest


def by_lightning(mode: str, highest: int) -> int:
    """Return the size of Lightning's finder; its dataset is one image said to be many, which takes no memory."""
    import lightning
    from lightning.pytorch.tuner import Tuner

    class Data(lightning.LightningDataModule):
        batch_size = 2

        def train_dataloader(self) -> DataLoader:
            image, label = make_batch(1)
            many = TensorDataset(image.expand(4 * HIGHEST, 3, 64, 64), label.expand(4 * HIGHEST))
            return DataLoader(many, self.batch_size)

    settings = {"mode": mode, "init_val": 2, "steps_per_trial": 3, "max_val": highest}
    # it writes the weights there, and reads them again
    with tempfile.TemporaryDirectory() as folder:
        optimizer = torch.optim.SGD(MODEL.parameters(), lr=0.01)
        module, trainer = lightning_parts(MODEL, optimizer, max_epochs=1, default_root_dir=folder)
        return Tuner(trainer).scale_batch_size(module, datamodule=Data(), **settings)


def true_limit(cap: int) -> int:
    """Return the largest size that trains under the cap, each tried in a child of its own."""

    def fits(size: int) -> bool:
        run = run_limited(runs, size, limit=cap)
        if (
            run.outcome not in ("returned", "out of memory")
            and "create a primitive" not in run.error
        ):
            raise SystemExit(f"size {size}: {run}")
        return run.outcome == "returned"

    low = 1
    while fits(2 * low):
        low *= 2
    high = 2 * low
    while high - low > max(1, low // 64):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def under_cap(finder: Finder, cap: int) -> tuple[int, float]:
    """Return the size that a finder gives in a child under the cap, 0 where the child failed, and its seconds."""
    run = run_limited(finder, HIGHEST, limit=cap)
    if run.outcome != "returned":
        print(f"    {run}")
    return run.value or 0, run.seconds


def under_keeper(finder: Finder, room: int) -> int:
    """Return the size that a finder gives in a child that is killed above the limit; 0 where it was killed."""
    limit = memory_use().private + room  # a forked child begins with what its parent holds

    def answer() -> None:
        os.environ["MEM_LIMIT"] = str(limit)
        child.send(finder(HIGHEST))

    parent, child = get_context("fork").Pipe()
    process = get_context("fork").Process(target=answer)
    process.start()
    while process.is_alive():
        with suppress(psutil.Error):  # it ended meanwhile
            if memory_use(process.pid).private > limit:
                process.kill()
        sleep(0.002)
    process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise SystemExit(
            f"the child of a finder ended with {process.exitcode}, which says nothing of its memory"
        )
    return parent.recv() if process.exitcode == 0 else 0


def main() -> None:
    """Print what each finder found, beside the true limit, and save the report."""
    asked = options(__doc__).parse_args()
    if sys.platform != "linux":
        raise SystemExit(
            "only Linux can cap the private memory of a process: nothing is measured here"
        )
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    question = (
        "Which batch size does a study find under a limit of memory, and what is the true one?"
    )
    report = Report("study", question, ["lightning"], quick=asked.quick)
    finders: dict[str, Finder] = {OURS: ours}
    if not report.missing:
        finders |= {
            f"Lightning, {mode}": partial(by_lightning, mode) for mode in ("power", "binsearch")
        }
    runs(2)
    for finder in finders.values():
        finder(4)  # here, since what is imported on the way would take a child's memory and time
    for room in (200_000_000,) if asked.quick else (150_000_000, 400_000_000):
        true = true_limit(room)
        sizes = {name: [] for name in finders}
        seconds = {name: [] for name in finders}
        for _ in range(1 if asked.quick else 3):
            for name, finder in finders.items():
                size, taken = under_cap(finder, room)
                sizes[name].append(size)
                seconds[name].append(taken)
        title = f"Under a cap of {human_bytes(room)}"
        report.panel(title, "batch size found", {"the true limit": [true], **sizes}, ours=[OURS])
        report.panel(title, "seconds to find it", seconds, ours=[OURS])
        smallest, largest = min(sizes[OURS]) / true, max(sizes[OURS]) / true
        part = "size found, as a part of the true limit"
        report.goal(f"{title}: smallest {part}", smallest, ">=", 0.5)
        report.goal(f"{title}: largest {part}", largest, "<=", 1)
    room, tries = 500_000_000, 1 if asked.quick else 3
    sizes = {
        name: [under_keeper(finder, room) for _ in range(tries)] for name, finder in finders.items()
    }
    title = f"Killed above {human_bytes(room)}"
    report.panel(title, "batch size found; 0: killed", sizes, ours=[OURS])
    what = "our study ends by itself each time: the smallest size it found"
    report.goal(what, min(sizes[OURS]), ">=", 2)
    report.save()


if __name__ == "__main__":
    main()
