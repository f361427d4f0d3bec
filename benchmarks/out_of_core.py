"""Does memory stay flat while the dataset grows? Train on up to 3 GB under hard caps.

    python benchmarks/out_of_core.py            needs 5 GB of disk for some minutes, and root for the last part

1. Datasets of 94 MB to 1.5 GB, one epoch each under RLIMIT_DATA: 537 MB of private memory beyond what the imports hold.
2. Where control groups can be made (Linux, root): 3 GB inside a group of 1 GB, page cache included, swap off.
"""

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import torch
from report import Report, options
from torch import nn

from dlhelpers.machine import human_bytes, run_limited

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
from capped_examples import train, write_packed  # noqa: E402
from memory_group import MemoryGroup, enter, memory_group  # noqa: E402  (the line above finds it)

IMAGE_BYTES = 3 * 64 * 64 + 8
SMALLEST, TIMES, LIMIT = 94_000_000, (1, 4, 16), 512 * 2**20
IN_GROUP, GROUP_LIMIT = 3_000_000_000, 1_000_000_000


def model_and_optimizer() -> tuple[nn.Module, torch.optim.Optimizer]:
    """A small model and its optimizer."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 64), nn.ReLU(), nn.Linear(64, 3))
    return model, torch.optim.SGD(model.parameters(), lr=0.05)


def grow(report: Report, folder: Path, times: tuple[int, ...]) -> None:
    """Train on datasets of growing size under the cap, and keep each peak; SystemExit where one does not return."""
    peaks, found = [], {"the cap on private memory": [LIMIT / 1e6]}
    for factor in times:
        place, size = folder / str(factor), factor * SMALLEST
        write_packed(place, size // IMAGE_BYTES)
        run = run_limited(train, place, *model_and_optimizer(), limit=LIMIT)
        if run.outcome != "returned":
            raise SystemExit(f"{human_bytes(size)}: {run}")
        peaks.append(run.peak_private / 1e6)
        found[f"{human_bytes(size)} of data: private memory"] = peaks[-1:]
        found[f"{human_bytes(size)} of data: pages of files"] = [(run.peak_file_backed or 0) / 1e6]
    ours = [name for name in found if name.endswith("data: private memory")]
    report.panel(
        "Peak of an epoch by size of dataset (pages of files may be dropped)",
        "MB",
        found,
        ours=ours,
    )
    report.goal(
        f"MB of private memory more for {times[-1]} times the data", peaks[-1] - peaks[0], "<=", 32
    )


def inside(group: Path, place: Path) -> None:
    """Enter the group, write the dataset and train on it: what the child does."""
    enter(group)
    write_packed(place, IN_GROUP // IMAGE_BYTES)
    weights = train(place, *model_and_optimizer())
    if not all(torch.isfinite(value).all() for value in weights.values()):
        raise SystemExit("training gave no finite weights")


def in_group(report: Report, group: MemoryGroup) -> None:
    """Train in a child inside the group, and keep the group's peak."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        done = subprocess.run([sys.executable, __file__, "--inside", str(group.folder), folder])
    data, limit = human_bytes(IN_GROUP), human_bytes(GROUP_LIMIT)
    found = {f"{data} of data": [group.peak / 1e6]}
    report.panel(
        f"Peak of a control group of {limit}, page cache included", "MB", found, ours=found
    )
    print(group.pressed)
    report.goal(
        f"{data} written and trained on in a group of {limit}: exit code", done.returncode, "<=", 0
    )


def main() -> None:
    """Print machine and versions, the peaks under the cap, and what the group counted, and save the report."""
    parser = options(__doc__)
    parser.add_argument(
        "--inside", nargs=2, type=Path, metavar=("GROUP", "FOLDER"), help="for the child in a group"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.inside:
        inside(*asked.inside)
        return
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    report = Report(
        "out_of_core", "Does memory stay flat while the dataset grows?", quick=asked.quick
    )
    with tempfile.TemporaryDirectory(dir=".") as folder:
        grow(report, Path(folder), TIMES[:2] if asked.quick else TIMES)
    if not asked.quick:
        with ExitStack() as stack:
            try:
                group = stack.enter_context(memory_group("dlhelpers-benchmark", GROUP_LIMIT))
            except OSError as error:
                print(f"no control group can be made here ({error}): the last part is left out")
            else:
                in_group(report, group)
    report.save()


if __name__ == "__main__":
    main()
