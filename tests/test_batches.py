"""Tests of `micro_batches`: the update of the whole batch, and a way back from every try that ran out of memory."""

import gc
import math
import warnings
import weakref
from collections import namedtuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import data, network, same, sgd, weights
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dlhelpers.train import History, accuracy, fit, train_epoch
from dlhelpers.train import batches as micro_batches


LOSS = nn.CrossEntropyLoss()
CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="this machine has no CUDA device"
)


def plain(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


# The update of the whole batch

LOSSES = [
    LOSS,
    nn.CrossEntropyLoss(reduction="none"),
    nn.CrossEntropyLoss(
        weight=torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64), reduction="none"
    ),
    lambda outputs, targets: (outputs - nn.functional.one_hot(targets, 3)).square().mean(),
]


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 24),
    batch_size=st.integers(1, 26),
    loss_fn=st.sampled_from(LOSSES),
    max_norm=st.sampled_from([None, 0.1]),
    seed=st.integers(0, 99),
)
def test_an_epoch_in_micro_batches_is_the_epoch_in_whole_batches(
    n, batch_size, loss_fn, max_norm, seed
):
    random = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, 5, generator=random, dtype=torch.float64)
    loader = DataLoader(TensorDataset(inputs, torch.randint(3, (n,), generator=random)), batch_size)
    sizes = [min(batch_size, n - start) for start in range(0, n, batch_size)]

    def epoch(size):
        model = plain()
        result = train_epoch(
            model,
            loader,
            loss_fn,
            sgd(model),
            micro_batch_size=size,
            max_norm=max_norm,
            metrics={"right": accuracy},
        )
        return weights(model), result

    whole, expected = epoch(None)
    assert not same(whole, weights(plain()))
    for size in (1, 2, 3, 7, batch_size):
        parts, found = epoch(size)
        assert all(
            (one - other).abs().max() <= 1e-6 for one, other in zip(parts, whole, strict=True)
        ), size
        assert (
            math.isclose(found.loss, expected.loss, rel_tol=1e-9)
            and found.metrics == expected.metrics
        )
        assert found.micro_batches == sum(math.ceil(b / size) for b in sizes)
        assert (found.samples, found.batches, found.optimizer_steps) == (n, len(sizes), len(sizes))


def test_a_size_above_the_batch_takes_it_whole():
    results = []
    for size in (None, 8, 9, 1000):
        model = network()
        torch.manual_seed(1)
        result = train_epoch(model, DataLoader(data(), 8), LOSS, sgd(model), micro_batch_size=size)
        assert result.micro_batches == result.batches == 3
        results.append(weights(model))
    assert all(same(results[0], other) for other in results[1:])


Pair = namedtuple("Pair", "left right")


class Two(nn.Module):
    """Takes its two inputs in any form."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = nn.Linear(5, 3).double(), nn.Linear(2, 3).double()

    def forward(self, inputs):
        if isinstance(inputs, Pair):
            left, right = inputs.left, inputs.right
        else:
            left, right = inputs.values() if isinstance(inputs, dict) else inputs
        return self.left(left) + self.right(right)


@pytest.mark.parametrize(
    "form", [list, tuple, Pair._make, lambda pair: dict(zip("ab", pair, strict=True))]
)
def test_inputs_of_every_form_are_split(form):
    inputs, labels = torch.randn(8, 5, dtype=torch.float64), data(8).tensors[1]
    batch = form([inputs, inputs[:, :2]]), labels
    grads = []
    for size in (None, 3):
        model = Two()
        loss, outputs, targets = BatchGradients(model, LOSS, CPU, size)(batch)
        assert outputs.shape == (8, 3) and torch.equal(targets, labels) and not loss.requires_grad
        grads.append([p.grad for p in model.parameters()])
    assert all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(*grads, strict=True))


def test_what_is_one_for_the_whole_batch_goes_with_each_part():
    inputs = {
        "a": torch.arange(8),
        "power": 2.0,
        "way": "up",
        "bias": torch.tensor(1.0),
        "mask": None,
    }
    part = micro_batches.part_of(inputs, slice(2, 5))
    assert part["a"].tolist() == [2, 3, 4] and {**part, "a": 0} == {**inputs, "a": 0}


# At the door


@pytest.mark.parametrize("size", [0, -1, True, False, 2.0, "8", "Auto", [2]])
def test_other_sizes_are_refused_with_nothing_changed(size):
    model, history = network(), History()
    before = weights(model)
    with pytest.raises(
        ValueError, match=r"micro_batch_size is .*: expected a whole number of samples.*'auto'"
    ) as error:
        fit(
            model,
            DataLoader(data(), 8),
            LOSS,
            sgd(model),
            epochs=1,
            micro_batch_size=size,
            history=history,
            progress=False,
        )
    assert repr(size) in str(error.value) and same(before, weights(model)) and len(history) == 0


@pytest.mark.parametrize(
    "size, refused", [(1, True), (7, True), (2, False), (3, False), (8, False), (9, False)]
)
def test_batchnorm_is_never_given_a_single_sample(size, refused):
    model, loader = network(), DataLoader(data(8), 8)
    before = weights(model)
    if not refused:
        train_epoch(model, loader, LOSS, sgd(model), micro_batch_size=size)
        return
    with pytest.raises(
        ValueError, match=rf"micro_batch_size {size} leaves 1 sample.*batch of 8.*BatchNorm1d \(1\)"
    ):
        train_epoch(model, loader, LOSS, sgd(model), micro_batch_size=size)
    assert same(before, weights(model))


@pytest.mark.parametrize("size", [None, 1, 3])
def test_a_loss_that_sums_is_refused_whatever_the_size(size):
    model = plain(torch.float32)
    before = weights(model)
    with pytest.raises(ValueError, match="loss_fn is not a mean over samples"):
        train_epoch(
            model,
            DataLoader(data(), 8),
            lambda o, t: nn.functional.cross_entropy(o, t, reduction="sum"),
            sgd(model),
            micro_batch_size=size,
        )
    assert same(before, weights(model))


# Out of memory

ERRORS = {
    "accelerator": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "allocator": lambda: RuntimeError(
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
    ),
    "host": MemoryError,
}


class Failing:
    """Makes forward or backward passes fail by their number, after they have changed what they change."""

    def __init__(self, model, where, numbers, error=ERRORS["accelerator"]):
        self.numbers, self.error, self.sizes, self.alive, self.refs = numbers, error, [], [], []
        for part in model:
            part.register_forward_hook(
                lambda part, inputs, output: self.refs.append(weakref.ref(output))
            )
        model.register_forward_pre_hook(self.begin)
        if where == "forward":
            model.register_forward_hook(lambda *args: self.end())
        else:  # the first layer's gradient is the last to come
            model[0].weight.register_hook(lambda grad: self.end())

    def begin(self, model, inputs):
        if self.sizes and len(self.sizes) in self.numbers:  # the pass before has failed
            self.alive += [ref for ref in self.refs if ref() is not None]
        self.refs.clear()
        self.sizes.append(len(inputs[0]))

    def end(self):
        if len(self.sizes) in self.numbers:
            raise self.error()


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("second", [2, 3, None])
def test_running_out_of_memory_changes_nothing_that_is_learned(where, second, error):
    expected, model = network(), network()
    size = 4 if second is None else 2
    failing = Failing(model, where, {1, second}, ERRORS[error])
    results, states = [], []
    for learner, micro in ((expected, size), (model, "auto")):
        torch.manual_seed(1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            results.append(
                train_epoch(
                    learner,
                    DataLoader(data(), 8),
                    LOSS,
                    sgd(learner),
                    micro_batch_size=micro,
                    metrics={"right": accuracy},
                )
            )
        states.append(torch.get_rng_state())
    tried = {2: [8, 4], 3: [8, 4, 4], None: [8]}[second]
    assert failing.sizes == tried + [size] * (20 // size)
    assert same(weights(expected), weights(model)) and torch.equal(*states)
    assert results[0].loss == results[1].loss and results[0].metrics == results[1].metrics
    assert results[1].micro_batches == 20 // size
    said = [str(warning.message) for warning in caught]
    assert (
        len(said) == (1 if second is None else 2)
        and "ran out at 8 samples: going on in micro-batches of 4" in said[0]
    )


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_no_tensor_of_a_failed_try_is_alive_when_the_next_begins(where):
    model = network()
    failing = Failing(model, where, {1, 3})
    gc.disable()  # what only a search for cycles could free would still fill a GPU
    try:
        with pytest.warns(UserWarning, match="memory ran out"):
            train_epoch(model, DataLoader(data(), 8), LOSS, sgd(model), micro_batch_size="auto")
    finally:
        gc.enable()
    assert failing.sizes[:4] == [8, 4, 4, 2] and failing.alive == []


def test_gradients_from_before_the_batch_outlive_a_failed_try():
    model = plain()
    inputs, labels = data(8).tensors
    grads = BatchGradients(model, LOSS, CPU, "auto")
    grads((inputs.double(), labels))
    once = [p.grad.clone() for p in model.parameters()]
    Failing(model, "backward", {1})
    with pytest.warns(UserWarning):
        grads((inputs.double(), labels))
    assert all(
        torch.allclose(p.grad, 2 * g, atol=1e-12)
        for p, g in zip(model.parameters(), once, strict=True)
    )


@pytest.mark.parametrize("n, sizes", [(8, [8, 4, 2, 1]), (7, [7, 4, 2, 1])])
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_one_sample_that_does_not_fit_ends_it_by_name(where, n, sizes):
    model, history = plain(torch.float32), History()
    failing = Failing(model, where, range(99))
    before = weights(model)
    with (
        pytest.warns(UserWarning, match="memory ran out"),
        pytest.raises(
            torch.OutOfMemoryError, match="one sample alone does not fit.*smaller model"
        ) as caught,
    ):
        fit(
            model,
            DataLoader(data(n), 8),
            LOSS,
            sgd(model),
            epochs=2,
            micro_batch_size="auto",
            history=history,
            progress=False,
        )
    assert failing.sizes == sizes and same(before, weights(model))
    assert caught.value.__context__ is None  # which would keep the failed try's tensors
    assert [(r.complete, r.samples, r.micro_batches) for r in history] == [(False, 0, 0)]
    assert all(p.grad is None for p in model.parameters())


def test_batchnorm_that_would_need_single_samples_is_named_too():
    model = network()
    Failing(model, "forward", range(99))
    with (
        pytest.warns(UserWarning),
        pytest.raises(ValueError, match="micro_batch_size 1 leaves 1 sample alone"),
    ):
        train_epoch(model, DataLoader(data(8), 8), LOSS, sgd(model), micro_batch_size="auto")


@pytest.mark.parametrize(
    "text", ["CUDA error: an illegal memory access was encountered", "mat1 and mat2 shapes"]
)
def test_other_errors_go_through_at_once(text):
    model = plain(torch.float32)
    failing = Failing(model, "forward", {1}, lambda: RuntimeError(text))
    with pytest.raises(RuntimeError, match=text):
        train_epoch(model, DataLoader(data(), 8), LOSS, sgd(model), micro_batch_size="auto")
    assert failing.sizes == [8]


@pytest.mark.parametrize("size", [None, 4])
def test_only_auto_tries_again(size):
    model = plain(torch.float32)
    failing = Failing(model, "forward", {1})
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        train_epoch(model, DataLoader(data(), 8), LOSS, sgd(model), micro_batch_size=size)
    assert len(failing.sizes) == 1


def test_the_size_is_found_once_for_all_epochs():
    model = plain(torch.float32)
    failing = Failing(model, "forward", {1, 2})
    with pytest.warns(UserWarning) as caught:
        history = fit(
            model,
            DataLoader(data(), 8),
            LOSS,
            sgd(model),
            epochs=3,
            micro_batch_size="auto",
            progress=False,
        )
    assert failing.sizes == [8, 4] + [2] * 30 and len(caught) == 2
    assert history.column("train_micro_batches") == [10, 10, 10]


def test_a_size_that_was_found_is_taken_over():
    auto = AutoSize()
    auto.size = 3
    model = plain(torch.float32)
    assert (
        train_epoch(
            model, DataLoader(data(8), 8), LOSS, sgd(model), micro_batch_size=auto
        ).micro_batches
        == 3
    )


def test_the_random_state_of_mps_is_read_without_a_device(monkeypatch):
    states, emptied = [torch.tensor([1])], []  # torch.mps has these signatures on every machine
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: states[-1])
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state: states.append(state))
    monkeypatch.setattr(torch.accelerator, "empty_cache", lambda: emptied.append(1))
    model, place = network(), torch.device("mps")
    before = micro_batches._keep(model, place)
    states.append(torch.tensor([2]))
    micro_batches._put_back(model, place, before)
    assert [state.item() for state in states] == [1, 2, 1] and emptied == [1]


# On an accelerator


@pytest.mark.gpu
@needs_gpu
def test_auto_halves_under_a_real_limit_and_learns_the_same():
    total = torch.cuda.get_device_properties(0).total_memory
    results = []

    def learner():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(64, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 3)
        ).cuda()

    random = torch.Generator().manual_seed(0)
    n = 16_384  # samples: 268 MB for each of the four tensors of 4,096 numbers a sample that backward needs
    loader = DataLoader(
        TensorDataset(torch.randn(n, 64, generator=random), torch.randint(3, (n,))), n
    )
    try:
        for size in (2048, "auto"):
            model = learner()
            torch.cuda.empty_cache()
            if size == "auto":
                torch.cuda.set_per_process_memory_fraction(
                    (torch.cuda.memory_reserved() + 600e6) / total
                )
                with pytest.warns(UserWarning, match="memory ran out at 16384 samples"):
                    result = train_epoch(
                        model, loader, LOSS, sgd(model, 0.01), micro_batch_size=size
                    )
                assert 1 < result.micro_batches and result.optimizer_steps == 1
            else:
                result = train_epoch(model, loader, LOSS, sgd(model, 0.01), micro_batch_size=size)
            results.append((result.loss, [w.cpu() for w in weights(model)]))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-4)
    assert all(
        torch.allclose(a, b, atol=1e-4) for a, b in zip(results[0][1], results[1][1], strict=True)
    )


@pytest.mark.gpu
@needs_gpu
def test_a_failed_try_on_the_accelerator_puts_its_random_state_back():
    expected, model = network().cuda(), network().cuda()
    Failing(model, "backward", {1, 3})
    for learner, size in ((expected, 2), (model, "auto")):
        torch.manual_seed(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train_epoch(learner, DataLoader(data(), 8), LOSS, sgd(learner), micro_batch_size=size)
    assert all(
        torch.allclose(a, b, atol=1e-6)
        for a, b in zip(weights(expected), weights(model), strict=True)
    )
