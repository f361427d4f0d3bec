"""Tests of `checks`: what would fail late or train something wrong is refused, and what people reasonably do is not."""

import sys
import warnings

import numpy as np
import pytest
import torch
from small_runs import LOSS, batches, network, run, same, sgd, weights
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import dlhelpers
from dlhelpers.train import EpochResult, History, accuracy, evaluate, fit, train_epoch

ROWS = torch.linspace(-1, 1, 12).reshape(4, 3)


def loader_of(inputs, targets, size=4, **options):
    return DataLoader(TensorDataset(inputs, torch.as_tensor(targets)), size, **options)


def good(n=8, size=4, **options):
    return loader_of(torch.randn(n, 3), torch.arange(n) % 2, size, **options)


def normed():
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@pytest.fixture
def model():
    """A model of which one part is in evaluation mode, so that restored modes can be told from set ones."""
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.0))
    model[1].eval()
    return model


def refused(model, loader, *parts, loss_fn=LOSS, error=ValueError, **options):
    """Fit, expect `error` with these parts in its message, and check that nothing is lost."""
    history = History()
    history.append(EpochResult("train", 1, 0.5, samples=8, batches=2, optimizer_steps=2))
    modes = [part.training for part in model.modules()]
    before = weights(model)
    with pytest.raises(error) as caught:
        run(model, loader, loss_fn, history=history, **options)
    assert history.epochs == 1 and all(not r.complete for r in history[1:])
    assert [part.training for part in model.modules()] == modes and same(before, weights(model))
    assert [part for part in parts if part not in str(caught.value)] == [], caught.value


def warnings_of(call, *arguments, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*arguments, **options)
    return [(str(warning.message), warning.filename) for warning in caught]


# Loaders and batches


def test_loaders_without_a_batch_are_refused_before_any_training(model):
    empty, dropped = loader_of(torch.zeros(0, 3), []), good(3, 8, drop_last=True)
    refused(model, empty, "the train loader has no batch: 0 samples, batch_size 4")
    refused(model, good(), "the valid loader has no batch", valid_loader=empty)
    refused(model, dropped, "3 samples, batch_size 8, drop_last True", "drop_last=False")
    with pytest.raises(ValueError, match="loader has no batch"):
        train_epoch(model, empty, LOSS, sgd(model))


def test_validation_that_leaves_samples_out_is_told_once_at_the_callers_line(model):
    loader = good(5, 4, drop_last=True)
    optimizer, options = sgd(model), {"valid_loader": loader, "progress": False}
    told = warnings_of(lambda: fit(model, good(), LOSS, optimizer, epochs=3, **options))
    ((said, file),) = told
    assert "the valid loader leaves out 1 of 5 samples:" in said and "Use drop_last=False" in said
    assert file == __file__


def test_a_single_sample_is_refused_for_batchnorm_of_rows_that_trains():
    last = "last batch holds 1 sample (9 samples in batches of 4)"
    refused(normed(), good(9), last, "BatchNorm1d (1)", "drop_last=True or another batch size")
    history = run(normed(), good(9, drop_last=True), valid_loader=good(9))
    assert [r.samples for r in history] == [8, 9]  # in evaluation mode one sample is enough
    signals = loader_of(torch.randn(9, 1, 6), torch.arange(9) % 2)
    conv = nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(16, 2))
    assert run(conv, signals)[0].samples == 9


def test_frozen_batchnorm_keeps_its_averages_and_a_model_that_was_evaluated_trains_whole():
    model = network()
    model[1].eval()
    before = model[1].running_mean.clone()
    run(model, batches(17), epochs=2)  # a single sample comes last
    assert torch.equal(model[1].running_mean, before) and not model[1].training
    model.eval()
    run(model, batches())
    assert not torch.equal(model[1].running_mean, before)


def test_batches_of_another_form_are_refused_with_a_remedy(model):
    labels = torch.zeros(4).long()
    for form, batch in {"3 parts": (ROWS, ROWS, labels), "dict": {"image": ROWS}}.items():
        words = f"a batch came as {form}: expected (inputs, targets)", "collate_fn return"
        refused(model, [batch], *words, error=TypeError)
    words = "a batch came as 2 parts", "give the DataLoader a batch_size"
    refused(model, good(size=None), *words, error=TypeError)


def test_a_model_may_return_several_outputs_if_its_loss_takes_them():
    class Two(nn.Linear):
        def forward(self, inputs):
            return super().forward(inputs), inputs

    def first(outputs, targets):
        return LOSS(outputs[0], targets)

    model, loader = Two(3, 2), good()
    assert [r.samples for r in run(model, loader, first, valid_loader=loader)] == [8, 8]
    words = "the model returned a tuple", "loss_fn(outputs[0], targets)"
    refused(model, loader, *words, error=TypeError)


# Labels and shapes


@pytest.mark.parametrize("loss_fn", [LOSS, lambda o, t: LOSS(o, t)])
@pytest.mark.parametrize(
    "labels, parts",
    [
        ([0, 1, 2, 0], ["labels run from 0 to 2", "numbers from 0 to 1", "2 outputs"]),
        ([0, -1, 1, 0], ["labels run from -1 to 1", "from 0 to 1"]),
        (torch.tensor([0, 1, 1, 0]).int(), ["type torch.int32", "labels.long()"]),
        ([[0], [1], [1], [0]], ["shape (4, 1)", "shape (4,), one class", "labels.squeeze(1)"]),
        (torch.eye(2)[[0, 1, 1, 0]].long(), ["shape (4, 2)", "labels.argmax(dim=1) on one-hot"]),
    ],
)
def test_labels_that_the_loss_cannot_take_are_refused(model, loss_fn, labels, parts):
    refused(model, loader_of(ROWS, labels), *parts, loss_fn=loss_fn)


def test_probabilities_are_targets_as_mixup_makes_them(model):
    assert run(model, loader_of(ROWS, torch.eye(2)[[0, 1, 1, 0]]))[0].samples == 4


def test_a_label_out_of_range_in_a_later_batch_is_explained_too(model):
    loader, history = loader_of(torch.randn(8, 3), [0, 1, 0, 1, 0, 1, 5, 1]), History()
    with pytest.raises(ValueError, match="labels run from 0 to 5: expected class numbers from 0"):
        run(model, loader, history=history)
    assert [(r.samples, r.complete) for r in history] == [(4, False)] and not model[1].training


@pytest.mark.parametrize("loss_fn", [nn.MSELoss(), nn.L1Loss()])
def test_targets_that_would_be_broadcast_are_refused(loss_fn):
    model = nn.Linear(3, 1)
    words = "shape (4, 1) and targets (4,)", "would be broadcast", "unsqueeze(1)"
    refused(model, loader_of(ROWS, torch.randn(4)), *words, loss_fn=loss_fn)
    words = "targets (4, 1), torch.int64", "targets.float()"
    refused(model, loader_of(ROWS, torch.ones(4, 1).long()), *words, loss_fn=loss_fn)
    assert run(model, loader_of(ROWS, torch.randn(4, 1)), loss_fn)[0].samples == 4


@pytest.mark.gpu
@pytest.mark.parametrize("bad", [1, 6])
def test_a_label_out_of_range_never_reaches_the_accelerator(bad):
    labels = torch.arange(8) % 2
    labels[bad] = 7
    with pytest.raises(ValueError, match="labels run from 0 to 7"):
        run(nn.Linear(3, 2).cuda(), loader_of(torch.randn(8, 3), labels))
    torch.cuda.synchronize()  # would raise, and for good, had the device met the label
    assert torch.ones(2, device="cuda").sum().item() == 2


# Loss functions


@pytest.mark.parametrize(
    "loss_fn, error, parts",
    [
        (nn.CrossEntropyLoss, TypeError, ["the class CrossEntropyLoss", "build it first"]),
        ("mse", TypeError, ["loss_fn is 'mse': expected a function of (outputs, targets)"]),
        (nn.CrossEntropyLoss(reduction="sum"), ValueError, ["but a sum", "reduction='mean'"]),
        (lambda o, t: 0.5, TypeError, ["loss_fn returned 0.5", "expected a tensor"]),
    ],
)
def test_a_loss_function_of_a_wrong_kind_is_refused(model, loss_fn, error, parts):
    refused(model, good(), *parts, loss_fn=loss_fn, error=error)


def contrastive(outputs, targets):
    """Each sample against all others of its batch, so that the value depends on who they are."""
    return functional.cross_entropy(outputs @ outputs.T, torch.arange(len(outputs)))


def dice(outputs, targets):
    right = outputs.softmax(1)[:, 1]
    return 1 - 2 * (right * targets).sum() / (right.sum() + targets.sum())


@pytest.mark.parametrize(
    "loss_fn",
    [
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 9.0])),
        nn.CrossEntropyLoss(ignore_index=0),
        lambda o, t: functional.cross_entropy(functional.dropout(o, 0.9), t),
        contrastive,
        dice,
    ],
)
def test_a_loss_that_is_no_mean_over_samples_trains_as_a_bare_loop_does_with_one_warning(loss_fn):
    torch.manual_seed(0)
    loader, ours, bare = good(16, 8), nn.Linear(3, 2), nn.Linear(3, 2)
    bare.load_state_dict(ours.state_dict())
    torch.manual_seed(1)
    ((said, _),) = warnings_of(run, ours, loader, loss_fn, epochs=3)
    assert "not a mean over samples" in said
    assert "the loss that is printed is a mean of batches" in said
    optimizer = sgd(bare)
    torch.manual_seed(1)
    for _ in range(3):
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss_fn(bare(inputs), targets).backward()
            optimizer.step()
    assert same(weights(ours), weights(bare))


@pytest.mark.parametrize(
    "loss_fn",
    [
        LOSS,
        nn.CrossEntropyLoss(reduction="none"),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 9.0]), reduction="none"),
    ],
)
def test_a_mean_or_a_value_for_each_sample_is_told_of_nothing(loss_fn):
    for n in (1, 2, 3, 8):
        assert warnings_of(run, nn.Linear(3, 2), good(n, n), loss_fn) == []


def test_segmentation_with_ignored_pixels_trains():
    labels = torch.randint(3, (8, 5, 5))
    labels[0, 0] = -100
    loader = loader_of(torch.randn(8, 1, 5, 5), labels)
    assert len(warnings_of(run, nn.Conv2d(1, 3, 1), loader, micro_batch_size=3)) == 1


# Model, device, optimizer, numbers


def test_what_would_train_nothing_is_refused(model):
    other, frozen = sgd(nn.Linear(3, 2)), nn.Linear(3, 2).requires_grad_(False)
    for learner, optimizer, words in [
        (model, other, "holds no parameter of this model that is trained.*make it anew"),
        (frozen, other, "of which there are 0, .*requires_grad=False"),
        (model, torch.optim.SGD, "optimizer is the class SGD: expected .* build it first"),
        (nn.Linear, other, "model is the class Linear: expected .* build it first"),
    ]:
        with pytest.raises((ValueError, TypeError), match=words):
            run(learner, good(), LOSS, optimizer)
    assert evaluate(nn.Flatten(), good(), LOSS).samples == 8


def test_numbers_of_numpy_are_numbers(model):
    whole = {"epochs": np.int64(2), "micro_batch_size": np.int32(3), "seed": np.int64(1)}
    assert run(model, good(), **whole).epochs == 2


def test_fit_makes_at_most_40_calls_in_the_package_before_its_first_batch():
    calls = []

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(dlhelpers.__path__[0]):
            calls.append(frame.f_code.co_name)

    class Batches(DataLoader):
        def __iter__(self):
            sys.setprofile(None)
            return super().__iter__()

    model = network()
    loader = Batches(batches().dataset, 8)
    options = {"valid_loader": batches(), "metrics": {"accuracy": accuracy}, "seed": 0}
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run(model, loader, **options)
    finally:
        sys.setprofile(before)
    assert 10 < len(calls) <= 40, calls
