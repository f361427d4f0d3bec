"""How a learner's function is judged on cases, and when two answers are the same."""

import numpy as np
import pytest
import torch

from dlhelpers.course.judges import judge_cases, same, show_value

CASES = [((1, 2), 3.0), ((2, 2), 4)]


def from_a_loop(a, b):
    for k in range(a - b):
        total = k
    return total


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda a, b: print(a + b), "(1, 2) returned None: is a `return` missing?"),
        (
            lambda a, b: str(a + b),
            "(1, 2) gives '3', and 3.0 is expected.",
        ),
        (lambda a, b: a + b + 1e-5, "gives 3.00001, and 3.0 is expected."),
        (lambda a: a, "(1, 2) raised TypeError"),
        (from_a_loop, "Where a loop never runs, it sets no variable."),
    ],
)
def test_usual_slips_are_named(answer, message):
    assert message in judge_cases(answer, CASES, [])


def test_a_known_mistake_gets_its_message():
    known = [(lambda a, b: a * b, "you have multiplied.")]
    assert judge_cases(lambda a, b: b * a, CASES, known) == "you have multiplied."
    assert judge_cases(lambda a, b: a + b, CASES, known) is None


def test_an_answer_that_changes_its_arguments_is_told_so_and_does_not_spoil_the_next_try():
    def greedy(values):
        total = sum(values)
        values.clear()
        return total

    cases = [(([1, 2],), 3)]
    for _ in range(2):
        assert "changed what it was given" in judge_cases(greedy, cases, [])
    assert judge_cases(sum, cases, []) is None


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (1, 1.0, True),
        (0.1 + 0.2, 0.3, True),
        ("1", 1, False),
        (torch.tensor([1.0, 2.0]), [1, 2], True),
        (np.array([1, 2]), np.array([1, 3]), False),
        (np.int64(1), torch.tensor(1), True),
        (float("nan"), 1.0, False),
        (True, 1, False),
    ],
)
def test_when_two_answers_are_the_same(one, other, expected):
    assert same(one, other) is same(other, one) is expected


def test_values_are_shown_short():
    shown = [show_value(value) for value in (10_000, 2 / 3, True)]
    assert shown == ["10,000", "0.6667", "True"]
