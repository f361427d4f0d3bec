"""Tests of `schedules`: the learning rates of a loop written by hand, and schedulers that were told wrong refused."""

import pytest
import torch
from small_runs import LOSS, batches, run
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, IterableDataset

from dlhelpers.train import History

EPOCHS, BATCHES = 4, 3
MAKERS = {
    "StepLR": lambda o, n: lr_scheduler.StepLR(o, 2, gamma=0.5),
    "OneCycleLR": lambda o, n: lr_scheduler.OneCycleLR(o, 0.3, total_steps=n),
    "CosineAnnealingLR": lambda o, n: lr_scheduler.CosineAnnealingLR(o, n),
    "LinearLR": lambda o, n: lr_scheduler.LinearLR(o, 1.0, 0.1, total_iters=n),
}
each_scheduler = pytest.mark.parametrize("name", MAKERS)
each_unit = pytest.mark.parametrize("unit, per_epoch", [("epoch", 1), ("step", BATCHES)])


def learner():
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def rate(optimizer):
    return optimizer.param_groups[0]["lr"]


def recorded(optimizer):
    """A list that gets the learning rate of each optimizer step."""
    rates = []
    optimizer.register_step_pre_hook(lambda *args: rates.append(rate(optimizer)))
    return rates


@each_scheduler
@each_unit
def test_the_learning_rates_are_those_of_a_loop_written_by_hand(name, unit, per_epoch):
    model, optimizer = learner()
    by_hand = recorded(optimizer)
    scheduler = MAKERS[name](optimizer, EPOCHS * per_epoch)
    for _ in range(EPOCHS):
        for inputs, labels in batches():
            optimizer.zero_grad()
            LOSS(model(inputs), labels).backward()
            optimizer.step()
            if unit == "step":
                scheduler.step()
        if unit == "epoch":
            scheduler.step()
    assert len(set(by_hand)) > 1 and len(by_hand) == EPOCHS * BATCHES
    for size, parts in ((None, [1, 3]), (3, [4])):
        ours, again = learner()
        rates, history = recorded(again), History()
        moved = {"scheduler": MAKERS[name](again, EPOCHS * per_epoch), "scheduler_unit": unit}
        options = {"micro_batch_size": size, "valid_loader": batches(), "history": history}
        for epochs in parts:
            run(ours, batches(), LOSS, again, epochs=epochs, **moved, **options)
        assert rates == by_hand and rate(again) == rate(optimizer)
        assert size or torch.equal(model.weight, ours.weight)


def test_reduce_on_plateau_gets_the_validation_loss():
    model, optimizer = learner()
    options = {"patience": 0, "threshold": 10.0, "threshold_mode": "abs", "factor": 0.5}
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, **options)
    moved = {"valid_loader": batches(12), "scheduler": scheduler}
    history = run(model, batches(), LOSS, optimizer, epochs=3, **moved)
    assert scheduler.best == history.column("valid_loss")[0]
    assert rate(optimizer) == 0.1 * 0.5**2, "two were not better by 10"


def test_an_interrupt_during_validation_leaves_no_epoch_out_of_the_schedule():
    class Validation(DataLoader):
        def __iter__(self):
            raise KeyboardInterrupt

    model, optimizer = learner()
    scheduler, valid = lr_scheduler.StepLR(optimizer, 1), Validation(batches().dataset)
    options = {"valid_loader": valid, "scheduler": scheduler}
    history = run(model, batches(), LOSS, optimizer, epochs=3, **options)
    assert history.interrupted and history.epochs == scheduler.last_epoch == 1


# At the door


def refused(make, unit, told, words):
    """`fit` raises, and neither the model nor the scheduler has moved."""
    model, optimizer = learner()
    before, scheduler = model.weight.clone(), make(optimizer, told)
    moved = {"scheduler": scheduler, "scheduler_unit": unit}
    with pytest.raises(ValueError, match=words):
        run(model, batches(), LOSS, optimizer, epochs=EPOCHS, **moved)
    assert torch.equal(before, model.weight) and scheduler.last_epoch == 0


def test_an_unknown_unit_and_a_plateau_by_step_are_refused():
    words = "scheduler_unit is 'epochs': expected 'epoch' or 'step'"
    refused(MAKERS["StepLR"], "epochs", 4, words)
    words = "ReduceLROnPlateau asks how an epoch went: use 'epoch'"
    refused(lambda optimizer, _: lr_scheduler.ReduceLROnPlateau(optimizer), "step", 4, words)


@pytest.mark.parametrize("name", ["CosineAnnealingLR", "LinearLR"])
@pytest.mark.parametrize("unit, told, takes", [("step", 4, 12), ("epoch", 12, 4)])
def test_a_scheduler_told_of_the_other_unit_is_refused(name, unit, told, takes):
    counts = rf"moves it on {takes} times \(4 epochs of 3 batch"
    remedy = f"build it with {takes}, or change scheduler_unit"
    words = f"{name} was told of {told} steps, but scheduler_unit='{unit}' {counts}.*{remedy}"
    refused(MAKERS[name], unit, told, words)


def test_one_cycle_that_runs_out_is_refused_and_says_how_far_it_is():
    model, optimizer = learner()
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=EPOCHS * BATCHES)
    options = {"scheduler": scheduler, "scheduler_unit": "step"}
    history = run(model, batches(), LOSS, optimizer, epochs=4, **options)
    with pytest.raises(ValueError, match="after the 12 it has taken: build it with 15"):
        run(model, batches(), LOSS, optimizer, history=history, **options)
    assert history.epochs == 4


def test_a_stream_has_no_length_and_needs_none():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(batches().dataset)

    model, optimizer = learner()
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 2)  # as many as there are epochs
    moved = {"scheduler": scheduler, "scheduler_unit": "step"}
    run(model, DataLoader(Stream(), 8), LOSS, optimizer, epochs=2, **moved)
    assert scheduler.last_epoch == 2 * BATCHES
