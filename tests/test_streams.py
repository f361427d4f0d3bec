"""Tests of `streams`: what a plain stream repeats, how workers share one, and what a shuffle buffer keeps."""

import random
from collections import Counter

import pytest
from torch.utils.data import DataLoader

from dlhelpers.data import NumberedImages, SplitStream, Stream, shuffle_buffer


def numbers(stream, **options):
    return [label for _, labels in DataLoader(stream, **options) for label in labels.tolist()]


@pytest.mark.parametrize("kind", [Stream, SplitStream])
def test_one_process_gets_each_sample_once_in_order(kind):
    stream = kind(NumberedImages(10))
    assert numbers(stream, batch_size=4) == list(range(10))


def test_each_worker_reads_all_of_a_plain_stream():
    came = numbers(Stream(NumberedImages(7)), batch_size=4, num_workers=2)
    assert Counter(came) == dict.fromkeys(range(7), 2)


def test_a_split_stream_gives_each_sample_once():
    stream = SplitStream(NumberedImages(5))
    assert numbers(stream, batch_size=1, num_workers=3) == list(range(5))


def test_the_batches_of_a_split_stream_are_those_of_its_workers():
    loader = DataLoader(SplitStream(NumberedImages(12)), batch_size=4, num_workers=2)
    assert [labels.tolist() for _, labels in loader] == [
        [0, 2, 4, 6],
        [1, 3, 5, 7],
        [8, 10],
        [9, 11],
    ]


@pytest.mark.parametrize(("length", "size"), [(0, 3), (3, 3), (20, 1), (20, 3), (20, 50)])
def test_a_buffer_gives_each_sample_once_and_holds_no_more_than_its_size(length, size):
    taken = given = 0

    def source():
        nonlocal taken
        for k in range(length):
            taken += 1
            yield k

    came = []
    for sample in shuffle_buffer(source(), size, random.Random(0)):
        assert taken - given <= size
        came.append(sample)
        given += 1
    assert sorted(came) == list(range(length))


def test_a_buffer_of_one_changes_nothing_and_one_of_all_shuffles_all():
    assert list(shuffle_buffer(range(9), 1, random.Random(0))) == list(range(9))
    first = {next(shuffle_buffer(range(9), 9, random.Random(seed))) for seed in range(500)}
    assert first == set(range(9))
