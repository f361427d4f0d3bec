"""Tests of `loop`: equal to a bare loop, exact for every batch size, few reads, polite when interrupted."""

import math
import signal
from unittest.mock import Mock

import pytest
import torch
from small_runs import LOSS, batches, data, network, run, same, sgd, weights
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from dlhelpers.measure import count_reads
from dlhelpers.train import History, accuracy, evaluate, load_checkpoint, train_epoch

on_gpu = pytest.param("cuda", marks=pytest.mark.gpu)


# Equal to what PyTorch does


@pytest.mark.parametrize("max_norm", [None, 0.5])
def test_weights_are_bit_equal_to_those_of_a_bare_loop(max_norm):
    bare, ours = network(), network()
    optimizer, spy = sgd(bare), sgd(ours)
    spy.zero_grad = Mock(wraps=spy.zero_grad)
    torch.manual_seed(1)
    for _ in range(3):
        for inputs, labels in batches(shuffle=True):
            optimizer.zero_grad()
            LOSS(bare(inputs), labels).backward()
            if max_norm:
                nn.utils.clip_grad_norm_(bare.parameters(), max_norm)
            optimizer.step()
    torch.manual_seed(1)
    options = {"epochs": 3, "max_norm": max_norm, "metrics": {"accuracy": accuracy}}
    history = run(ours, batches(shuffle=True), LOSS, spy, **options)
    assert same(weights(bare), weights(ours)) and not same(weights(ours), weights(network()))
    assert spy.zero_grad.call_count == 9, "as a reader and a wrapper expect"
    counted = {(r.samples, r.batches, r.optimizer_steps, r.skipped_steps) for r in history}
    assert counted == {(20, 3, 3, 0)}


def test_the_right_accuracy_of_a_ragged_loader_comes_out():
    labels = torch.tensor([0] * 8 + [1] * 56 + [0] * 11)  # right are 8 of 32, 0 of 32, 11 of 11
    outputs = torch.tensor([[1.0, 0.0]] * 75)  # always class 0
    loader = DataLoader(TensorDataset(outputs, labels), 32)
    result = evaluate(nn.Identity(), loader, LOSS, metrics={"a": accuracy})
    assert result.metrics["a"] == 19 / 75 != (8 / 32 + 0 / 32 + 11 / 11) / 3


def test_each_part_of_a_model_gets_its_own_mode_back():
    def fails(outputs, targets):
        raise OSError("inside")

    model = network().eval()
    model[3].train()
    before = [part.training for part in model.modules()]
    for call in (evaluate, run):
        call(model, batches(), LOSS)
        assert [part.training for part in model.modules()] == before
        with pytest.raises(OSError, match="inside"):
            call(model, batches(), fails)
        assert [part.training for part in model.modules()] == before


def test_models_train_in_training_mode_and_are_evaluated_in_evaluation_mode():
    seen = []

    class Spy(nn.Linear):
        def forward(self, inputs):
            seen.append((self.training, torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
            return super().forward(inputs)

    model = Spy(5, 3).eval()
    run(model, batches(8), valid_loader=batches(8))
    assert seen == [(True, True, False), (False, False, True)] and not model.training


# Clipping and mixed precision


def lengths_of(optimizer):
    """A list that gets the length of the gradient at each of the optimizer's steps."""
    lengths, held = [], optimizer.param_groups[0]["params"]

    def note(*arguments):
        lengths.append(torch.cat([p.grad.flatten() for p in held]).norm().item())

    optimizer.register_step_pre_hook(note)
    return lengths


@pytest.mark.parametrize("amp_dtype", [None, torch.float16])
@pytest.mark.parametrize("device", ["cpu", on_gpu])
def test_the_gradient_is_never_longer_than_max_norm(amp_dtype, device):
    found = []
    for max_norm in (None, 0.1):
        model = network().to(device)
        optimizer = sgd(model, 0.01)
        found.append(lengths_of(optimizer))
        run(model, batches(), LOSS, optimizer, max_norm=max_norm, amp_dtype=amp_dtype)
    free, clipped = found
    assert min(free) > 0.1 and max(clipped) <= 0.1 * (1 + 1e-3) and min(clipped) > 0.099


def test_metrics_are_computed_alike_in_training_and_evaluation():
    def projected(outputs, targets):  # under autocast it would be another number
        return (outputs.float() @ torch.full((3, 1), 1.001)).squeeze(1)

    model = nn.Linear(5, 3)
    options = {"amp_dtype": torch.bfloat16, "metrics": {"projected": projected}}
    trained = train_epoch(model, batches(), LOSS, sgd(model, lr=0.0), **options)
    assert evaluate(model, batches(), LOSS, **options).metrics == trained.metrics


def test_float16_steps_that_overflow_are_skipped_counted_and_move_no_scheduler():
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    inputs, labels = data(16).tensors
    # Times the scale of 65,536 this is beyond float16.
    loader = DataLoader(TensorDataset(inputs * 100, labels), 4)
    optimizer, scaler = sgd(model, lr=1e-6), torch.amp.GradScaler("cpu")
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    options = {"scheduler": scheduler, "scheduler_unit": "step", "epochs": 2}
    history = run(model, loader, LOSS, optimizer, amp_dtype=torch.float16, scaler=scaler, **options)
    steps, skipped = (
        sum(history.column(f"train_{name}_steps")) for name in ("optimizer", "skipped")
    )
    assert skipped > 0 and steps > 0 and steps + skipped == 8
    assert scaler.get_scale() == 65536 / 2**skipped and scheduler.last_epoch == steps
    assert all(math.isfinite(loss) for loss in history.column("train_loss"))


def test_a_scale_that_grows_skips_nothing_and_is_read_once_a_step():
    model, scaler = network(), torch.amp.GradScaler("cpu", init_scale=2.0, growth_interval=1)
    scaler.get_scale = Mock(wraps=scaler.get_scale)
    options = {"amp_dtype": torch.float16, "scaler": scaler, "micro_batch_size": 2}
    result = train_epoch(model, batches(), LOSS, sgd(model), **options)
    assert scaler.get_scale.call_count == 1 + 3 and scaler.get_scale() == 16.0
    assert (result.optimizer_steps, result.skipped_steps) == (3, 0)


# Few reads


def test_reads_an_epoch_do_not_grow_with_the_number_of_batches():
    counts = []
    for n in (20, 100):
        loader, model = [data(2).tensors] * n, nn.Linear(5, 3)
        options = {"valid_loader": loader, "metrics": {"a": accuracy}, "max_norm": 1.0}
        counts.append(count_reads(lambda: run(model, loader, **options), "cpu"))  # noqa: B023
    assert 0 < counts[0] == counts[1] < 10, counts


# Interrupts and errors; test_interrupts sends a kernel's interrupt in each phase


def test_finished_epochs_survive_an_interrupt_and_numbers_go_on():
    def second(trained, valid):
        if trained.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    model, history = network(), History()
    optimizer = sgd(model)
    run(model, batches(), LOSS, optimizer, epochs=3, history=history, on_epoch_end=second)
    assert history.interrupted and history.stop_reason == "interrupted" and history.epochs == 2
    run(model, batches(), LOSS, optimizer, epochs=2, history=history)
    assert [(r.epoch, r.samples) for r in history] == [(epoch, 20) for epoch in (1, 2, 3, 4)]
    assert history.stop_reason is None and not history.interrupted


@pytest.mark.parametrize("answer, epochs", [(True, 2), (0, 3)])
def test_on_epoch_end_gets_both_results_after_the_checkpoint_and_only_true_stops(
    tmp_path, answer, epochs
):
    calls = []

    def stop(trained, valid):
        saved = load_checkpoint(tmp_path / "run.pt", network()).epochs
        calls.append((trained.phase, trained.epoch, valid.phase, saved))
        return answer if trained.epoch == 2 else None

    options = {"checkpoint": tmp_path / "run.pt", "on_epoch_end": stop}
    history = run(network(), batches(), epochs=3, valid_loader=batches(), **options)
    assert calls == [("train", epoch, "valid", epoch) for epoch in range(1, epochs + 1)]
    reason = "on_epoch_end returned True after epoch 2" if answer else None
    assert history.epochs == epochs and history.stop_reason == reason and not history.interrupted


# Seeds


def test_each_epoch_has_an_order_of_its_own_that_the_seed_fixes():
    def batch_of(indices):
        seen.extend(indices)
        return data(len(indices)).tensors

    def orders(state, seed, *epochs):
        """The order of each epoch; the generator's state is what came before."""
        seen.clear()
        history, generator = History(), torch.Generator().manual_seed(state)
        sampler = RandomSampler(range(20), generator=generator)
        loader = DataLoader(range(20), 8, sampler=sampler, collate_fn=batch_of)
        for count in epochs:
            run(network(), loader, epochs=count, seed=seed, history=history)
        return [tuple(seen[start : start + 20]) for start in range(0, len(seen), 20)]

    seen = []
    first = orders(1, 7, 3)
    assert len(set(first)) == 3 and all(sorted(order) == list(range(20)) for order in first)
    assert orders(2, 7, 3) == first == orders(2, 7, 1, 2)
    assert orders(1, 8, 2) == first[1:]  # seed + epoch is what counts
    assert orders(1, None, 1) != orders(2, None, 1), "without a seed it is left to itself"


# The bar


@pytest.mark.filterwarnings("ignore")  # without ipywidgets tqdm says that it falls back to text
def test_one_bar_for_all_epochs(capsys, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "")
    run(network(), batches(), epochs=2, valid_loader=batches(), progress=False)
    assert capsys.readouterr().err == ""
    run(network(), batches(), epochs=2, valid_loader=batches(), progress=True)
    assert "12/12" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["sampler", "batch_sampler"])
def test_a_list_may_be_the_order_of_a_loader(option):
    order = [3, 1, 2, 0] if option == "sampler" else [[3, 1], [2, 0]]
    assert run(nn.Linear(5, 3), DataLoader(data(4), **{option: order}), seed=0)[0].samples == 4
