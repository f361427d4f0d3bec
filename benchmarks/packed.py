"""How fast does a shuffled epoch come out of a packed dataset, and out of the formats that others use?

    python benchmarks/packed.py --passes 3

Every reader holds the same images and labels on the same disk, warm in the page cache. The readers take turns, pass by
pass, in one process, one thread, no workers. Shuffled means: in random order where the format can, by a shuffle buffer
where it cannot (webdataset), and chunk by chunk for litdata.
"""

import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from formats import PEERS, Reader, by_files, by_gather, by_packed
from report import Report, middle, options, paired, take_turns

CASES = (
    (50_000, 32, 256, 5, (0.75, 0.88)),
    (4_000, 224, 64, 1.8, (0.85, 0.85)),
)  # images, side in pixels, batch size, times the best peer, of the plain gather for each of ours
BOUNDS = (
    "plain gather, no DataLoader",
    "plain gather, in a DataLoader",
)  # one memory map, no checks
FILES = "a PNG file for each image"
OURS = ("packed, shuffle=True", "packed, batches of arrays")


def images_a_second(reader: Reader, count: int, number: int) -> float:
    """Return the speed of one epoch in thousands; SystemExit unless each image came once."""
    batches, seen = reader(number), 0
    begin = perf_counter()
    for images, _ in batches:
        seen += len(images)
    if seen != count:
        raise SystemExit(f"{seen} images came instead of {count}: nothing can be compared")
    return count / (perf_counter() - begin) / 1000


def main() -> None:
    """Print machine and versions, measure all readers for each size of image, and save the report."""
    parser = options(__doc__)
    parser.add_argument(
        "--passes", type=int, default=3, help="timed epochs of each reader, after one to warm up"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    question = "How fast does a shuffled epoch come out of a format?"
    report = Report("packed", question, [*PEERS, "pillow"], quick=asked.quick)
    for count, side, size, times, parts in CASES:
        count //= 10 if asked.quick else 1
        random = np.random.default_rng(0)
        data = (
            random.integers(0, 256, (count, 3, side, side), dtype=np.uint8),
            random.integers(0, 10, count),
            size,
        )
        with tempfile.TemporaryDirectory() as folder:
            readers = dict(zip(BOUNDS, by_gather(Path(folder), *data), strict=True))
            readers |= zip(OURS, by_packed(Path(folder), *data), strict=True)
            for name in (peer for peer in PEERS if peer not in report.missing):
                readers[f"{name} {report.versions[name]}"] = PEERS[name](Path(folder), *data)
            readers[FILES] = by_files(Path(folder), *data)
            arms = {
                name: partial(images_a_second, reader, count) for name, reader in readers.items()
            }
            found = take_turns(arms, asked.passes)
        title = f"{count} images {side} x {side}, batches of {size}"
        report.panel(title, "thousand images a second", found, ours=OURS)
        best = max(
            (name for name in found if name not in (*BOUNDS, *OURS)),
            key=lambda name: middle(found[name]),
        )
        for name, part in zip(OURS, parts, strict=True):
            against = middle(paired(found[name], found[best]))
            report.goal(
                f"{name}, {side} x {side}, against the best peer, {best}", against, ">=", times
            )
            against = middle(paired(found[name], found[BOUNDS[0]]))
            report.goal(f"{name}, {side} x {side}, against the {BOUNDS[0]}", against, ">=", part)
    report.save()


if __name__ == "__main__":
    main()
