"""Train on a packed dataset with one process or with many: the script is the same, torchrun decides.

    python examples/train_distributed.py packed/train --valid packed/valid
    torchrun --standalone --nproc-per-node=2 --max-restarts=3 examples/train_distributed.py packed/train

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
from torch.utils.data import DataLoader

from dlhelpers.data import BlockShuffleSampler
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


def loader_of(folder: Path, options: argparse.Namespace, ranks: Ranks) -> DataLoader:
    """Return a loader of this rank's part of a packed folder; over all ranks each sample comes once."""
    dataset = PackedDataset(folder, transform=to_float)
    sampler = BlockShuffleSampler(
        len(dataset), seed=options.seed, rank=ranks.rank, world=ranks.world
    )
    return DataLoader(
        dataset,
        options.batch_size,
        sampler=sampler,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
    )


def train(options: argparse.Namespace, ranks: Ranks, device: torch.device) -> History:
    """Train from the checkpoint, or from the start where there is none, up to the epochs asked for."""
    train_loader = loader_of(options.train, options, ranks)
    valid_loader = loader_of(options.valid, options, ranks) if options.valid else None
    torch.manual_seed(options.seed)  # the same first weights on every rank
    shape, classes = train_loader.dataset.shape, train_loader.dataset.classes
    model = DistributedDataParallel(network(shape[0], len(classes)).to(device))
    optimizer = torch.optim.SGD(model.parameters(), lr=options.lr, momentum=0.9)
    history = History()
    if options.checkpoint.exists():
        history = load_checkpoint(options.checkpoint, model, optimizer)
        if ranks.first:
            print(f"going on after epoch {history.epochs}", flush=True)
    if history.epochs < options.epochs:
        fit(
            model,
            train_loader,
            nn.CrossEntropyLoss(),
            optimizer,
            epochs=options.epochs - history.epochs,
            valid_loader=valid_loader,
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
    parser.add_argument("train", type=Path, help="packed folder to train on")
    parser.add_argument("--valid", type=Path, help="packed folder to measure on after each epoch")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=Path("run.pt"),
        help="written after each epoch, read first",
    )
    parser.add_argument("--history", type=Path, help="file for the losses and metrics, as JSON")
    parser.add_argument(
        "--epochs", type=int, default=3, help="epochs in all, those of the checkpoint among them"
    )
    parser.add_argument("--batch-size", type=int, default=64, help="samples a step on each rank")
    parser.add_argument("--lr", type=float, default=0.05, help="learning rate")
    parser.add_argument("--seed", type=int, default=0, help="decides on weights, order and dropout")
    parser.add_argument(
        "--workers", type=int, default=0, help="worker processes that load for each rank"
    )
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
