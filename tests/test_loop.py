"""Tests of `loop`: equal to a bare loop, exact for every batch size, few reads, polite when interrupted."""

import math
import multiprocessing
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import data, network, same, sgd, weights
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import (
    DataLoader,
    Dataset,
    RandomSampler,
    TensorDataset,
    dataloader,
    get_worker_info,
)

from dlhelpers.train import EpochResult, History, accuracy, evaluate, fit, train_epoch
from dlhelpers.train import loop as loops
from dlhelpers.train import meter as tally
from dlhelpers.train.loop import make_scaler, mode

LOSS = nn.CrossEntropyLoss()
needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="this machine has no CUDA device"
)


# Equal to what PyTorch does


@pytest.mark.parametrize("max_norm", [None, 0.5])
@pytest.mark.parametrize("make", [sgd, lambda model: torch.optim.AdamW(model.parameters())])
def test_weights_are_bit_equal_to_those_of_a_bare_loop(make, max_norm):
    bare, ours = network(), network()
    optimizer = make(bare)
    torch.manual_seed(1)
    for _ in range(3):
        for inputs, labels in DataLoader(data(), 8, shuffle=True):
            optimizer.zero_grad()
            LOSS(bare(inputs), labels).backward()
            if max_norm:
                nn.utils.clip_grad_norm_(bare.parameters(), max_norm)
            optimizer.step()
    torch.manual_seed(1)
    fit(
        ours,
        DataLoader(data(), 8, shuffle=True),
        LOSS,
        make(ours),
        epochs=3,
        max_norm=max_norm,
        metrics={"accuracy": accuracy},
        progress=False,
    )
    assert same(weights(bare), weights(ours)) and not same(weights(ours), weights(network()))


@pytest.mark.parametrize("amp_dtype", [None, torch.float16])
def test_gradients_that_no_optimizer_takes_do_not_shorten_those_that_it_does(amp_dtype):
    """Only the last layer learns; nobody clears what `backward` leaves in the first."""
    ends = []
    for frozen in (True, False):
        model = network()
        last = next(reversed(list(model.children())))
        for part in model.children():
            part.requires_grad_(part is last or not frozen)
        fit(
            model,
            DataLoader(data(), 8),
            LOSS,
            sgd(last),
            epochs=3,
            max_norm=0.1,
            amp_dtype=amp_dtype,
            progress=False,
        )
        ends.append([weight.detach().clone() for weight in last.parameters()])
    assert same(*ends)


def test_with_a_seed_the_order_of_a_samplers_own_generator_follows_from_the_epoch():
    def run(*epochs):
        model, images, history = network(), data(), History()
        optimizer = sgd(model)
        for count in epochs:
            sampler = RandomSampler(images, generator=torch.Generator().manual_seed(5))
            fit(
                model,
                DataLoader(images, 8, sampler=sampler),
                LOSS,
                optimizer,
                epochs=count,
                history=history,
                seed=0,
                progress=False,
            )
        return weights(model)

    assert same(run(2), run(1, 1)) and not same(run(2), run(1))


def test_a_seed_may_be_a_number_of_numpy():
    model, generator = network(), torch.Generator()
    loader = DataLoader(data(), 8, shuffle=True, generator=generator)
    fit(model, loader, LOSS, sgd(model), epochs=1, seed=np.int64(3), progress=False)
    assert generator.initial_seed() == 4


def test_training_takes_one_step_a_batch_and_counts_it():
    model = network()
    result = train_epoch(model, DataLoader(data(20), 8), LOSS, sgd(model))
    assert (result.samples, result.batches, result.optimizer_steps, result.skipped_steps) == (
        20,
        3,
        3,
        0,
    )


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_evaluation_is_the_same_for_every_batch_size(draw):
    n = draw.draw(st.integers(1, 24), label="N")
    number = st.floats(-5, 5, width=32)
    inputs = torch.tensor(
        draw.draw(st.lists(st.lists(number, min_size=4, max_size=4), min_size=n, max_size=n))
    )
    labels = torch.tensor(draw.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))
    with torch.inference_mode():
        model.eval()
        outputs = model(inputs)
        loss = LOSS(outputs.double(), labels).item()
    for size in range(1, n + 1):
        found = evaluate(
            model,
            DataLoader(TensorDataset(inputs, labels), size),
            LOSS,
            metrics={"right": accuracy},
        )
        assert math.isclose(found.loss, loss, rel_tol=1e-6), size
        assert math.isclose(
            found.metrics["right"], accuracy(outputs, labels).double().mean().item(), rel_tol=1e-6
        )
        assert found.samples == n


def test_the_right_accuracy_of_a_ragged_loader_comes_out():
    labels = torch.tensor([0] * 8 + [1] * 56 + [0] * 11)  # right are 8 of 32, 0 of 32, 11 of 11
    model = nn.Linear(2, 2)
    nn.init.zeros_(model.weight)
    model.bias.data = torch.tensor([1.0, 0.0])  # always class 0
    result = evaluate(
        model,
        DataLoader(TensorDataset(torch.zeros(75, 2), labels), 32),
        LOSS,
        metrics={"a": accuracy},
    )
    assert result.metrics["a"] == 19 / 75 != (8 / 32 + 0 / 32 + 11 / 11) / 3


def test_a_loss_without_reduction_gives_the_same_numbers_and_weights():
    mean, each = network(), network()
    for model, loss_fn in ((mean, LOSS), (each, nn.CrossEntropyLoss(reduction="none"))):
        torch.manual_seed(1)
        fit(model, DataLoader(data(), 8), loss_fn, sgd(model), epochs=2, progress=False)
    assert all(torch.allclose(a, b) for a, b in zip(weights(mean), weights(each), strict=True))


def test_evaluating_the_training_set_is_no_training_epoch():
    model, loader, history = network(), DataLoader(data(), 8), History()
    evaluate(model, loader, LOSS, phase="train", history=history)
    assert len(history) == 1 and history.epochs == 0
    fit(model, loader, LOSS, sgd(model), epochs=1, history=history, progress=False)
    assert [r.epoch for r in history] == [1, 1] and history.epochs == 1


def test_the_optimizers_own_zero_grad_is_called_once_a_step():
    class Spy(torch.optim.SGD):
        calls = 0

        def zero_grad(self, set_to_none=True):
            self.calls += 1
            super().zero_grad(set_to_none)

    model = network()
    optimizer = Spy(model.parameters(), lr=0.1)
    train_epoch(model, DataLoader(data(), 8), LOSS, optimizer, micro_batch_size=4)
    assert optimizer.calls == 3


def test_evaluation_changes_nothing_and_keeps_no_graph():
    kept = []

    def loss_fn(outputs, targets):
        kept.append(outputs.requires_grad)
        return LOSS(outputs, targets)

    model = network()
    before = weights(model)
    evaluate(model, DataLoader(data(), 8), loss_fn)
    assert same(before, weights(model)) and all(p.grad is None for p in model.parameters())
    assert model.training and kept and not any(kept)


@pytest.mark.parametrize("training", [True, False])
def test_each_part_of_a_model_gets_its_own_mode_back(training):
    model = network().train(not training)
    model[1].train(training)
    before = [part.training for part in model.modules()]
    with pytest.raises(RuntimeError, match="inside"):
        with mode(model, training=training):
            assert all(part.training is training for part in model.modules())
            raise RuntimeError("inside")
    assert [part.training for part in model.modules()] == before


def test_models_train_in_training_mode_and_are_evaluated_in_evaluation_mode():
    seen = []

    class Spy(nn.Linear):
        def forward(self, inputs):
            seen.append((self.training, torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
            return super().forward(inputs)

    model = Spy(5, 3).eval()
    loader = DataLoader(data(8), 8)
    fit(model, loader, LOSS, sgd(model), epochs=1, valid_loader=loader, progress=False)
    assert seen == [(True, True, False), (False, False, True)] and not model.training


@pytest.mark.parametrize("amp_dtype", [None, torch.bfloat16, torch.float16])
def test_the_gradient_is_never_longer_than_max_norm(amp_dtype):
    lengths, model = [], network()

    class Spy(torch.optim.SGD):
        def step(self, closure=None):
            lengths.append(torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item())
            return super().step(closure)

    options = {"epochs": 1, "amp_dtype": amp_dtype, "progress": False}
    fit(model, DataLoader(data(), 8), LOSS, Spy(model.parameters(), lr=0.01), **options)
    free, lengths[:] = list(lengths), []
    fit(
        model,
        DataLoader(data(), 8),
        LOSS,
        Spy(model.parameters(), lr=0.01),
        max_norm=0.1,
        **options,
    )
    assert min(free) > 0.1 and max(lengths) <= 0.1 * (1 + 1e-5) and min(lengths) > 0.099


# Mixed precision


def test_bfloat16_on_a_cpu_trains_and_is_used():
    seen = []
    model = network()
    model[4].register_forward_hook(lambda module, inputs, outputs: seen.append(outputs.dtype))
    loader = DataLoader(data(60), 20)
    history = fit(
        model,
        loader,
        LOSS,
        sgd(model),
        epochs=8,
        amp_dtype=torch.bfloat16,
        valid_loader=loader,
        metrics={"accuracy": accuracy},
        max_norm=1.0,
        progress=False,
    )
    losses = history.column("valid_loss")
    assert set(seen) == {torch.bfloat16} and losses[-1] < losses[0]
    assert all(parameter.dtype is torch.float32 for parameter in model.parameters())
    assert not torch.is_autocast_enabled("cpu")


def test_metrics_are_computed_alike_in_training_and_evaluation():
    def projected(outputs, targets):
        return (outputs.float() @ torch.full((3, 1), 1.001)).squeeze(
            1
        )  # in bfloat16 another number

    model, loader = nn.Linear(5, 3), DataLoader(data(20), 8)
    options = {"amp_dtype": torch.bfloat16, "metrics": {"projected": projected}}
    trained = train_epoch(model, loader, LOSS, sgd(model, lr=0.0), **options)
    assert evaluate(model, loader, LOSS, **options).metrics == trained.metrics


def test_float16_steps_that_overflow_are_skipped_and_counted():
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    inputs, labels = data(16).tensors
    loader = DataLoader(
        TensorDataset(inputs * 1000, labels), 4
    )  # times the scale of 65,536: beyond float16
    before = weights(model)
    scaler = make_scaler(torch.device("cpu"), torch.float16)
    result = train_epoch(
        model, loader, LOSS, sgd(model, lr=0.0), amp_dtype=torch.float16, scaler=scaler
    )
    assert (
        result.skipped_steps > 0
        and result.optimizer_steps + result.skipped_steps == 4 == result.batches
    )
    assert scaler.get_scale() == 65536 / 2**result.skipped_steps
    assert same(before, weights(model)) and math.isfinite(result.loss)


class FakeScaler:
    """A scaler that notes what it is asked, and leaves out the steps whose numbers (from 1) it is given."""

    def __init__(self, skipped=()):
        self.calls, self.skipped, self.scale_now = [], skipped, 64.0
        self.steps, self.unscaled, self.reads = 0, False, 0

    def is_enabled(self):
        return True

    def get_scale(self):
        self.reads += 1
        return self.scale_now

    def scale(self, loss):
        self.calls.append("scale")
        return loss * self.scale_now

    def unscale_(self, optimizer):
        self.calls.append("unscale_")
        assert not self.unscaled
        self.unscaled = True
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad /= self.scale_now

    def step(self, optimizer):
        if not self.unscaled:
            self.unscale_(optimizer)
            self.calls.pop()
        self.calls.append("step")
        self.steps += 1
        if self.steps not in self.skipped:
            optimizer.step()

    def update(self):
        self.calls.append("update")
        self.unscaled = False
        self.scale_now /= 2 if self.steps in self.skipped else 1


@pytest.mark.parametrize("size, parts", [(None, [1, 1, 1]), (3, [3, 3, 2]), (4, [2, 2, 1])])
@pytest.mark.parametrize("max_norm", [None, 0.1])
def test_a_scaler_is_asked_in_the_right_order_and_changes_no_weight(max_norm, size, parts):
    models, scaler, lengths = [nn.Linear(5, 3), nn.Linear(5, 3)], FakeScaler(), []
    models[1].load_state_dict(models[0].state_dict())
    for model, chosen in zip(models, (None, scaler), strict=True):
        optimizer = sgd(model)
        optimizer.register_step_pre_hook(
            lambda optimizer, *_: lengths.append(
                torch.cat([p.grad.flatten() for p in optimizer.param_groups[0]["params"]])
                .norm()
                .item()
            )
        )
        result = train_epoch(
            model,
            DataLoader(data(), 8),
            LOSS,
            optimizer,
            max_norm=max_norm,
            micro_batch_size=size,
            scaler=chosen,
        )
    assert scaler.reads == 1 + 3  # one at the beginning, and one a step
    step = ["unscale_", "step", "update"] if max_norm else ["step", "update"]
    assert scaler.calls == [call for part in parts for call in ["scale"] * part + step]
    assert (
        same(weights(models[0]), weights(models[1])) and lengths[:3] == lengths[3:]
    )  # 64 is a power of two
    assert max_norm is None or max(lengths) <= max_norm * (1 + 1e-5)
    assert (result.optimizer_steps, result.skipped_steps, result.micro_batches) == (
        3,
        0,
        sum(parts),
    )


def test_steps_that_are_skipped_do_not_move_the_scheduler():
    model = network()
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    history = fit(
        model,
        DataLoader(data(), 8),
        LOSS,
        optimizer,
        epochs=2,
        scaler=FakeScaler({1, 2, 5}),
        scheduler=scheduler,
        scheduler_unit="step",
        progress=False,
    )
    assert scheduler.last_epoch == 3 and optimizer.param_groups[0]["lr"] == 0.1 * 0.5**3
    assert history.column("train_skipped_steps") == [2, 1] and history.column(
        "train_optimizer_steps"
    ) == [1, 2]


def test_a_scale_that_grows_skips_nothing():
    model = network()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0, growth_interval=1)
    result = train_epoch(
        model,
        DataLoader(data(), 8),
        LOSS,
        sgd(model),
        amp_dtype=torch.float16,
        scaler=scaler,
        micro_batch_size=2,
    )
    assert scaler.get_scale() == 16.0 and (result.optimizer_steps, result.skipped_steps) == (3, 0)


@pytest.mark.parametrize("amp_dtype", [torch.float16, torch.bfloat16])
def test_mixed_precision_in_micro_batches_stays_close_to_the_whole_batch(amp_dtype):
    results = []
    for size in (None, 3):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
        start = torch.cat([w.flatten() for w in weights(model)])
        fit(
            model,
            DataLoader(data(), 8),
            LOSS,
            sgd(model),
            epochs=1,
            amp_dtype=amp_dtype,
            max_norm=1.0,
            micro_batch_size=size,
            progress=False,
        )
        results.append(torch.cat([w.flatten() for w in weights(model)]))
    moved = (results[0] - start).norm()
    assert moved > 0.05 and (results[0] - results[1]).norm() < 0.02 * moved


def test_only_float16_needs_a_scaler():
    enabled = [
        make_scaler(torch.device("cpu"), t).is_enabled()
        for t in (None, torch.bfloat16, torch.float16)
    ]
    assert enabled == [False, False, True]


# Few reads


class Reads(TorchDispatchMode):
    """Counts each time that a number is read from a tensor, by whatever road."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.count = 0
        for name in ("tolist", "cpu", "numpy"):  # roads that do not pass the dispatcher on a CPU
            monkeypatch.setattr(torch.Tensor, name, self.counted(getattr(torch.Tensor, name)))

    def counted(self, method):
        def count(*args, **options):
            self.count += 1
            return method(*args, **options)

        return count

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "road", [float, int, bool, lambda t: t.item(), lambda t: t.tolist(), lambda t: t.cpu()]
)
def test_the_counter_of_reads_sees_each_road(monkeypatch, road):
    with Reads(monkeypatch) as reads:
        road(torch.ones(()))
    assert reads.count == 1


def test_reads_an_epoch_do_not_grow_with_the_number_of_batches(monkeypatch):
    monkeypatch.setattr(
        tally, "READ_SECONDS", math.inf
    )  # reads for the bar follow the clock, not the batches
    counts = []
    for n in (20, 400):
        inputs, labels = data(2).tensors
        loader = [(inputs, labels)] * n
        model = network()
        with pytest.MonkeyPatch.context() as patch, Reads(patch) as reads:
            fit(
                model,
                loader,
                LOSS,
                sgd(model, 0.01),
                epochs=1,
                valid_loader=loader,
                metrics={"a": accuracy},
                max_norm=1.0,
                progress=False,
            )
        counts.append(reads.count)
    assert counts[0] == counts[1] > 0


def test_the_bar_makes_reads_follow_the_clock(monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(
        tally, "perf_counter", lambda: next(clock) / 100
    )  # each look at the clock takes 10 ms
    model = network()
    with Reads(monkeypatch) as reads:
        train_epoch(model, [data(4).tensors] * 100, LOSS, sgd(model, 0.01))
    at_first = 3  # of labels and loss, in the first batch
    assert 2 <= reads.count - at_first <= 100 * 4 / 100 / tally.READ_SECONDS + 1


# Interrupts and errors


class Interrupting(Dataset):
    """20 samples; asking for number `at` interrupts, unless that happens in a worker."""

    def __init__(self, at=None):
        self.inputs, self.labels = data().tensors
        self.at = at

    def __len__(self):
        return 20

    def __getitem__(self, index):
        if index == self.at and get_worker_info() is None:
            raise KeyboardInterrupt
        return self.inputs[index], self.labels[index]


def interrupt(*args):
    raise KeyboardInterrupt


def parts_with_interrupt(phase):
    """A model, loaders, an optimizer and a remedy: a function that takes the interrupt away again."""
    model = network()
    model[3].eval()
    train, valid = Interrupting(), Interrupting()
    optimizer = sgd(model)
    if phase == "fetch":
        train.at = 13
    elif phase == "evaluation fetch":
        valid.at = 13
    elif phase == "forward":
        handle = model[4].register_forward_hook(
            lambda module, i, o: interrupt() if module.training else None
        )
    elif phase == "backward":
        handle = model[0].weight.register_hook(interrupt)
    elif phase == "step":
        handle = optimizer.register_step_pre_hook(interrupt)
    elif phase == "evaluation":
        handle = model[4].register_forward_hook(
            lambda module, i, o: None if module.training else interrupt()
        )

    def remedy():
        train.at = valid.at = None
        if phase in ("forward", "backward", "step", "evaluation"):
            handle.remove()

    return model, train, valid, optimizer, remedy


TRAIN_PHASES = ["fetch", "forward", "backward", "step"]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("phase", [*TRAIN_PHASES, "evaluation", "evaluation fetch"])
def test_an_interrupt_leaves_everything_whole_and_training_goes_on(monkeypatch, phase, workers):
    model, train, valid, optimizer, remedy = parts_with_interrupt(phase)
    true_get = (
        dataloader._MultiProcessingDataLoaderIter._get_data
    )  # where the main process waits for its workers

    def get(iterator):
        return true_get(iterator) if iterator._dataset.at is None else interrupt()

    monkeypatch.setattr(dataloader._MultiProcessingDataLoaderIter, "_get_data", get)
    modes = [part.training for part in model.modules()]
    loaders = [DataLoader(dataset, 8, num_workers=workers) for dataset in (train, valid)]
    options = {"valid_loader": loaders[1], "amp_dtype": torch.bfloat16, "progress": False}
    history = fit(model, loaders[0], LOSS, optimizer, epochs=2, **options)
    assert history.interrupted and history.stop_reason == "interrupted"
    found = [(r.phase, r.epoch, r.complete) for r in history]
    in_training = phase in TRAIN_PHASES
    assert found == (
        [("train", 1, False)] if in_training else [("train", 1, True), ("valid", 1, False)]
    )
    assert [part.training for part in model.modules()] == modes
    assert (
        not torch.is_autocast_enabled("cpu")
        and torch.is_grad_enabled()
        and not torch.is_inference_mode_enabled()
    )
    assert multiprocessing.active_children() == []
    remedy()
    assert fit(model, loaders[0], LOSS, optimizer, epochs=2, history=history, **options) is history
    assert not history.interrupted and history.epochs == (2 if in_training else 3)
    first = 1 if in_training else 2
    later = [(r.phase, r.epoch) for r in history[len(found) :]]
    assert later == [(p, epoch) for epoch in (first, first + 1) for p in ("train", "valid")]
    assert all(r.complete and r.samples == 20 for r in history[len(found) :])


def test_an_interrupt_at_a_later_micro_batch_takes_no_step():
    model, calls = network(), []

    def third(module, inputs, output):
        calls.append(1)
        if len(calls) == 3:
            interrupt()

    handle = model[4].register_forward_hook(third)
    before = [p.clone() for p in model.parameters()]
    optimizer = sgd(model)
    history = fit(
        model, DataLoader(data(), 8), LOSS, optimizer, epochs=1, micro_batch_size=2, progress=False
    )
    assert history.interrupted and len(calls) == 3 and same(before, list(model.parameters()))
    handle.remove()
    # The half-summed gradients must not enter the next step.
    fresh = network()
    fresh.load_state_dict(model.state_dict())
    for learner, chosen in ((model, optimizer), (fresh, sgd(fresh))):
        torch.manual_seed(1)
        fit(
            learner,
            DataLoader(data(), 8),
            LOSS,
            chosen,
            epochs=1,
            micro_batch_size=2,
            progress=False,
        )
    assert same(weights(model), weights(fresh))


def test_what_was_measured_before_the_interrupt_is_kept():
    model, train, _, optimizer, _ = parts_with_interrupt("fetch")
    history = fit(model, DataLoader(train, 8), LOSS, optimizer, epochs=3, progress=False)
    assert (history[0].samples, history[0].batches, history[0].optimizer_steps) == (8, 1, 1)
    assert math.isfinite(history[0].loss) and history.epochs == 0


def test_an_interrupt_of_a_single_epoch_goes_through():
    model, train, *_ = parts_with_interrupt("fetch")
    history = History()
    with pytest.raises(KeyboardInterrupt):
        train_epoch(model, DataLoader(train, 8), LOSS, sgd(model), history=history)
    assert [r.complete for r in history] == [False]


def test_finished_epochs_survive_an_interrupt_and_numbers_go_on():
    model, loader, history = network(), DataLoader(data(), 8), History()
    optimizer = sgd(model)
    fit(
        model,
        loader,
        LOSS,
        optimizer,
        epochs=3,
        history=history,
        progress=False,
        on_epoch_end=lambda trained, valid: interrupt() if trained.epoch == 2 else None,
    )
    assert history.interrupted and [r.epoch for r in history if r.complete] == [1, 2]
    fit(model, loader, LOSS, optimizer, epochs=2, history=history, progress=False)
    assert history.column("train_samples") == [20] * 4 and [r.epoch for r in history] == [
        1,
        2,
        3,
        4,
    ]
    assert history.stop_reason is None


def test_on_epoch_end_gets_both_results_and_can_stop():
    calls = []

    def stop(trained, valid):
        calls.append((trained.phase, trained.epoch, valid.phase))
        return trained.epoch == 2

    model, loader = network(), DataLoader(data(), 8)
    history = fit(
        model,
        loader,
        LOSS,
        sgd(model),
        epochs=5,
        valid_loader=loader,
        on_epoch_end=stop,
        progress=False,
    )
    assert calls == [("train", 1, "valid"), ("train", 2, "valid")] and history.epochs == 2
    assert (
        history.stop_reason == "on_epoch_end returned True after epoch 2"
        and not history.interrupted
    )


@pytest.mark.parametrize("patience, last", [(1, 3), (3, 7)])
def test_early_stopping_is_one_line_on_epoch_end(monkeypatch, patience, last):
    model, history, script = network(), History(), [5.0, 4.0, 4.5, 3.0, 3.5, 3.25, 3.125, 2.0]
    monkeypatch.setattr(
        loops,
        "evaluate",
        lambda *args, epoch, history, **options: history.add(
            EpochResult("valid", epoch, script[epoch - 1])
        ),
    )
    fit(
        model,
        DataLoader(data(), 8),
        LOSS,
        sgd(model),
        epochs=8,
        valid_loader=DataLoader(data(), 8),
        history=history,
        on_epoch_end=lambda trained, valid: valid.epoch - history.best().epoch >= patience,
        progress=False,
    )
    assert (
        history.epochs == last
        and history.stop_reason == f"on_epoch_end returned True after epoch {last}"
    )
    assert history.column("valid_loss") == script[:last] and not history.interrupted


@pytest.mark.parametrize("answer", [None, False, 0])
def test_an_answer_that_is_not_true_goes_on(answer):
    model, loader = network(), DataLoader(data(), 8)
    history = fit(
        model,
        loader,
        LOSS,
        sgd(model),
        epochs=3,
        on_epoch_end=lambda *results: answer,
        progress=False,
    )
    assert history.epochs == 3 and history.stop_reason is None


@pytest.mark.parametrize("read_seconds", [-1.0, math.inf])
def test_a_loss_that_is_no_number_names_epoch_and_iteration_and_keeps_the_history(
    monkeypatch, read_seconds
):
    monkeypatch.setattr(tally, "READ_SECONDS", read_seconds)
    model, history = network(), History()
    model[3].eval()
    modes = [part.training for part in model.modules()]
    good, bad = data(20), data(20)
    bad.tensors[0][9] = math.nan
    optimizer = sgd(model)
    fit(model, DataLoader(good, 8), LOSS, optimizer, epochs=2, history=history, progress=False)
    with pytest.raises(
        FloatingPointError,
        match="train loss of epoch 3, iteration 2 is not a finite number.*max_norm",
    ):
        fit(model, DataLoader(bad, 8), LOSS, optimizer, epochs=2, history=history, progress=False)
    assert [(r.epoch, r.complete) for r in history] == [(1, True), (2, True), (3, False)]
    assert [part.training for part in model.modules()] == modes and history.epochs == 2


def test_an_error_from_a_worker_keeps_the_history():
    class Broken(Interrupting):
        def __getitem__(self, index):
            if index == 13:
                raise OSError("the disk is gone")
            return super().__getitem__(index)

    model, history = network(), History()
    with pytest.raises(OSError, match="the disk is gone"):
        fit(
            model,
            DataLoader(Broken(), 4, num_workers=2),
            LOSS,
            sgd(model),
            epochs=1,
            history=history,
            progress=False,
        )
    assert [(r.samples, r.complete) for r in history] == [(12, False)]


# Seeds


@pytest.mark.parametrize("workers", [0, 2])
def test_four_epochs_are_bit_equal_to_two_and_two_more(workers):
    def loader():
        return DataLoader(data(), 8, shuffle=True, num_workers=workers)

    whole, halves = network(), network()
    at_once = fit(whole, loader(), LOSS, sgd(whole), epochs=4, seed=7, progress=False)
    optimizer = sgd(halves)
    history = fit(halves, loader(), LOSS, optimizer, epochs=2, seed=7, progress=False)
    torch.rand(100)  # what happens in between must not matter
    fit(halves, loader(), LOSS, optimizer, epochs=2, seed=7, history=history, progress=False)
    assert same(weights(whole), weights(halves))
    assert history.column("train_loss") == at_once.column("train_loss")
    other = network()
    fit(other, loader(), LOSS, sgd(other), epochs=4, seed=8, progress=False)
    assert not same(weights(whole), weights(other))


def test_each_epoch_has_an_order_of_its_own_that_the_seed_fixes():
    orders = []

    class Spy(Interrupting):
        def __getitem__(self, index):
            orders[-1].append(index)
            return super().__getitem__(index)

    def orders_with(seed):
        orders[:] = [[]]
        model = network()
        fit(
            model,
            DataLoader(Spy(), 8, shuffle=True),
            LOSS,
            sgd(model),
            epochs=3,
            seed=seed,
            progress=False,
            on_epoch_end=lambda trained, valid: orders.append([]),
        )
        return [tuple(order) for order in orders[:3]]

    first = orders_with(7)
    assert len(set(first)) == 3 and all(sorted(order) == list(range(20)) for order in first)
    assert (
        orders_with(7) == first and orders_with(8)[:2] == first[1:]
    )  # seed + epoch is what counts


@pytest.mark.parametrize("workers", [0, 2])
def test_the_seed_reaches_a_generator_that_the_loader_was_given(workers):
    trained = []
    for state in (1, 2):  # what the generator was before must not matter
        model = network()
        loader = DataLoader(
            data(),
            8,
            shuffle=True,
            num_workers=workers,
            generator=torch.Generator().manual_seed(state),
        )
        torch.manual_seed(3)
        for seed in (7, None):
            fit(model, loader, LOSS, sgd(model), epochs=2, seed=seed, progress=False)
        trained.append(weights(model))
    assert same(*trained)
    other = network()
    loader = DataLoader(data(), 8, shuffle=True, generator=torch.Generator().manual_seed(1))
    fit(other, loader, LOSS, sgd(other), epochs=2, seed=8, progress=False)
    assert not same(trained[0], weights(other))


def test_without_a_seed_a_generator_is_left_to_itself():
    trained = []
    for state in (1, 2):
        model = network()
        model[3].p = 0.0
        loader = DataLoader(data(), 8, shuffle=True, generator=torch.Generator().manual_seed(state))
        fit(model, loader, LOSS, sgd(model), epochs=1, progress=False)
        trained.append(weights(model))
    assert not same(*trained)


# The bar


@pytest.mark.parametrize(
    "progress, variable, shown", [(True, "", True), (False, "", False), (True, "1", False)]
)
@pytest.mark.filterwarnings("ignore")  # without ipywidgets tqdm says that it falls back to text
def test_one_bar_for_all_epochs_unless_it_is_switched_off(
    capsys, monkeypatch, progress, variable, shown
):
    monkeypatch.setenv("TQDM_DISABLE", variable)
    model, loader = network(), DataLoader(data(), 8)
    fit(model, loader, LOSS, sgd(model), epochs=2, valid_loader=loader, progress=progress)
    error = capsys.readouterr().err
    assert ("12/12" in error) is shown and bool(error) is shown


# On an accelerator


@pytest.mark.gpu
@needs_gpu
def test_training_on_the_accelerator_gives_the_losses_of_the_cpu():
    histories = []
    for device in ("cpu", "cuda"):
        model = network()
        model[3].p = 0.0  # dropout draws other numbers there
        model.to(device)
        train, valid = DataLoader(data(64), 16), DataLoader(data(64, seed=1), 16)
        histories.append(
            fit(model, train, LOSS, sgd(model, 0.05), epochs=3, valid_loader=valid, progress=False)
        )
    for name in ("train_loss", "valid_loss"):
        assert histories[1].column(name) == pytest.approx(histories[0].column(name), rel=1e-3)
    assert histories[1][0].peak_memory > 0 and histories[0][0].peak_memory is None


@pytest.mark.gpu
@needs_gpu
def test_float16_with_scaler_and_max_norm_bounds_the_true_gradient():
    lengths, model = [], network().cuda()

    class Spy(torch.optim.SGD):
        def step(self, closure=None):
            lengths.append(torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item())
            return super().step(closure)

    history = fit(
        model,
        DataLoader(data(64), 16),
        LOSS,
        Spy(model.parameters(), lr=0.05),
        epochs=3,
        max_norm=0.1,
        amp_dtype=torch.float16,
        progress=False,
    )
    assert lengths and max(lengths) <= 0.1 * (1 + 1e-3) and history.epochs == 3
    assert sum(r.optimizer_steps for r in history) == len(lengths)


@pytest.mark.gpu
@needs_gpu
def test_float16_with_scaler_max_norm_and_micro_batches_stays_close_to_the_whole_batch():
    moved = []
    for size in (None, 3):
        model, lengths = network().cuda(), []
        model[1], model[3] = nn.Identity(), nn.Identity()
        start = torch.cat([p.detach().flatten() for p in model.parameters()])
        optimizer = sgd(model, 0.05)
        optimizer.register_step_pre_hook(
            lambda *args, model=model, lengths=lengths: lengths.append(
                torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item()
            )
        )
        history = fit(
            model,
            DataLoader(data(64), 16),
            LOSS,
            optimizer,
            epochs=2,
            amp_dtype=torch.float16,
            max_norm=0.1,
            micro_batch_size=size,
            progress=False,
        )
        assert len(lengths) == sum(r.optimizer_steps for r in history) and max(lengths) <= 0.1 * (
            1 + 1e-3
        )
        moved.append(torch.cat([p.detach().flatten() for p in model.parameters()]) - start)
    assert all((other - moved[0]).norm() < 0.02 * moved[0].norm() for other in moved[1:])


@pytest.mark.gpu
@needs_gpu
def test_waits_for_the_accelerator_do_not_grow_with_the_number_of_batches(monkeypatch):
    monkeypatch.setattr(tally, "READ_SECONDS", math.inf)
    counts = []
    for n in (20, 400):
        model = network().cuda()
        batch = tuple(part.cuda() for part in data(8).tensors)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                train_epoch(
                    model,
                    [batch] * n,
                    LOSS,
                    sgd(model, 0.01),
                    metrics={"accuracy": accuracy},
                    max_norm=1.0,
                )
            finally:
                torch.cuda.set_sync_debug_mode("default")
        counts.append(sum("synchroniz" in str(warning.message) for warning in caught))
    assert counts[0] == counts[1]
