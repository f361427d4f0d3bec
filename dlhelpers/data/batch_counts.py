"""Count before you train: samples, batches, the ragged last batch, and what will surprise.

`describe` computes from what a DataLoader says of itself; `count` iterates and reports what really came.
"""

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, Dataset, IterableDataset, SequentialSampler

from dlhelpers.base.checks import check_kind, shown
from dlhelpers.base.tables import ShownAsTable, Table


@dataclass(frozen=True, repr=False)
class LoaderSummary(ShownAsTable):
    """The counts of one epoch; None where a count cannot be known. Shown as a table with each number's formula."""

    samples: int | None
    batch_size: int | None
    drop_last: bool
    batches: int | None
    last_batch: int | None
    dropped: int | None
    formulas: Sequence[str]  # of samples, batches, last batch and left out
    warnings: tuple[str, ...]

    def table(self) -> Table:
        """Return the counts as rows of (what, number, where it comes from)."""
        samples, batches, last, left_out = self.formulas
        rows = [
            ["samples", _show(self.samples), samples],
            ["batch size", _show(self.batch_size), "loader.batch_size"],
            ["drop_last", self.drop_last, "loader.drop_last"],
            ["batches", _show(self.batches), batches],
            ["last batch", _show(self.last_batch), last],
            ["left out", _show(self.dropped), left_out],
        ]
        return Table(["what", "number", "where it comes from"], rows, notes=self.warnings)


def batches_per_epoch(samples: int, batch_size: int, *, drop_last: bool = False) -> int:
    """Return the number of batches in an epoch: ceil(samples / batch_size), or the floor with `drop_last`.

    Raises TypeError unless both are whole numbers.
    >>> batches_per_epoch(10_000, 32), batches_per_epoch(10_000, 32, drop_last=True)
    (313, 312)
    """
    full, rest = divmod(operator.index(samples), operator.index(batch_size))
    return full if drop_last or not rest else full + 1


def describe(loader: DataLoader) -> LoaderSummary:
    """Return what a DataLoader says of its epoch, with the formula beside each number, without fetching a sample.

    Raises TypeError for anything but a DataLoader.
    """
    check_kind(
        "loader", loader, DataLoader, "a DataLoader; count(...) takes any iterable of batches"
    )
    stream = isinstance(loader.dataset, IterableDataset)
    size, drop = loader.batch_size, loader.drop_last
    drawn = loader.dataset if stream or size is None else loader.sampler
    samples, batches = _length(drawn), _length(loader)
    source = "loader.dataset" if samples == _length(loader.dataset) else "loader.sampler"
    formulas = [f"len({source})", "len(loader)", "", ""]
    last = dropped = None
    if not (stream or size is None or samples is None):
        rest = samples % size
        dropped = rest if drop else 0
        formulas[1] += f" = {'floor' if drop else 'ceil'}({samples} / {size})"
        formulas[3] = f"{samples} - {batches} x {size}" if drop else "drop_last is False"
        if not batches:
            last, formulas[2] = 0, "there is none"
        elif drop:
            last, formulas[2] = size, f"{size}, as all are whole"
        else:
            last, formulas[2] = rest or size, f"{samples} - {batches - 1} x {size}"
    warnings = []
    if batches == 0:
        warnings.append(f"no batch at all: {samples} samples, batch size {size}, drop_last {drop}.")
    elif dropped:
        which = "fine in training with shuffle=True"
        if isinstance(loader.sampler, SequentialSampler):
            which = "the same each time without shuffle=True"
        warnings.append(
            f"{dropped} samples are left out of each epoch: {which}, wrong in validation."
        )
    return LoaderSummary(samples, size, drop, batches, last, dropped, formulas, tuple(warnings))


def count(loader: Iterable) -> LoaderSummary:
    """Iterate one epoch and return what came: the truth for streams, and the test of a `__len__`.

    A batch is a tensor, or a tuple, list or dict whose first entry has a sample a row. Warnings tell of samples that
    came twice (images, labels and all), and of a dataset whose `__len__` is too long or too short; what else the
    dataset raises is raised. TypeError for a dataset without a loader.
    """
    if isinstance(loader, Dataset):
        raise TypeError(
            f"loader is {shown(loader)}: expected a DataLoader, as DataLoader(dataset, batch_size=32)"
        )
    dataset = getattr(loader, "dataset", None)
    length, stream = _length(dataset), isinstance(dataset, IterableDataset)
    size, drop = getattr(loader, "batch_size", None), getattr(loader, "drop_last", False)
    samples = batches = last = twice = 0
    seen, warnings = set(), []
    try:
        for batch in loader:
            last = samples_in(batch)
            samples, batches = samples + last, batches + 1
            parts = [part.cpu().double() for part in tensors_in(batch)]
            for k in range(last):
                key = hash(tuple(part[k].numpy().tobytes() for part in parts))
                twice += key in seen
                seen.add(key)
    except IndexError as error:
        if _answers(dataset, -1):
            raise  # a fault of another kind
        warnings.append(
            f"the dataset's length is too long: it promises more samples than it has ({error})."
        )
    if twice:
        warnings.append(
            f"{twice} samples came twice or more: do several workers each read the whole stream?"
        )
    if stream and length not in (None, samples) and not drop:
        warnings.append(f"the dataset says it has {length} samples, but {samples} came.")
    if not stream and _answers(dataset, 0):
        warnings.append(
            f"dataset[{length}] answers, though len(dataset) is {length}: the length may be too short, samples unused."
        )
    dropped, left_out = (None, "drop_last hides it") if drop else (0, "drop_last is False")
    formulas = [*["counted while iterating"] * 3, left_out]
    return LoaderSummary(samples, size, drop, batches, last, dropped, formulas, tuple(warnings))


def samples_in(batch: object) -> int:
    """Return the samples of a batch: the rows of its first tensor. Raises TypeError where there is none."""
    tensors = tensors_in(batch)
    if not tensors:
        raise TypeError(f"a batch holds {shown(batch)}, expected tensors with one row a sample")
    return len(tensors[0])


def tensors_in(thing: object) -> list[Tensor]:
    """Return the tensors of a batch, or of anything else, however they are nested."""
    return [part for part in tree_leaves(thing) if isinstance(part, Tensor)]


def _answers(dataset: object, beyond: int) -> bool:
    """Whether a dataset has a sample at its length + `beyond`: -1 asks for the last that it promises."""
    try:
        dataset[len(dataset) + beyond]
    except Exception:  # also where it has no length or takes no index
        return False
    return True


def _length(thing: object) -> int | None:
    """len(thing), or None where it has none."""
    try:
        return len(thing)
    except (TypeError, NotImplementedError):
        return None


def _show(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"
