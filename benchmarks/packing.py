"""How fast are images packed and verified, and how long until the first batch of an epoch?

    python benchmarks/packing.py

1. Packing a folder of JPEG files, warm in the page cache, with one process and with one for each core, beside decoding
   alone: the same files decoded and scaled in as many processes, and thrown away.
2. Verifying the file, beside the speed of SHA-256 over bytes in memory.
3. The wait before the first batch: of a shuffled order of 10 million samples, beside torch's own, and of the import.
"""

import hashlib
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from PIL import Image
from report import Report, middle, options, paired, take_turns
from torch.utils.data import BatchSampler, RandomSampler, Sampler

from dlhelpers.data import BlockShuffleSampler
from dlhelpers.data.folders import decode_image
from dlhelpers.machine import cores
from dlhelpers.packed import PackedWriter, pack_folder, verify

SIZE, WIDTH, HEIGHT = (
    224,
    500,
    375,
)  # pixels of a packed image, and of a file, as in common photo collections
SAMPLES = 10_000_000
IMPORT = (
    "from time import perf_counter as now; begin = now(); import dlhelpers; print(now() - begin)"
)


def write_files(folder: Path, count: int) -> list[Path]:
    """Write JPEG files of smooth shapes with some noise, ten classes, and return their paths."""
    random, paths = np.random.default_rng(0), []
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.int16)
        noisy = smooth + random.integers(-12, 13, smooth.shape, dtype=np.int16)
        path = folder / f"class{number % 10}" / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)
        paths.append(path)
    return paths


def decode(path: Path) -> None:
    """Read, decode and scale one file as packing does, and keep nothing."""
    decode_image(path, SIZE)


def seconds(work: Callable[[], object]) -> float:
    """Return what a call takes."""
    begin = perf_counter()
    work()
    return perf_counter() - begin


def pack_speed(report: Report, folder: Path, count: int, rounds: int) -> None:
    """Measure images a second of packing, with one process and with all, and of decoding alone."""
    paths = write_files(folder / "files", count)

    def packing(processes: int, number: int) -> float:
        options = {"size": SIZE, "processes": processes, "progress": False}
        with tempfile.TemporaryDirectory(dir=folder) as target:
            return count / seconds(lambda: pack_folder(folder / "files", target, **options))

    def decoding(pool: Pool, number: int) -> float:
        return count / seconds(lambda: pool.map(decode, paths, chunksize=16))

    with get_context("fork").Pool(cores()) as pool:
        every, alone = f"packing, {cores()} processes", f"decoding alone, {cores()} processes"
        arms = {"packing, 1 process": partial(packing, 1), every: partial(packing, cores())}
        found = take_turns({**arms, alone: partial(decoding, pool)}, rounds)
    title = f"{count} JPEG files of {WIDTH} x {HEIGHT} to {SIZE} x {SIZE}"
    report.panel(title, "images a second", found, ours=arms)
    if cores() > 1:
        report.goal(
            "packing with all cores against one process",
            middle(paired(found[every], found["packing, 1 process"])),
            ">=",
            1.5,
        )
    report.goal(
        "packing against decoding alone", middle(paired(found[every], found[alone])), ">=", 0.8
    )


def verify_speed(report: Report, folder: Path, size: int, rounds: int) -> None:
    """Measure bytes a second of verifying a dataset, and of hashing as many bytes in memory."""
    images = np.random.default_rng(0).integers(0, 256, (1000, 3, 64, 64), dtype=np.uint8)
    with PackedWriter(folder / "packed", classes=["one"], shape=(3, 64, 64)) as writer:
        for _ in range(size // images.nbytes):
            writer.add(images, np.zeros(len(images), np.int64))
    block = images.tobytes() * 4

    def verifying(number: int) -> float:
        begin = perf_counter()
        found = verify(folder / "packed", progress=False)
        if not found.ok:
            raise SystemExit(f"the dataset is not whole: {found}")
        return found.bytes / (perf_counter() - begin) / 1e9

    def hashing(threads: int, number: int) -> float:
        with ThreadPoolExecutor(threads) as pool:
            taken = seconds(lambda: list(pool.map(hashlib.sha256, [block] * 2 * threads)))
        return 2 * threads * len(block) / taken / 1e9

    all_cores = f"SHA-256 in memory, {cores()} threads"
    arms = {
        "verify": verifying,
        "SHA-256 in memory, 1 thread": partial(hashing, 1),
        all_cores: partial(hashing, cores()),
    }
    found = take_turns(arms, rounds)
    report.panel(f"Verifying {size / 1e9:.1f} GB", "GB a second", found, ours=["verify"])
    once = middle(paired(found["verify"], found["SHA-256 in memory, 1 thread"]))
    report.goal("verify against SHA-256 in one thread, times the cores", once / cores(), ">=", 0.8)
    report.goal(
        "verify against SHA-256 in as many threads",
        middle(paired(found["verify"], found[all_cores])),
        ">=",
        0.8,
    )


def waits(report: Report, rounds: int) -> None:
    """Measure the milliseconds before a first batch, and what memory an order takes."""

    def first_batch(make: Callable[[], Sampler], number: int) -> float:
        return 1000 * seconds(lambda: next(iter(BatchSampler(make(), 64, drop_last=False))))

    def importing(number: int) -> float:
        command = [sys.executable, "-c", IMPORT]
        return 1000 * float(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout
        )

    ours, torchs = partial(BlockShuffleSampler, SAMPLES), partial(RandomSampler, range(SAMPLES))
    block, random = (
        f"first batch of {SAMPLES:,}: ours",
        f"first batch of {SAMPLES:,}: RandomSampler",
    )
    arms = {
        "import dlhelpers": importing,
        block: partial(first_batch, ours),
        random: partial(first_batch, torchs),
    }
    found, peaks = take_turns(arms, rounds), {}
    report.panel("What one waits for", "milliseconds", found, ours=["import dlhelpers", block])
    for name, make in ((block, ours), (random, torchs)):
        tracemalloc.start()
        next(iter(BatchSampler(make(), 64, drop_last=False)))
        peaks[name] = [tracemalloc.get_traced_memory()[1] / 1e6]
        tracemalloc.stop()
    report.panel(
        "Memory for the first batch, as Python and NumPy count it", "MB", peaks, ours=[block]
    )
    report.goal("milliseconds to the first batch", middle(found[block]), "<=", 50)
    report.goal("MB to the first batch", peaks[block][0], "<=", 5)
    report.goal("milliseconds to import dlhelpers", middle(found["import dlhelpers"]), "<=", 50)


def main() -> None:
    """Print machine and versions, measure the three parts, and save the report."""
    asked = options(__doc__).parse_args()
    torch.set_num_threads(1)
    question = "How fast are images packed and verified, and how long until the first batch?"
    report = Report("packing", question, ["pillow"], quick=asked.quick)
    count, size, rounds = (300, 100_000_000, 2) if asked.quick else (3_000, 1_200_000_000, 5)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        pack_speed(report, Path(folder), count, rounds)
        verify_speed(report, Path(folder), size, rounds)
    waits(report, rounds)
    report.save()


if __name__ == "__main__":
    main()
