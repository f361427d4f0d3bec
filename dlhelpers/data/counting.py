"""Count before you train: samples, batches, the ragged last batch, and what will surprise.

`describe` computes from what a DataLoader says of itself; `count` iterates and reports what really came.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from dlhelpers.base.checks import check_kind, check_whole, shown
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
    formulas: tuple[str, ...] = ()  # of samples, batches, last batch and left out

    def table(self) -> Table:
        """Return the counts as rows of (what, number, where it comes from)."""
        samples, batches, last, left_out = self.formulas or ["counted while iterating"] * 4
        if self.counted:
            left_out = "drop_last hides it" if self.drop_last else "drop_last is False"
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

    Raises ValueError for negative samples and for a batch size below 1.
    >>> batches_per_epoch(10_000, 32), batches_per_epoch(10_000, 32, drop_last=True)
    (313, 312)
    """
    samples = check_whole("samples", samples, 0)
    batch_size = check_whole("batch_size", batch_size, 1)
    full, rest = divmod(samples, batch_size)
    return full if drop_last or not rest else full + 1


def describe(loader: DataLoader) -> LoaderSummary:
    """Return what a DataLoader says of its epoch, with the formula beside each number, without fetching a sample.

    Raises TypeError for anything but a DataLoader.
    """
    check_kind(
        "loader", loader, DataLoader, "a DataLoader; count(...) takes any iterable of batches"
    )
    stream = isinstance(loader.dataset, IterableDataset)
    drawn = loader.dataset if stream or loader.batch_size is None else loader.sampler
    samples, batches = _length(drawn), _length(loader)
    source = "loader.dataset" if samples == _length(loader.dataset) else "loader.sampler"
    formulas = [f"len({source})", "len(loader)", "", ""]
    size, drop = loader.batch_size, bool(loader.drop_last)
    last = dropped = None
    if samples is not None and size is not None and not stream:
        rest = samples % size
        last = 0 if not batches else size if drop or not rest else rest
        dropped = rest if drop else 0
        formulas[1] += f" = {'floor' if drop else 'ceil'}({samples} / {size})"
        if drop:
            formulas[3] = f"{samples} - {batches} x {size}"
        else:
            formulas[3] = "drop_last is False"
        if not batches:
            formulas[2] = "there is none"
        elif drop:
            formulas[2] = f"{size}, as all are whole"
        else:
            formulas[2] = f"{samples} - {batches - 1} x {size}"
    summary = LoaderSummary(samples, size, drop, batches, last, dropped, formulas=tuple(formulas))
    return replace(summary, warnings=tuple(_surprises(summary, stream)))


def count(loader: Iterable, *, max_batches: int | None = None) -> LoaderSummary:
    """Iterate one epoch and return what came: the truth for streams, and the test of a `__len__`.

    A batch is a tensor, or a tuple, list or dict whose first entry has a sample a row. Warnings tell of samples that
    came twice (images, labels and all), and of a dataset whose `__len__` is too long or too short; what else the
    dataset raises is raised. `max_batches` is after how many to stop. TypeError for a dataset without a loader.
    """
    samples_alone = isinstance(loader, Dataset) and not isinstance(loader, IterableDataset)
    if samples_alone or not isinstance(loader, Iterable):
        remedy = (
            "a DataLoader, as DataLoader(dataset, batch_size=32), or another iterable of batches"
        )
        raise TypeError(f"loader is {shown(loader)}: expected {remedy}")
    if max_batches is not None:
        check_whole("max_batches", max_batches, 1)
    samples = batches = last = twice = 0
    seen, warnings = set(), []
    try:
        for batch in loader:
            last = samples_in(batch)
            samples, batches = samples + last, batches + 1
            for k in range(last):
                key = hashlib.blake2b(_bytes_of_sample(batch, k)).digest()
                twice += key in seen
                seen.add(key)
            if batches == max_batches:
                warnings.append(
                    f"stopped after {batches} batches, as max_batches asked: the epoch may go on."
                )
                break
    except IndexError as error:
        if _answers(getattr(loader, "dataset", None), -1):
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
    length = _length(dataset)
    if isinstance(loader, DataLoader):
        drop = bool(loader.drop_last)
        if not isinstance(dataset, IterableDataset) and _answers(dataset, 0):
            found = f"dataset[{length}] answers, though len(dataset) is {length}"
            warnings.append(f"{found}: the length may be too short, samples unused.")
    promised = isinstance(dataset, IterableDataset) and length is not None
    if promised and length != samples and not drop and not max_batches:
        warnings.append(f"the dataset says it has {length} samples, but {samples} came.")
    dropped = None if drop else 0
    return LoaderSummary(samples, size, drop, batches, last, dropped, tuple(warnings), counted=True)


def samples_in(batch: object) -> int:
    """Return the samples of a batch: the rows of its first tensor. Raises TypeError where its first part is none."""
    while not isinstance(batch, Tensor):
        try:
            if isinstance(batch, (str, bytes)):  # a text's first entry is a text again, without end
                raise TypeError
            batch = next(iter(batch.values() if isinstance(batch, Mapping) else batch))
        except (TypeError, StopIteration):
            kind = type(batch).__name__
            raise TypeError(
                f"a batch holds {kind}, expected tensors with one row a sample"
            ) from None
    return len(batch) if batch.ndim else 1


def _bytes_of_sample(part: object, k: int) -> bytes:
    """What a batch, or a part of it, holds of its sample k."""
    if isinstance(part, Tensor):
        row = part[k] if part.ndim else part
        return row.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    if isinstance(part, Mapping):
        part = list(part.values())
    if not isinstance(part, (list, tuple)):
        return repr(part).encode()
    if part and isinstance(part[0], (str, bytes, int, float)) and k < len(part):
        return repr(part[k]).encode()  # names stay a list, one for each sample
    return b"|".join(_bytes_of_sample(inner, k) for inner in part)


def _answers(dataset: object, beyond: int) -> bool:
    """Whether a dataset has a sample at its length + `beyond`: -1 asks for the last that it promises."""
    try:
        dataset[_length(dataset) + beyond]
    except Exception:  # also where it has no length or takes no index
        return False
    return True


def _surprises(summary: LoaderSummary, stream: bool) -> list[str]:
    """What a learner should know before the first epoch, in full sentences."""
    found = []
    n, size, dropped = summary.samples, summary.batch_size, summary.dropped
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
    if dropped and summary.batches:
        fine = "fine in training with shuffle=True, wrong in validation"
        found.append(f"{dropped} samples are left out of each epoch: {fine}.")
    if size and n and size > n and not summary.drop_last:
        found.append(f"the batch size {size} is larger than the dataset: one batch of {n}.")
    return found


def _length(thing: object) -> int | None:
    """len(thing), or None where it has none."""
    try:
        return len(thing)
    except (TypeError, NotImplementedError):
        return None


def _show(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"
