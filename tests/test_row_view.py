"""Tests of `row_view`: whatever lies between the parts, rows are theirs and copied, and none beyond is looked at."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlhelpers.packed.row_view import RowView


def part(rows, shape=(2, 3), start=0):
    """Arrays of so many rows whose numbers go on from `start`: one of the shape, one of int64."""
    numbers = np.arange(start, start + rows)
    size = int(np.prod(shape))
    return (numbers[:, None] * size + np.arange(size)).astype(np.uint16).reshape(
        rows, *shape
    ), numbers


def parts(lengths, shape=(2, 3)):
    starts = np.cumsum([0, *lengths[:-1]])
    return [part(rows, shape, start) for rows, start in zip(lengths, starts, strict=True)]


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    shape=st.sampled_from([(), (1,), (3,), (2, 3), (3, 8, 8), (1, 7, 5)]),
    data=st.data(),
)
def test_rows_are_those_of_the_parts_in_the_order_asked_for(lengths, shape, data):
    made = parts(lengths, shape)
    rows = np.array(data.draw(st.lists(st.integers(0, sum(lengths) - 1), max_size=20)), np.int64)
    images, numbers = RowView(made).take(rows)
    assert np.array_equal(numbers, rows) and images.dtype == np.uint16
    assert np.array_equal(images, np.concatenate([one for one, _ in made])[rows])


def test_a_part_of_one_row_may_have_any_stride_from_row_to_row():
    made = [part(1)[0], part(4, start=1)[0]]
    one = np.lib.stride_tricks.as_strided(
        made[0], strides=(1, *made[0].strides[1:])
    )  # as a file in column order has
    assert one.flags.c_contiguous and one.strides[0] == 1
    (rows,) = RowView([(one,), (made[1],)]).take(np.arange(5))
    assert np.array_equal(rows, np.concatenate(made))


def test_rows_are_copies_and_the_parts_cannot_be_written_through_the_view():
    made = parts([3, 2])
    images, numbers = RowView(made).take(np.array([4, 0]))
    images[:], numbers[:] = 0, 0
    assert np.array_equal(made[1][1], [3, 4]) and made[0][0][2].any()


@pytest.mark.parametrize("rows", [[5], [0, -1], [10**12], [-(10**12)], [-(2**63)]])
def test_a_row_that_is_not_there_is_refused_and_not_looked_at(rows):
    with pytest.raises(IndexError):
        RowView(parts([3, 2])).take(np.array(rows))


def test_a_view_keeps_its_parts():
    made = parts([2000, 1000], (32, 32))
    alive, view = [weakref.ref(array) for one in made for array in one], RowView(made)
    del made
    gc.collect()
    assert all(reference() is not None for reference in alive)
    assert np.array_equal(view.take(np.array([2999]))[1], [2999])


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_view_is_not_copied_with_what_lies_between_its_parts(way):
    with pytest.raises(TypeError, match="make one of the arrays that are there"):
        way(RowView(parts([3, 2])))


def test_the_last_step_of_a_view_ends_where_its_last_part_does():
    view = RowView(parts([2, 4, 1]))
    ends = max(array.ctypes.data + array.nbytes for array, _ in view._parts)
    steps, *_ = view._columns[0]
    assert steps.ctypes.data + (len(steps) - 1) * steps.strides[0] + steps[0].nbytes == ends


@pytest.mark.parametrize(
    "wrong, message",
    [
        ([], "expected some"),
        ([part(0)], "expected some"),
        ([(part(2)[0], part(3)[1])], "arrays of equal length"),
        ([part(2), (part(2)[0].astype(np.uint8), part(2)[1])], "differ in dtype"),
        ([part(2), part(2, (3, 2))], "shape of a row"),
        ([(part(4)[0][::2], part(2)[1])], "gaps between rows"),
        ([(np.empty((3, 0), np.uint8),)], "hold nothing"),
    ],
)
def test_other_parts_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        RowView(wrong)
