"""The project of lesson 11: its data, its runs, and a report that neither trains nor praises what was not run."""

import ast
import re

import numpy as np
import pytest
import torch
from judged import STATED, going_on, past, project

from dlhelpers.course import capstone
from dlhelpers.course.lessons import lesson_11
from dlhelpers.machine import LimitedRun, bytes_of
from dlhelpers.packed import PackedDataset

SOLUTION = lesson_11.under_cap.solution().text


def worked(*changes):
    """The worked solution's class, with some of its text changed."""
    source = SOLUTION
    for old, new in changes:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    space = {}
    exec(source, space)
    return space[ast.parse(source).body[-1].name]


def states(table):
    return [row[-1] for row in table.rows]


def test_the_data_are_what_the_lesson_says_and_five_times_the_cap():
    folder = capstone.data()
    assert capstone.data() == folder
    counts = {
        name: len(PackedDataset(folder / name))
        for name in ("train", "held-out", "small/train", "small/held-out")
    }
    assert [*counts.values()] == [capstone.SAMPLES, capstone.HELD_OUT, *capstone.FEW]
    price = bytes_of(capstone.SHAPE, torch.uint8, count=counts["train"])
    assert price == STATED["dataset_bytes"] > 5 * capstone.CAP
    first = [PackedDataset(folder / name)[0].image for name in ("train", "held-out")]
    assert not torch.equal(*first), "what is held out must not be among what is learned from"


def test_the_data_are_removed_and_come_again():
    folder = capstone.data()
    capstone.clean_up()
    assert not folder.exists()
    capstone.clean_up()
    assert (capstone.data() / "train" / "manifest.json").is_file()


def test_a_report_of_nothing_is_open():
    assert states(capstone.report(type("Project", (), {}))) == ["open"] * 6


def test_a_report_trains_nothing():
    def train(self, data, checkpoint, epochs):
        raise AssertionError("a report must not train")

    some = project(train, batches=192)
    assert states(capstone.report(some)) == ["met", "not yet", "open", "open", "open", "open"]


def test_a_report_says_what_the_checks_have_found():
    some = going_on()
    assert lesson_11.resumes.check(some).kind == "right"
    assert states(capstone.report(some)) == ["met", "met", "open", "open", "open", "met"]
    assert lesson_11.under_cap.check(some).kind == "right"
    assert states(capstone.report(some)) == ["met", "met", "met", "not yet", "not yet", "open"], (
        "that check begins anew"
    )


@pytest.mark.parametrize("capped, above", [(False, "not yet"), (True, "met")])
def test_the_peak_decides_where_the_system_has_no_cap(capped, above):
    some = project()
    for peak, kind in ((capstone.CAP, "met"), (capstone.CAP + 1, above)):
        run = LimitedRun(
            "returned", value=past(2), peak_private=peak, limit=capstone.CAP, capped=capped
        )
        capstone.attempt(some).run = run
        assert states(capstone.report(some))[2] == kind


def test_a_killed_run_is_told_so():
    some = project()
    run = LimitedRun(
        "killed", error="killed by the parent: it was still running at its timeout of 300 seconds"
    )
    capstone.attempt(some).run = run
    for task in (lesson_11.as_stated, lesson_11.learned):
        assert "the run killed: killed by" not in task.check(some).text
        assert "at its timeout of 300 seconds" in task.check(some).text


def test_a_report_survives_a_class_that_cannot_be_made():
    def broken(self):
        raise ZeroDivisionError

    assert states(capstone.report(type("Project", (), {"__init__": broken}))) == [
        "not yet",
        "not yet",
        *["open"] * 4,
    ]


def test_the_worked_solution_meets_all_six():
    solved = worked()
    for task in (lesson_11.under_cap, lesson_11.resumes):
        reply = task.check(solved)
        assert reply.kind == "right", reply.text
    table = capstone.report(solved)
    assert states(table) == ["met"] * 6 and table.notes == ["6 of 6 met."]
    yours = [row[3] for row in table.rows]
    assert yours[:2] == ["151,695,360 bytes", "193 batches, the last of 57; 386 steps"]
    assert "private; file-backed: " in yours[2] and yours[2].endswith("MB")
    assert yours[3].startswith("24,690 samples in ") and yours[4].endswith("of 1,777 images")


def test_a_schedule_resumes_when_it_is_planned_for_the_projects_own_epochs():
    """`epochs` is how far this call goes: a schedule over it differs between a run of one epoch and a run of two."""
    load = "load_checkpoint(checkpoint, model, optimizer)"
    plan = "schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, 16 * self.epochs)"
    planned = worked(
        (f"done = {load}", f"{plan}\n        done = {load[:-1]}, scheduler=schedule)"),
        ('"seed": 0,', '"seed": 0, "scheduler": schedule, "scheduler_unit": "step",'),
    )
    assert lesson_11.resumes.check(planned).kind == "right"


def test_counts_of_numpy_are_whole_numbers():
    assert (
        lesson_11.price.check(project(dataset_bytes=np.prod([12_345, 3, 64, 64]))).kind == "right"
    )
    assert lesson_11.price.check(project(dataset_bytes=True)).kind == "wrong"


@pytest.mark.parametrize(
    ("changes", "task", "message"),
    [
        (
            [("model, optimizer) if", "model) if")],
            lesson_11.resumes,
            "is not that of an unbroken run",
        ),
        ([("torch.manual_seed(0)", "...")], lesson_11.resumes, "two runs from the start differ"),
        (
            [('"checkpoint": checkpoint', '"amp_dtype": None')],
            lesson_11.resumes,
            "did not go on from the first",
        ),
        ([("epochs - done.epochs", "epochs")], lesson_11.resumes, "it trained on to 3"),
        (
            [("DataLoader(train,", "DataLoader(list(train),")],
            lesson_11.under_cap,
            "memory (under a cap|at the peak)",
        ),
    ],
)
def test_a_mistake_in_the_worked_solution_is_found(changes, task, message):
    reply = task.check(worked(*changes))
    assert reply.kind == "wrong" and re.search(message, reply.text)
