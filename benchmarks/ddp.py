"""How much faster do two processes train than one, and what does sharing an epoch between thousands cost?

    python benchmarks/ddp.py                starts torchrun by itself

1. Processes on the CPU (gloo), one thread each, take turns with one process alone: the same model, the same samples,
   the same samples in an optimizer step of all. Once by `fit`, once by the bare loop in DistributedDataParallel.
2. The split of 100 million samples between up to 4,096 ranks, timed on single ranks, with no processes.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter

import torch
import torch.distributed as dist
from report import Report, middle, options, paired, take_turns
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset

from dlhelpers.data import POLICIES, BlockShuffleSampler, split_epoch
from dlhelpers.machine import cores
from dlhelpers.train import Ranks, fit, process_group

LOSS_FN = nn.CrossEntropyLoss()
STEP = 64  # samples in an optimizer step of all ranks
SAMPLES, WORLDS = 100_000_000, (64, 1024, 4096)
Loop = Callable[[nn.Module, DataLoader, SGD], object]


def network() -> nn.Module:
    """Return a convolutional network large enough that its arithmetic outweighs the exchange of its gradients."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(1024, 10),
    )


def bare(model: nn.Module, loader: DataLoader, optimizer: SGD) -> None:
    """The five lines every PyTorch loop has, and nothing else."""
    for inputs, targets in loader:
        optimizer.zero_grad()
        loss = LOSS_FN(model(inputs), targets)
        loss.backward()
        optimizer.step()


def by_fit(model: nn.Module, loader: DataLoader, optimizer: SGD) -> None:
    """`fit`, as a script under torchrun calls it."""
    fit(model, loader, LOSS_FN, optimizer, epochs=1, progress=False)


def samples_a_second(loop: Loop, samples: int, ranks: Ranks) -> float:
    """Return the samples a second of all ranks together in one epoch, until the last has finished."""
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(samples, 3, 32, 32), torch.randint(10, (samples,)))
    sampler = BlockShuffleSampler(samples, rank=ranks.rank, world=ranks.world)
    loader = DataLoader(data, STEP // ranks.world, sampler=sampler)
    model = network() if ranks.world == 1 else DistributedDataParallel(network())
    optimizer = SGD(model.parameters(), lr=0.01)
    dist.barrier()
    begin = perf_counter()
    loop(model, loader, optimizer)
    dist.barrier()
    return samples / (perf_counter() - begin)


def as_rank(samples: int, found: Path) -> None:
    """What each process does that torchrun started: both loops, there and back, and rank 0 writes the mean speeds."""
    torch.set_num_threads(1)
    with process_group() as ranks:
        loops = {"fit": by_fit, "bare loop": bare}
        for loop in loops.values():
            samples_a_second(loop, 4 * STEP, ranks)
        turns = [*loops, *reversed(loops)]  # the first loop of a process is slower, whichever it is
        tries = [(name, samples_a_second(loops[name], samples, ranks)) for name in turns]
        speeds = {name: sum(speed for one, speed in tries if one == name) / 2 for name in loops}
        if ranks.first:
            found.write_text(json.dumps(speeds), encoding="utf-8")


def launched(processes: int, samples: int) -> dict[str, float]:
    """Start this script in so many processes, and return the speed of each loop."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "speeds.json"
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={processes}",
            __file__,
            "--as-rank",
            str(found),
            "--samples",
            str(samples),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"torchrun ended with {done.returncode}:\n{done.stderr}")
        return json.loads(found.read_text(encoding="utf-8"))


def scaling(report: Report, samples: int, rounds: int) -> None:
    """Compare one process with two, and with one for each core where there are more; each round starts them anew."""
    counts = sorted({1, 2, cores()} - ({cores()} if STEP % cores() else set()))
    speeds: dict[str, list[float]] = {}
    for number in range(rounds):
        for processes in counts if number % 2 == 0 else counts[::-1]:
            for loop, speed in launched(processes, samples).items():
                speeds.setdefault(
                    f"{loop}, {processes} process{'es' * (processes > 1)}", []
                ).append(speed)
    speeds = {name: speeds[name] for name in sorted(speeds)}
    ours = [name for name in speeds if name.startswith("fit")]
    report.panel(
        f"{samples} images of 32 x 32, {STEP} in a step of all",
        "samples a second",
        speeds,
        ours=ours,
    )
    if cores() < 2:
        print(
            "one core only: two processes cannot be faster than one, and nothing is asked of them"
        )
        return
    report.goal(
        "fit: two processes against one",
        middle(paired(speeds["fit, 2 processes"], speeds["fit, 1 process"])),
        ">=",
        1.5,
    )
    ratios = middle(paired(speeds["fit, 2 processes"], speeds["bare loop, 2 processes"]))
    report.goal("fit against the bare loop, both with two processes", ratios, ">=", 0.96)


def split_times(report: Report, rounds: int) -> None:
    """Time what one rank does to know its share, to its last place, and what the sampler does up to its first index."""

    def share(world: int, number: int) -> float:
        begin = perf_counter()
        for policy in POLICIES:
            split = split_epoch(SAMPLES, rank=world - 1, world=world, policy=policy)
            split.position(len(split) - 1)
        return 1000 * (perf_counter() - begin) / len(POLICIES)

    def first(world: int, number: int) -> float:
        begin = perf_counter()
        next(iter(BlockShuffleSampler(SAMPLES, rank=world - 1, world=world)))
        return 1000 * (perf_counter() - begin)

    arms = {f"split_epoch, {world} ranks": partial(share, world) for world in WORLDS}
    arms |= {
        f"sampler to its first index, {world} ranks": partial(first, world) for world in WORLDS
    }
    found = take_turns(arms, rounds)
    report.panel(
        f"An epoch of {SAMPLES:,} samples: one rank's split", "milliseconds", found, ours=found
    )
    report.goal(
        "slowest split, sampler's first index included, in milliseconds",
        max(middle(values) for values in found.values()),
        "<=",
        10,
    )


def main() -> None:
    """Print machine and versions, measure both parts, and save the report; under torchrun be one rank."""
    parser = options(__doc__)
    parser.add_argument("--samples", type=int, default=1_280, help="images in an epoch")
    parser.add_argument(
        "--as-rank", type=Path, metavar="FILE", help="for torchrun: measure as one rank"
    )
    asked = parser.parse_args()
    if asked.as_rank:
        as_rank(asked.samples, asked.as_rank)
        return
    torch.set_num_threads(1)
    question = "How much faster do several processes train, and what does sharing an epoch cost?"
    report = Report("ddp", question, quick=asked.quick)
    scaling(report, 640 if asked.quick else asked.samples, 1 if asked.quick else 3)
    split_times(report, 3 if asked.quick else 30)
    report.save()


if __name__ == "__main__":
    main()
