"""Counts against PyTorch's own DataLoader, and warnings for what surprises."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
)

from dlhelpers.data import batches_per_epoch, count, describe


def numbers(n):
    """n samples (k, k), all different."""
    return TensorDataset(torch.arange(n), torch.arange(n))


class Claims(Dataset):
    """A dataset of `n` samples that says it has `said`."""

    def __init__(self, n, said):
        self.items, self.said = torch.arange(n), said

    def __len__(self):
        return self.said

    def __getitem__(self, index):
        return self.items[index]


class Stream(IterableDataset):
    """A stream of `n` samples, without a length or with a claimed one; each worker reads all of it."""

    def __init__(self, n, said=None):
        self.n, self.said = n, said

    def __iter__(self):
        yield from torch.arange(self.n)

    def __len__(self):
        if self.said is None:
            raise TypeError
        return self.said


@given(st.integers(0, 500), st.integers(1, 600), st.booleans())
def test_batches_per_epoch_is_the_length_of_pytorchs_loader(n, size, drop_last):
    assert batches_per_epoch(n, size, drop_last=drop_last) == len(
        DataLoader(numbers(n), size, drop_last=drop_last)
    )


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(1, 70), st.booleans())
def test_describe_foretells_what_count_finds(n, size, drop_last):
    loader = DataLoader(numbers(n), size, drop_last=drop_last)
    said, came = describe(loader), count(loader)
    assert (said.batches, said.last_batch) == (came.batches, came.last_batch)
    assert (said.batch_size, said.drop_last) == (came.batch_size, came.drop_last)
    assert said.samples == n and said.samples - said.dropped == came.samples


@pytest.mark.parametrize("drawn, source", [(20, "loader.sampler"), (10, "loader.dataset")])
def test_describe_shows_beside_each_number_where_it_comes_from(drawn, source):
    sampler = RandomSampler(range(10), replacement=True, num_samples=drawn)
    said = describe(DataLoader(numbers(10), 4, sampler=sampler))
    rows = {row[0]: row[1:] for row in said.table().rows}
    assert rows["samples"] == [str(drawn), f"len({source})"]
    assert rows["batches"] == [str(said.batches), f"len(loader) = ceil({drawn} / 4)"]
    early = said.batches - 1
    assert rows["last batch"] == [str(drawn - 4 * early), f"{drawn} - {early} x 4"]
    assert said.warnings == ()


def test_a_stream_without_length_is_unknown_to_describe_and_known_to_count():
    loader = DataLoader(Stream(10), 4)
    said, came = describe(loader), count(loader)
    assert said.samples is said.batches is said.last_batch is None and "unknown" in repr(said)
    assert (came.samples, came.batches, came.last_batch, came.warnings) == (10, 3, 2, ())


def test_a_batch_sampler_of_ones_own_is_described_by_its_length():
    sampler = BatchSampler(SequentialSampler(range(10)), 3, drop_last=False)
    said = describe(DataLoader(numbers(10), batch_sampler=sampler))
    assert (said.samples, said.batches, said.batch_size) == (10, 4, None)


def test_count_tells_of_a_length_that_is_too_long():
    came = count(DataLoader(Claims(5, said=8), 2, num_workers=2))
    assert came.samples == 4  # the third batch holds index 5, which is not there
    assert "length is too long: it promises more samples than it has" in came.warnings[0]


def test_count_does_not_take_an_index_error_of_another_kind_for_one_of_length():
    class Torn(Claims):
        def __getitem__(self, index):
            return super().__getitem__(index) if index != 3 else [].pop()

    with pytest.raises(IndexError, match="pop from empty list"):
        count(DataLoader(Torn(5, said=5), 2))


def test_count_tells_of_a_length_that_is_too_short():
    came = count(DataLoader(Claims(8, said=5), 2))
    assert came.samples == 5
    assert came.warnings == (
        "dataset[5] answers, though len(dataset) is 5: the length may be too short, samples unused.",
    )


@pytest.mark.filterwarnings("ignore:Length of IterableDataset")
@pytest.mark.parametrize("said", [3, 9])
def test_count_tells_of_a_stream_whose_length_is_wrong(said):
    came = count(DataLoader(Stream(6, said), 2))
    assert came.warnings == (f"the dataset says it has {said} samples, but 6 came.",)


def test_samples_that_differ_in_their_labels_alone_are_not_the_same():
    batch = [torch.zeros(4, 1, 2, 2), {"boxes": torch.arange(8).view(4, 2)}]
    assert count([batch]).warnings == ()
    assert count([batch, batch]).warnings[0].startswith("4 samples came twice")


def test_count_finds_the_samples_that_two_workers_both_read():
    came = count(DataLoader(Stream(6), 2, num_workers=2))
    assert came.samples == 12 and came.batches == 6
    assert came.warnings == (
        "6 samples came twice or more: do several workers each read the whole stream?",
    )


@pytest.mark.parametrize(
    "batch",
    [
        [torch.rand(3), 5],
        {"image": torch.rand(3, 1)},
        (torch.rand(3, dtype=torch.bfloat16), "names"),
    ],
)
def test_count_reads_batches_of_any_usual_form(batch):
    assert count([batch]).samples == 3


@pytest.mark.parametrize(
    "shuffle, told", [(True, "fine in training"), (False, "the same each time")]
)
def test_samples_that_are_left_out_are_told_before_the_epoch(shuffle, told):
    loader = DataLoader(numbers(9), 4, shuffle=shuffle, drop_last=True)
    [warning] = describe(loader).warnings
    assert warning.startswith(f"1 samples are left out of each epoch: {told}")
