"""Plan a training before it runs: what it will count and what it will take, with the formula beside each number.

Counts are exact, and `Plan.compare` checks them against the history of `fit`. The peak is a prediction, made from two
small passes of a copy of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.data import DataLoader, TensorDataset

from dlhelpers.base.checks import check_whole
from dlhelpers.base.sizes import human_bytes
from dlhelpers.base.tables import ShownAsTable, Table
from dlhelpers.data.batch_counts import batches_per_epoch, describe, tensors_in
from dlhelpers.data.sampling import split_epoch
from dlhelpers.measure.trials import OptimizerFn, Rehearsal, plain_sgd, undisturbed
from dlhelpers.train.history import History
from dlhelpers.train.ranks import place_in

Count = int | None  # None where it cannot be known


@dataclass(frozen=True, repr=False)
class Plan(ShownAsTable):
    """The numbers of a training, None where one cannot be known. Shown as a table with each number's formula.

    samples            in the dataset
    samples_per_epoch  that all ranks together train on in an epoch
    batches            in an epoch, the last of `last_batch` samples
    micro_batches      forward and backward passes in an epoch
    dataset_bytes, batch_bytes   of the inputs; of the labels, too, where the first sample of a loader was measured
    waiting_bytes      of batches that workers hold ready
    peak_bytes         of the tensors in a training step, the sum of `peak_parts`
    Batches, micro-batches, iterations and optimizer steps are those of the rank that has most.
    """

    epochs: int
    samples: Count
    samples_per_epoch: Count
    batches: Count
    last_batch: Count
    micro_batches: Count
    iterations: Count
    optimizer_steps: Count
    dataset_bytes: Count
    batch_bytes: Count
    waiting_bytes: Count
    peak_bytes: Count
    peak_parts: dict[str, int]
    formulas: Sequence[str]  # of the numbers, in order
    notes: Sequence[str]

    def table(self) -> Table:
        """Return the numbers as rows of (what, number, where it comes from)."""
        found = zip(vars(self).items(), self.formulas, strict=False)
        rows = [[name, _shown(name, value), formula] for (name, value), formula in found]
        return Table(["what", "number", "where it comes from"], rows, notes=self.notes)

    def compare(self, history: History) -> Table:
        """Return a table of which numbers held in the finished training epochs of `fit`: "yes", "no" or "unknown".

        Raises KeyError where no epoch was finished.
        """
        happened = {
            "samples_per_epoch": {*history.column("train_samples")},
            "batches": {*history.column("train_batches")},
            "micro_batches": {*history.column("train_micro_batches")},
            "optimizer_steps": {sum(history.column("train_optimizer_steps"))},
        }
        rows = []
        for name, came in happened.items():
            planned = getattr(self, name)
            held = "yes" if came == {planned} else "no"
            found = " or ".join(f"{number:,}" for number in sorted(came))
            rows.append([name, _shown(name, planned), found, held if planned else "unknown"])
        return Table(["what", "planned", "happened", "held"], rows)


def plan(
    loader: DataLoader | None = None,
    *,
    samples: Count = None,
    batch_size: Count = None,
    drop_last: bool = False,
    epochs: int = 1,
    micro_batch_size: Count = None,
    ranks: int = 1,
    policy: str = "exact",
    shape: Sequence[int] | None = None,
    model: nn.Module | None = None,
    optimizer_fn: OptimizerFn = plain_sgd,
) -> Plan:
    """Return what a training will count and take, from a loader, or else from `samples`, `batch_size`, `drop_last`.

    micro_batch_size  as for `fit`
    ranks, policy     processes that share an epoch, and what becomes of a remainder, see `split_epoch`; a sampler that
                      splits knows both
    shape             of one sample's float32 inputs, as (3, 32, 32); a loader's dataset is asked for its first sample
    model             a copy of it takes two small steps, without autocast, to predict the peak
    optimizer_fn      makes the optimizer, as lambda parameters: torch.optim.Adam(parameters)
    A stream's counts are None. Raises TypeError and ValueError for numbers out of range.

    >>> plan(samples=10_000, batch_size=32, epochs=10).optimizer_steps
    3130
    """
    check_whole("epochs", epochs, 1)
    check_whole("ranks", ranks, 1)
    if loader is None:
        check_whole("samples", samples, 0, ", or a loader instead")
        check_whole("batch_size", batch_size, 1)
        dataset = range(samples)
        if shape is not None:  # zeros that take no memory, and labels of no bytes
            inputs = torch.zeros(()).expand(samples, *shape)
            dataset = TensorDataset(inputs, torch.zeros(samples, 0))
        loader = DataLoader(dataset, batch_size, drop_last=drop_last)
    said = describe(loader)
    samples, size = said.samples, said.batch_size
    if said.last_batch is None:
        note = "this loader tells too little of itself, as a stream does: count(loader) counts."
        return Plan(epochs, samples, *[None] * 10, {}, [""] * 8, [note])
    if place := place_in(loader):
        samples, ranks, policy = place.samples, place.world, place.policy
    micro = size if micro_batch_size is None else micro_batch_size
    check_whole("micro_batch_size", micro, 1)
    shares = [len(split_epoch(samples, rank=k, world=ranks, policy=policy)) for k in range(ranks)]
    taken = [share - share % size * said.drop_last for share in shares]
    # PyTorch counts the batches: those of rank 0, which has no fewer samples than any other
    said = describe(DataLoader(range(shares[0]), size, drop_last=said.drop_last))
    pieces, rest = batches_per_epoch(size, micro), batches_per_epoch(said.last_batch, micro)
    early, steps = max(0, said.batches - 1), said.batches * epochs
    ends = [f"rank {k:,} takes {taken[k]:,}" for k in sorted({0, ranks - 1})]
    formulas = [
        "as given",
        "as given",
        ", ".join(ends),
        *said.formulas[1:3],
        f"{early:,} x {pieces:,} + {rest:,}",
        f"{said.batches:,} batches x {epochs:,} epochs",
        "one for each iteration",
    ]
    sizes, parts, largest = [None] * 4, {}, min(size, shares[0])
    if samples and not isinstance(loader.dataset, range):
        with undisturbed():
            small = [loader.collate_fn([loader.dataset[0]] * count) for count in (2, 4)]
        each = _bytes(small[0]) // 2
        batch, workers, ahead = largest * each, loader.num_workers, loader.prefetch_factor or 0
        if model is not None:
            parts = _peak(model, optimizer_fn, small, min(micro, largest)) | {"batch": batch}
        sizes = [samples * each, batch, workers * ahead * batch, sum(parts.values()) or None]
        formulas += [
            f"{samples:,} x {each:,} bytes",
            f"{largest:,} x {each:,} bytes",
            f"{workers} workers x {ahead} x a batch",
            " + ".join(f"{name} {human_bytes(part)}" for name, part in parts.items()),
        ]
    counts = sum(taken), said.batches, said.last_batch, early * pieces + rest, steps, steps
    return Plan(epochs, samples, *counts, *sizes, parts, formulas, said.warnings)


def _peak(
    model: nn.Module, optimizer_fn: OptimizerFn, small: list[Any], count: int
) -> dict[str, int]:
    """The bytes that a training step on `count` samples holds at its peak beside the batch, by what they are for.

    small  batches of two and of four samples: what autograd keeps of them is a constant and a slope
    """
    trial = Rehearsal(model, lambda outputs, _: outputs.mean(), optimizer_fn)
    with undisturbed():
        few, more = (_kept(trial, batch) for batch in small)
    return {
        "weights": _bytes(trial.model.state_dict()),
        "gradients": _bytes([weight.grad for weight in trial.model.parameters()]),
        "optimizer": _bytes(trial.optimizer.state),
        "activations": few + (more - few) * (count - 2) // 2,
    }


def _kept(trial: Rehearsal, batch: Any) -> int:
    """The bytes that autograd keeps in a step beside weights and batch, and twice the largest piece of them.

    Twice, since backward holds the gradient that comes into a layer and the one that leaves it.
    """
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        kept.update(_memory(value))
        return value.detach()

    with saved_tensors_hooks(keep, lambda value: value):
        trial.train([batch])
    for known in _memory([batch, trial.model.state_dict()]):
        kept.pop(known, None)
    return sum(kept.values()) + 2 * max(kept.values(), default=0)


def _memory(thing: Any) -> dict[int, int]:
    """The memory behind the tensors of a thing, address to bytes; views share theirs."""
    behind = [part.untyped_storage() for part in tensors_in(thing)]
    return {storage.data_ptr(): storage.nbytes() for storage in behind}


def _bytes(thing: Any) -> int:
    return sum(_memory(thing).values())


def _shown(name: str, value: Count) -> str:
    if value is None:
        return "unknown"
    return human_bytes(value) if name.endswith("bytes") else f"{value:,}"
