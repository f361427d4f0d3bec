"""Train with one process or with many: the script is the same, torchrun decides.

    python examples/train_distributed.py
    torchrun --standalone --nproc-per-node=2 --max-restarts=3 examples/train_distributed.py

Without a folder it trains on small drawings that it makes itself; a packed folder takes their place:

    torchrun --standalone --nproc-per-node=2 examples/train_distributed.py packed/train --valid packed/valid

On several machines, start the same command on each; the checkpoint has to lie on a disk that all of them see:

    torchrun --nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 --rdzv-id=run1 \\
        --max-restarts=3 examples/train_distributed.py packed/train --checkpoint /shared/run1.pt

A run that was killed goes on from its checkpoint: torchrun starts the processes again, or you do, with the same
command. Each rank takes --batch-size samples a step, so a step of all takes ranks x batch size.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate

from dlhelpers.data import BlockShuffleSampler, Shapes
from dlhelpers.packed import PackedDataset, to_float
from dlhelpers.train import (
    History,
    Ranks,
    accuracy,
    fit,
    load_checkpoint,
    process_group,
    rank_device,
)


def network(channels: int, classes: int) -> nn.Module:
    """Return a small network for images of any size from 4 x 4 pixels on."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, classes),
    )


def drawings(samples: int, seed: int) -> Dataset:
    """Return a dataset of small drawings in memory, the same on every rank."""
    shapes = Shapes(samples, size=16, seed=seed)
    return TensorDataset(*default_collate([shapes[number] for number in range(samples)]))


def loader_of(dataset: Dataset, options: argparse.Namespace, ranks: Ranks) -> DataLoader:
    """Return a loader of this rank's part of a dataset; over all ranks each sample comes once."""
    place = {"rank": ranks.rank, "world": ranks.world}
    sampler = BlockShuffleSampler(len(dataset), seed=options.seed, **place)
    workers = {"num_workers": options.workers, "persistent_workers": options.workers > 0}
    return DataLoader(dataset, options.batch_size, sampler=sampler, **workers)


def train(options: argparse.Namespace, ranks: Ranks, device: torch.device) -> History:
    """Train from the checkpoint, or from the start where there is none, up to the epochs asked for."""
    valid = None
    if options.train:
        data = PackedDataset(options.train, transform=to_float)
        channels, classes = data.shape[0], len(data.classes)
        if options.valid:
            valid = PackedDataset(options.valid, transform=to_float)
    else:
        data, valid = drawings(options.samples, seed=0), drawings(100, seed=1)
        channels, classes = data[0][0].shape[0], len(Shapes(1).classes)
    torch.manual_seed(options.seed)  # the same first weights on every rank
    model = DistributedDataParallel(network(channels, classes).to(device))
    optimizer = torch.optim.SGD(model.parameters(), lr=options.lr, momentum=0.9)
    history = History()
    if options.checkpoint.exists():
        history = load_checkpoint(options.checkpoint, model, optimizer)
        if ranks.first:
            print(f"going on after epoch {history.epochs}", flush=True)
    if history.epochs < options.epochs:
        fit(
            model,
            loader_of(data, options, ranks),
            nn.CrossEntropyLoss(),
            optimizer,
            epochs=options.epochs - history.epochs,
            valid_loader=loader_of(valid, options, ranks) if valid else None,
            metrics={"accuracy": accuracy},
            history=history,
            checkpoint=options.checkpoint,
            seed=options.seed,
        )
    return history


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("train", type=Path, nargs="?", help="packed folder to train on, else drawings")
    add("--valid", type=Path, help="packed folder to measure on after each epoch")
    add("--samples", type=int, default=1_001, help="drawings, where no folder is given")
    add("--checkpoint", type=Path, default=Path("run.pt"), help="written after each epoch")
    add("--history", type=Path, help="file for the losses and metrics, as JSON")
    add("--epochs", type=int, default=3, help="epochs in all, with those of the checkpoint")
    add("--batch-size", type=int, default=64, help="samples a step on each rank")
    add("--lr", type=float, default=0.05, help="learning rate")
    add("--seed", type=int, default=0, help="decides on weights, order and dropout")
    add("--workers", type=int, default=0, help="worker processes that load for each rank")
    return parser.parse_args(arguments)


def main() -> None:
    """Train, and print the history on rank 0."""
    options = read_options()
    device = rank_device()
    with process_group(device) as ranks:
        history = train(options, ranks, device)
        if ranks.first:
            print(history)
            if options.history:
                options.history.write_text(json.dumps(history.to_dict()))
    raise SystemExit(130 if history.interrupted else 0)


if __name__ == "__main__":
    main()
