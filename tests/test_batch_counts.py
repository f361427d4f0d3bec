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
    """A stream of `n` samples without a length; each worker reads all of it."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        yield from torch.arange(self.n)


class StreamThatClaims(Stream):
    def __init__(self, n, said):
        super().__init__(n)
        self.said = said

    def __len__(self):
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


def test_describe_shows_the_formula_beside_each_number():
    def rows(**options):
        return {
            row[0]: row[1:] for row in describe(DataLoader(numbers(75), 32, **options)).table().rows
        }

    table, dropping = rows(), rows(drop_last=True)
    assert table["samples"] == ["75", "len(loader.dataset)"]
    assert table["batches"] == ["3", "len(loader) = ceil(75 / 32)"]
    assert table["last batch"] == ["11", "75 - 2 x 32"]
    assert dropping["batches"] == ["2", "len(loader) = floor(75 / 32)"]
    assert dropping["left out"] == ["11", "75 - 2 x 32"]


@pytest.mark.parametrize("drawn, source", [(20, "loader.sampler"), (10, "loader.dataset")])
def test_describe_says_whose_length_the_samples_are(drawn, source):
    loader = DataLoader(
        numbers(10), 4, sampler=RandomSampler(range(10), replacement=True, num_samples=drawn)
    )
    assert describe(loader).table().rows[0] == ["samples", str(drawn), f"len({source})"]


@pytest.mark.parametrize(
    "n, size, drop_last, warnings",
    [
        (3, 8, True, ["no batch at all: 3 samples, batch size 8, drop_last True."]),
        (
            9,
            4,
            True,
            [
                "1 samples are left out of each epoch: the same each time without shuffle=True, wrong in validation."
            ],
        ),
        (8, 4, False, []),
    ],
)
def test_surprises_are_told_before_the_epoch(n, size, drop_last, warnings):
    summary = describe(DataLoader(numbers(n), size, drop_last=drop_last))
    assert list(summary.warnings) == warnings
    assert all(
        warning in repr(summary) and warning in summary._repr_html_() for warning in warnings
    )


def test_what_a_shuffled_loader_leaves_out_is_fine_in_training():
    [warning] = describe(DataLoader(numbers(9), 4, shuffle=True, drop_last=True)).warnings
    assert "epoch: fine in training with shuffle=True, wrong in validation" in warning


def test_a_stream_without_length_is_unknown_to_describe_and_known_to_count():
    loader = DataLoader(Stream(10), 4)
    said, came = describe(loader), count(loader)
    assert (said.samples, said.batches, said.last_batch) == (
        None,
        None,
        None,
    ) and "unknown" in repr(said)
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
    came = count(DataLoader(StreamThatClaims(6, said), 2))
    assert came.warnings == (f"the dataset says it has {said} samples, but 6 came.",)


@pytest.mark.parametrize(
    "labels",
    [torch.arange(4), {"boxes": torch.arange(8).view(4, 2)}],
    ids=["numbers", "nested"],
)
def test_samples_that_differ_in_their_labels_alone_are_not_the_same(labels):
    batch = [torch.zeros(4, 1, 2, 2), labels]
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
