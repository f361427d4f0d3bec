"""Count before you train: samples, batches, the ragged last batch, and what will surprise.

`describe` computes from what a DataLoader says of itself; `count` iterates and reports what really came.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from dlhelpers.base.checks import check_whole
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
    warnings: tuple[str, ...] = ()
    counted: bool = False
    source: str = "loader.dataset"  # whose length the samples are

    def table(self) -> Table:
        """Return the counts as rows of (what, number, where it comes from)."""
        where = dict.fromkeys(("samples", "batches", "last batch"), "counted while iterating")
        where["left out"] = "drop_last is False" if self.dropped == 0 else "drop_last hides it"
        if not self.counted:
            n, b, m = self.samples, self.batch_size, self.batches
            where = {
                "samples": f"len({self.source})",
                "batches": "len(loader)",
                "last batch": "",
                "left out": "",
            }
            if None not in (n, b, m) and n and b:
                where["batches"] += f" = {'floor' if self.drop_last else 'ceil'}({n} / {b})"
                where["last batch"] = (
                    f"{b}, as all are whole" if self.drop_last else f"{n} - {max(m - 1, 0)} x {b}"
                )
                where["last batch"] = where["last batch"] if m else "there is none"
                where["left out"] = f"{n} - {m} x {b}" if self.drop_last else "drop_last is False"
        rows = [
            ["samples", _show(self.samples), where["samples"]],
            ["batch size", _show(self.batch_size), "loader.batch_size"],
            ["drop_last", self.drop_last, "loader.drop_last"],
            ["batches", _show(self.batches), where["batches"]],
            ["last batch", _show(self.last_batch), where["last batch"]],
            ["left out", _show(self.dropped), where["left out"]],
        ]
        return Table(["what", "number", "where it comes from"], rows, notes=self.warnings)


def batches_per_epoch(samples: int, batch_size: int, *, drop_last: bool = False) -> int:
    """Return the number of batches in an epoch: ceil(samples / batch_size), or the floor with `drop_last`.

    Raises ValueError for negative samples and for a batch size below 1.
    >>> batches_per_epoch(10_000, 32), batches_per_epoch(10_000, 32, drop_last=True)
    (313, 312)
    """
    for name, value, least in (("samples", samples, 0), ("batch_size", batch_size, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} is {value!r}: expected a whole number, at least {least}")
    full, rest = divmod(samples, batch_size)
    return full if drop_last or not rest else full + 1


def describe(loader: DataLoader) -> LoaderSummary:
    """Return what a DataLoader says of its epoch, with the formula beside each number, without fetching a sample.

    Raises TypeError for anything but a DataLoader.
    """
    if not isinstance(loader, DataLoader):
        raise TypeError(
            f"describe takes a DataLoader, not {type(loader).__name__}; count(...) takes any iterable"
        )
    stream = isinstance(loader.dataset, IterableDataset)
    drawn = loader.sampler if not stream and loader.batch_size is not None else loader.dataset
    samples, batches = _length(drawn), _length(loader)
    source = "loader.dataset" if samples == _length(loader.dataset) else "loader.sampler"
    size, drop = loader.batch_size, bool(loader.drop_last)
    last = dropped = None
    if samples is not None and size is not None and not stream:
        rest = samples % size
        last = 0 if not batches else size if drop or not rest else rest
        dropped = rest if drop else 0
    summary = LoaderSummary(samples, size, drop, batches, last, dropped, source=source)
    return replace(summary, warnings=tuple(_surprises(summary, stream)))


def count(loader: Iterable, *, max_batches: int | None = None) -> LoaderSummary:
    """Iterate one epoch and return what came: the truth for streams, and the test of a `__len__`.

    A batch is a tensor, or a tuple, list or dict whose first entry has a sample a row. Warnings tell of samples that
    came twice, and of a dataset whose `__len__` is too long or too short; what else the dataset raises is raised.
    ValueError unless `max_batches`, after which to stop, is a whole number, at least 1.
    """
    if max_batches is not None:
        check_whole("max_batches", max_batches, 1)
    samples = batches = last = twice = 0
    seen, warnings = set(), []
    try:
        for batch in loader:
            rows = _rows(batch)
            samples, batches, last = samples + len(rows), batches + 1, len(rows)
            for row in rows:
                key = hashlib.blake2b(
                    row.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
                ).digest()
                twice += key in seen
                seen.add(key)
            if batches == max_batches:
                warnings.append(
                    f"stopped after {batches} batches, as max_batches asked: the epoch may go on."
                )
                break
    except IndexError as error:
        if _answers_at_its_end(getattr(loader, "dataset", None)):
            raise  # a fault of another kind
        warnings.append(
            f"the dataset's length is too long: it promises more samples than it has ({error})."
        )
    if twice:
        warnings.append(
            f"{twice} samples came twice or more: do several workers each read the whole stream?"
        )
    dataset, size, drop = (
        getattr(loader, "dataset", None),
        getattr(loader, "batch_size", None),
        False,
    )
    if isinstance(loader, DataLoader):
        drop = bool(loader.drop_last)
        warnings += _beyond_the_end(dataset)
    said = None if drop or max_batches else _length(dataset)
    if isinstance(dataset, IterableDataset) and said not in (None, samples):
        warnings.append(f"the dataset says it has {said} samples, but {samples} came.")
    dropped = None if drop else 0
    return LoaderSummary(samples, size, drop, batches, last, dropped, tuple(warnings), counted=True)


def samples_in(batch: object) -> int:
    """Return the samples of a batch: the rows of its first tensor. Raises TypeError where its first part is none."""
    return len(_rows(batch))


def _answers_at_its_end(dataset: object) -> bool:
    """Whether a dataset gives the last sample that its length promises."""
    try:
        dataset[_length(dataset) - 1]
    except Exception:  # also where it has no length or takes no index
        return False
    return True


def _beyond_the_end(dataset: object) -> list[str]:
    """A warning where a map-style dataset still answers at index len(dataset): its length may be too short."""
    if isinstance(dataset, IterableDataset) or (length := _length(dataset)) is None:
        return []
    try:
        dataset[length]
    except Exception:  # any refusal is what we want to see
        return []
    return [
        f"dataset[{length}] answers, though len(dataset) is {length}: the length may be too short, samples unused."
    ]


def _surprises(summary: LoaderSummary, stream: bool) -> list[str]:
    """What a learner should know before the first epoch, in full sentences."""
    found = []
    n, size = summary.samples, summary.batch_size
    if summary.batches == 0:
        found.append(
            f"no batch at all: {n} samples, batch size {size}, drop_last {summary.drop_last}."
        )
    if stream:
        found.append(
            "a stream: its length is what it says of itself, or unknown; count(loader) tells the truth."
        )
    elif size is None:
        found.append("batch_size is None: the dataset or a batch_sampler makes the batches.")
    if summary.last_batch == 1 and summary.batches:
        found.append("the last batch holds 1 sample: BatchNorm1d fails on it in training.")
    if summary.dropped and summary.batches:
        found.append(
            f"{summary.dropped} samples are left out of each epoch: fine in training with shuffle=True,"
            " wrong in validation."
        )
    if size and n and size > n and not summary.drop_last:
        found.append(f"the batch size {size} is larger than the dataset: one batch of {n}.")
    return found


def _rows(batch: object) -> Tensor:
    """The first tensor of a batch, which has one row for each sample."""
    while not isinstance(batch, Tensor):
        try:
            if isinstance(batch, (str, bytes)):  # a text's first entry is a text again, without end
                raise TypeError
            batch = next(iter(batch.values() if isinstance(batch, dict) else batch))
        except (TypeError, StopIteration):
            raise TypeError(
                f"a batch holds {type(batch).__name__}, expected tensors with one row a sample"
            ) from None
    return batch if batch.ndim else batch.unsqueeze(0)


def _length(thing: object) -> int | None:
    """len(thing), or None where it has none."""
    try:
        return len(thing)
    except (TypeError, NotImplementedError):
        return None


def _show(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"
