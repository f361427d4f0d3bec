"""Tests of `schedules`: the learning rates of a loop written by hand, and schedulers that were told wrong refused."""

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from dlhelpers.train import History, fit, train_epoch
from dlhelpers.train import loop as loops
from dlhelpers.train.schedules import asks_loss

LOSS = nn.CrossEntropyLoss()
EPOCHS, BATCHES = 4, 3
MAKERS = {
    "StepLR": lambda o, n: lr_scheduler.StepLR(o, 2, gamma=0.5),
    "ExponentialLR": lambda o, n: lr_scheduler.ExponentialLR(o, 0.9),
    "LambdaLR": lambda o, n: lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
    "OneCycleLR": lambda o, n: lr_scheduler.OneCycleLR(o, 0.3, total_steps=n),
    "CosineAnnealingLR": lambda o, n: lr_scheduler.CosineAnnealingLR(o, n),
    "LinearLR": lambda o, n: lr_scheduler.LinearLR(o, 1.0, 0.1, total_iters=n),
    "ConstantLR": lambda o, n: lr_scheduler.ConstantLR(o, 0.5, total_iters=n - 1),
    "SequentialLR": lambda o, n: lr_scheduler.SequentialLR(
        o,
        [lr_scheduler.LinearLR(o, 0.1, total_iters=2), lr_scheduler.CosineAnnealingLR(o, n - 2)],
        [2],
    ),
}


def loader(n=20):
    random = torch.Generator().manual_seed(0)
    return DataLoader(
        TensorDataset(
            torch.randn(n, 5, generator=random), torch.randint(3, (n,), generator=random)
        ),
        8,
    )


def learner(lr=0.1):
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    return model, torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


def rate(optimizer):
    return optimizer.param_groups[0]["lr"]


def record(optimizer, rates):
    """Note the learning rate of each optimizer step."""
    optimizer.register_step_pre_hook(lambda *args: rates.append(rate(optimizer)))


# The rates of a loop written by hand


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("unit, per_epoch", [("epoch", 1), ("step", BATCHES)])
@pytest.mark.parametrize("micro_batch_size", [None, 3])
def test_the_learning_rates_are_those_of_a_loop_written_by_hand(
    name, unit, per_epoch, micro_batch_size
):
    by_hand, ours = [], []
    model, optimizer = learner()
    record(optimizer, by_hand)
    scheduler = MAKERS[name](optimizer, EPOCHS * per_epoch)
    for _ in range(EPOCHS):
        for inputs, labels in loader():
            optimizer.zero_grad()
            LOSS(model(inputs), labels).backward()
            optimizer.step()
            if unit == "step":
                scheduler.step()
        if unit == "epoch":
            scheduler.step()
    other, optimizer_2 = learner()
    record(optimizer_2, ours)
    other_scheduler = MAKERS[name](optimizer_2, EPOCHS * per_epoch)
    fit(
        other,
        loader(),
        LOSS,
        optimizer_2,
        epochs=EPOCHS,
        scheduler=other_scheduler,
        scheduler_unit=unit,
        micro_batch_size=micro_batch_size,
        valid_loader=loader(),
        progress=False,
    )
    assert ours == by_hand and len(set(ours)) > 1 and len(ours) == EPOCHS * BATCHES
    assert rate(optimizer_2) == rate(optimizer)
    if micro_batch_size is None:
        assert torch.equal(model.weight, other.weight)


@pytest.mark.parametrize("unit, per_epoch", [("epoch", 1), ("step", BATCHES)])
@pytest.mark.parametrize("name", MAKERS)
def test_two_calls_with_one_history_go_on_in_the_schedule(name, unit, per_epoch):
    rates = []
    for parts in ([4], [1, 3], [2, 2]):
        model, optimizer = learner()
        rates.append([])
        record(optimizer, rates[-1])
        scheduler, history = MAKERS[name](optimizer, EPOCHS * per_epoch), History()
        for epochs in parts:
            fit(
                model,
                loader(),
                LOSS,
                optimizer,
                epochs=epochs,
                scheduler=scheduler,
                scheduler_unit=unit,
                history=history,
                progress=False,
            )
        assert history.epochs == EPOCHS
    assert rates[0] == rates[1] == rates[2]


def test_a_single_epoch_moves_its_scheduler_on_after_each_step():
    model, optimizer = learner()
    scheduler = lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    train_epoch(model, loader(), LOSS, optimizer, scheduler=scheduler)
    assert rate(optimizer) == 0.1 * 0.5**BATCHES and scheduler.last_epoch == BATCHES


def test_no_scheduler_is_moved_on_by_evaluation_or_without_being_given():
    model, optimizer = learner()
    scheduler = lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    fit(model, loader(), LOSS, optimizer, epochs=2, valid_loader=loader(), progress=False)
    assert rate(optimizer) == 0.1 and scheduler.last_epoch == 0


# Schedulers that ask for the loss


@pytest.mark.parametrize("validated", [True, False])
def test_reduce_on_plateau_gets_the_validation_loss_or_else_that_of_training(
    monkeypatch, validated
):
    given = []
    true_step = lr_scheduler.ReduceLROnPlateau.step
    monkeypatch.setattr(
        lr_scheduler.ReduceLROnPlateau,
        "step",
        lambda s, loss: given.append(loss) or true_step(s, loss),
    )
    model, optimizer = learner()
    scheduler = lr_scheduler.ReduceLROnPlateau(
        optimizer, patience=0, threshold=10.0, threshold_mode="abs", factor=0.5
    )
    history = fit(
        model,
        loader(),
        LOSS,
        optimizer,
        epochs=3,
        valid_loader=loader(12) if validated else None,
        scheduler=scheduler,
        progress=False,
    )
    assert (
        given == history.column("valid_loss" if validated else "train_loss")
        and len(set(given)) == 3
    )
    assert rate(optimizer) == 0.1 * 0.5**2  # two epochs that were not better by 10


def test_only_reduce_on_plateau_asks_for_a_loss():
    _, optimizer = learner()
    assert asks_loss(lr_scheduler.ReduceLROnPlateau(optimizer))
    assert not any(asks_loss(make(optimizer, 9)) for make in MAKERS.values()) and not asks_loss(
        None
    )


# An epoch whose validation is broken off


def test_an_interrupt_during_validation_leaves_no_epoch_out_of_the_schedule(monkeypatch):
    model, optimizer = learner()
    scheduler = lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    true_evaluate, calls = loops.evaluate, []

    def evaluate(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return true_evaluate(*args, **options)

    monkeypatch.setattr(loops, "evaluate", evaluate)
    options = {"valid_loader": loader(), "scheduler": scheduler, "progress": False}
    history = fit(model, loader(), LOSS, optimizer, epochs=3, **options)
    assert history.interrupted and history.epochs == 2 and scheduler.last_epoch == 2
    fit(model, loader(), LOSS, optimizer, epochs=1, history=history, **options)
    assert history.epochs == scheduler.last_epoch == 3 and rate(optimizer) == 0.1 * 0.5**3


# At the door


@pytest.mark.parametrize("unit", ["epochs", "batch", "", None, 1])
@pytest.mark.parametrize("with_scheduler", [True, False])
def test_an_unknown_unit_is_refused_before_anything_is_learned(unit, with_scheduler):
    model, optimizer = learner()
    before, history = model.weight.clone(), History()
    scheduler = lr_scheduler.StepLR(optimizer, 1) if with_scheduler else None
    with pytest.raises(ValueError, match=f"scheduler_unit is {unit!r}: expected 'epoch' or 'step'"):
        fit(
            model,
            loader(),
            LOSS,
            optimizer,
            epochs=1,
            scheduler=scheduler,
            scheduler_unit=unit,
            history=history,
            progress=False,
        )
    assert torch.equal(before, model.weight) and len(history) == 0


@pytest.mark.parametrize("name", ["OneCycleLR", "CosineAnnealingLR", "LinearLR"])
@pytest.mark.parametrize(
    "unit, told, takes", [("step", EPOCHS, EPOCHS * BATCHES), ("epoch", EPOCHS * BATCHES, EPOCHS)]
)
def test_a_scheduler_told_of_the_other_unit_is_refused(name, unit, told, takes):
    model, optimizer = learner()
    before, scheduler = model.weight.clone(), MAKERS[name](optimizer, told)
    text = (
        rf"{name} was told of {told} steps, but scheduler_unit='{unit}' moves it on {takes} times"
        r" \(4 epochs of 3 batch"
    )
    with pytest.raises(ValueError, match=text) as caught:
        fit(
            model,
            loader(),
            LOSS,
            optimizer,
            epochs=EPOCHS,
            scheduler=scheduler,
            scheduler_unit=unit,
            progress=False,
        )
    assert f"build it with {takes}, or change scheduler_unit" in str(caught.value)
    assert torch.equal(before, model.weight) and scheduler.last_epoch == 0


@pytest.mark.parametrize("told", [7, 11])
def test_one_cycle_that_would_run_out_is_refused_before_it_does(told):
    model, optimizer = learner()
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=told)
    with pytest.raises(ValueError, match=f"told of {told} steps.*moves it on 12 times"):
        fit(
            model,
            loader(),
            LOSS,
            optimizer,
            epochs=4,
            scheduler=scheduler,
            scheduler_unit="step",
            progress=False,
        )


def test_one_cycle_that_has_been_used_up_says_how_far_it_is():
    model, optimizer = learner()
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=EPOCHS * BATCHES)
    options = {"scheduler": scheduler, "scheduler_unit": "step", "progress": False}
    history = fit(model, loader(), LOSS, optimizer, epochs=4, **options)
    with pytest.raises(ValueError, match="after the 12 it has taken: build it with 15"):
        fit(model, loader(), LOSS, optimizer, epochs=1, history=history, **options)
    assert history.epochs == 4


def test_a_schedule_that_ends_before_or_after_training_is_allowed():
    for make in (
        lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=5),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 99),
    ):
        model, optimizer = learner()
        history = fit(
            model,
            loader(),
            LOSS,
            optimizer,
            epochs=4,
            scheduler=make(optimizer),
            scheduler_unit="step",
            progress=False,
        )
        assert history.epochs == 4


def test_reduce_on_plateau_by_step_is_refused():
    model, optimizer = learner()
    before = model.weight.clone()
    with pytest.raises(ValueError, match="ReduceLROnPlateau asks how an epoch went: use 'epoch'"):
        fit(
            model,
            loader(),
            LOSS,
            optimizer,
            epochs=1,
            scheduler=lr_scheduler.ReduceLROnPlateau(optimizer),
            scheduler_unit="step",
            progress=False,
        )
    assert torch.equal(before, model.weight)


class Stream(IterableDataset):
    """20 samples without a length."""

    def __iter__(self):
        return iter(loader().dataset)


@pytest.mark.parametrize("name", [None, "StepLR", "CosineAnnealingLR", "OneCycleLR"])
@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_a_stream_has_no_length_and_needs_none(name, unit):
    model, optimizer = learner()
    scheduler = MAKERS[name](optimizer, 20) if name else None
    history = fit(
        model,
        DataLoader(Stream(), 8),
        LOSS,
        optimizer,
        epochs=2,
        scheduler=scheduler,
        scheduler_unit=unit,
        progress=False,
    )
    assert history.epochs == 2 and (
        not name or scheduler.last_epoch == (2 if unit == "epoch" else 2 * BATCHES)
    )


@pytest.mark.parametrize("make", [lr_scheduler.LinearLR, lr_scheduler.ConstantLR])
def test_a_warm_up_may_be_as_long_as_there_are_epochs(make):
    model, optimizer = learner()
    fit(
        model,
        loader(),
        LOSS,
        optimizer,
        epochs=5,
        scheduler=make(optimizer),
        scheduler_unit="step",
        progress=False,
    )
    assert rate(optimizer) == pytest.approx(0.1)
