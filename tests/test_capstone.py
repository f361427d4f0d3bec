"""The project of lesson 15: its data, its runs, and a report that neither trains nor praises what was not run."""

import ast

import pytest
import torch
from judged import STATED, going_on, past, project

from dlhelpers.course import capstone
from dlhelpers.course.lessons import lesson_15
from dlhelpers.machine import bytes_of
from dlhelpers.machine.capped import LimitedRun
from dlhelpers.packed import PackedDataset

SIX = ("price", "counts", "under_cap", "as_stated", "learned", "resumes")
SOLUTION = lesson_15.under_cap.solution().text


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
    assert not folder.exists() and (capstone.data() / "train" / "manifest.json").is_file()


def test_a_report_says_what_the_checks_have_found_and_trains_nothing():
    some = going_on()
    assert states(capstone.report(some)) == ["open"] * 6
    for task in (lesson_15.price, lesson_15.under_cap, lesson_15.as_stated, lesson_15.resumes):
        task.check(some)
    expected = ["met", "open", "met", "not yet", "open", "met"]
    assert states(capstone.report(some)) == expected
    assert states(capstone.report(going_on())) == ["open"] * 6, "another class"


@pytest.mark.parametrize("capped, above", [(False, "wrong"), (True, "right")])
def test_the_peak_decides_where_the_system_has_no_cap(monkeypatch, capped, above):
    for peak, kind in ((capstone.CAP, "right"), (capstone.CAP + 1, above)):
        run = LimitedRun("returned", value=past(2), peak_private=peak, capped=capped)
        monkeypatch.setattr(capstone, "run_limited", lambda *args, run=run, **limits: run)
        assert lesson_15.under_cap.check(project()).kind == kind


def test_the_worked_solution_meets_all_six():
    solved = worked()
    for task in (getattr(lesson_15, name) for name in SIX):
        reply = task.check(solved)
        assert reply.kind == "right", reply.text
    table = capstone.report(solved)
    assert states(table) == ["met"] * 6 and table.notes == ["6 of 6 met."]
    yours = [row[3] for row in table.rows]
    assert yours[:2] == ["151,695,360 bytes", "193 batches, the last of 57; 386 steps"]
    assert yours[2].endswith("MB of private memory at the peak")
    assert yours[3].startswith("24,690 samples in ") and yours[4].endswith("of 1,777 images")


def test_a_schedule_resumes_when_it_is_planned_for_the_projects_own_epochs():
    """`epochs` is how far this call goes: a schedule over it differs between a run of one epoch and a run of two."""
    load = "load_checkpoint(checkpoint, model, optimizer)"
    plan = "schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, 16 * self.epochs)"
    planned = worked(
        (f"done = {load}", f"{plan}\n        done = {load[:-1]}, scheduler=schedule)"),
        ('"seed": 0,', '"seed": 0, "scheduler": schedule, "scheduler_unit": "step",'),
    )
    assert lesson_15.resumes.check(planned).kind == "right"
