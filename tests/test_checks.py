"""Tests of `checks`: what would fail late or train something wrong is refused, and what people reasonably do is not."""

import sys
import warnings

import numpy as np
import pytest
import torch
from small_runs import data, network, same, sgd, weights
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import dlhelpers
from dlhelpers.train import EpochResult, History, accuracy, evaluate, fit, train_epoch

LOSS = nn.CrossEntropyLoss()
QUIET = {"epochs": 1, "progress": False}


def loader_of(inputs, targets, size=4, **options):
    return DataLoader(TensorDataset(inputs, targets), size, **options)


def good_loader(n=8, size=4, **options):
    return loader_of(torch.randn(n, 3), torch.arange(n) % 2, size, **options)


@pytest.fixture
def model():
    """A model of which one part is in evaluation mode, so that restored modes can be told from set ones."""
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.0))
    model[1].eval()
    return model


def refused(model, loader, loss_fn=LOSS, error=ValueError, **options):
    """Fit, expect `error`, check that nothing is lost, and return the message."""
    history = History()
    history.add(EpochResult("train", 1, 0.5, samples=8, batches=2, optimizer_steps=2))
    modes = [part.training for part in model.modules()]
    before = weights(model)
    optimizer = torch.optim.SGD(list(model.parameters()) or [torch.zeros(1)], lr=0.1)
    with pytest.raises(error) as caught:
        fit(model, loader, loss_fn, optimizer, **{**QUIET, "history": history, **options})
    assert history.epochs == 1 and all(not r.complete for r in history[1:])
    assert [part.training for part in model.modules()] == modes and same(before, weights(model))
    return str(caught.value)


def contains(message, *parts):
    missing = [part for part in parts if part not in message]
    assert not missing, f"{missing} not in {message!r}"


def run(model, loader, loss_fn=LOSS, **options):
    return fit(model, loader, loss_fn, sgd(model, 0.01), **{**QUIET, **options})


def warnings_of(call, *arguments, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*arguments, **options)
    assert all(warning.filename == __file__ for warning in caught), "it points at the caller's line"
    return [str(warning.message) for warning in caught]


# Loaders and batches


def test_loaders_without_a_batch_are_refused_before_any_training(model):
    empty = loader_of(torch.zeros(0, 3), torch.zeros(0).long())
    contains(refused(model, empty), "the train loader has no batch: 0 samples, batch_size 4")
    contains(refused(model, good_loader(), valid_loader=empty), "the valid loader has no batch")
    message = refused(model, good_loader(3, 8, drop_last=True))
    contains(message, "no batch: 3 samples, batch_size 8, drop_last True", "drop_last=False")
    contains(refused(model, 5, error=TypeError), "'int' object is not iterable")


def test_a_loader_without_length_trains_and_validates(model):
    class Stream(IterableDataset):
        def __iter__(self):
            yield from ((torch.full((3,), float(k)), k % 2) for k in range(10))

    stream = DataLoader(Stream(), 4)
    history = run(model, stream, epochs=2, valid_loader=stream)
    assert [(r.phase, r.samples, r.batches) for r in history] == [
        ("train", 10, 3),
        ("valid", 10, 3),
    ] * 2


@pytest.mark.parametrize("direct", [True, False])
def test_validation_that_leaves_samples_out_is_told_once_at_the_callers_line(model, direct):
    loader = good_loader(5, 4, drop_last=True)
    if direct:
        told = warnings_of(evaluate, model, loader, LOSS)
    else:
        told = warnings_of(run, model, good_loader(), epochs=3, valid_loader=loader)
    (said,) = told
    contains(said, "the valid loader leaves out 1 of 5 samples:", "Use drop_last=False")


def test_a_single_sample_is_refused_for_batchnorm_of_rows_that_trains():
    normed = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    message = refused(normed, good_loader(9, 4))
    contains(message, "last batch holds 1 sample (9 samples in batches of 4)", "BatchNorm1d (1)")
    contains(message, "at least 2", "drop_last=True or another batch size")
    history = run(normed, good_loader(9, 4, drop_last=True), valid_loader=good_loader(9, 4))
    assert [r.samples for r in history] == [8, 9]  # in evaluation mode one sample is enough


def test_batchnorm_behind_a_convolution_and_frozen_batchnorm_train_on_a_single_sample():
    signals = loader_of(torch.randn(9, 1, 6), torch.arange(9) % 2)
    conv = nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(16, 2))
    assert run(conv, signals)[0].samples == 9
    frozen = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    frozen[1].eval()
    assert run(frozen, good_loader(9, 4))[0].samples == 9


def test_frozen_batchnorm_keeps_its_averages_and_a_model_that_was_evaluated_trains_whole():
    model = network()
    model[1].eval()
    before = model[1].running_mean.clone()
    run(model, DataLoader(data(), 8), epochs=2)
    assert torch.equal(model[1].running_mean, before) and not model[1].training
    model.eval()
    assert warnings_of(run, model, DataLoader(data(), 8)) == []
    assert not torch.equal(model[1].running_mean, before)


def test_batches_of_another_form_are_refused_with_a_remedy(model):
    images, labels = torch.randn(4, 3), torch.zeros(4).long()
    for batch, form in [
        ((images, images, labels), "3 parts"),
        ({"image": images, "label": labels}, "dict"),
        (images, "Tensor"),
    ]:
        message = refused(model, [batch], error=TypeError)
        contains(
            message, f"a batch came as {form}: expected (inputs, targets)", "collate_fn return"
        )
    message = refused(model, good_loader(size=None), error=TypeError, micro_batch_size=4)
    contains(message, "the targets of a batch came as", "give the DataLoader a batch_size")
    contains(refused(model, [(images[:0], labels[:0])]), "a batch came with 0 samples")
    message = refused(model, [(torch.randn(5, 3), labels)])
    contains(message, "the model returned 5 outputs for 4 samples: expected the same number")


def test_the_remedies_for_dicts_and_for_two_inputs_work():
    rows = [{"image": torch.randn(3), "age": torch.ones(1), "label": k % 2} for k in range(6)]

    def pairs(rows):
        inputs = tuple(torch.stack([row[name] for row in rows]) for name in ("image", "age"))
        return inputs, torch.tensor([row["label"] for row in rows])

    class Whole(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, inputs):
            return self.model(*inputs)

    loader = DataLoader(rows, 4, collate_fn=pairs)
    history = run(Whole(nn.Bilinear(3, 1, 2)), loader, micro_batch_size=3, valid_loader=loader)
    assert [r.samples for r in history] == [6, 6]


@pytest.mark.parametrize("kind", [tuple, dict])
def test_a_model_may_return_several_outputs_if_its_loss_takes_them(kind):
    class Two(nn.Linear):
        def forward(self, inputs):
            outputs = super().forward(inputs)
            return (outputs, inputs) if kind is tuple else {0: outputs, 1: inputs}

    def first(outputs, targets):
        return LOSS(outputs[0], targets)

    torch.manual_seed(0)
    model, plain = Two(3, 2), nn.Linear(3, 2)
    plain.load_state_dict(model.state_dict())
    metrics = {"accuracy": lambda outputs, targets: accuracy(outputs[0], targets)}
    loader = good_loader()
    found = run(model, loader, first, metrics=metrics, valid_loader=loader)
    expected = run(plain, loader, metrics={"accuracy": accuracy}, valid_loader=loader)
    assert found.to_dict() == expected.to_dict() and same(weights(model), weights(plain))


# Labels and shapes


@pytest.mark.parametrize("loss_fn", [LOSS, functional.cross_entropy])
@pytest.mark.parametrize(
    "labels, parts",
    [
        ([0, 1, 2, 0], ["labels run from 0 to 2", "numbers from 0 to 1", "2 outputs"]),
        ([0, -1, 1, 0], ["labels run from -1 to 1", "from 0 to 1"]),
        (torch.tensor([0, 1, 1, 0]).int(), ["type torch.int32", "labels.long()"]),
        ([[0], [1], [1], [0]], ["shape (4, 1)", "expected (4,)", "labels.squeeze(1)"]),
    ],
)
def test_labels_that_the_loss_cannot_take_are_refused(model, loss_fn, labels, parts):
    loader = loader_of(torch.randn(4, 3), torch.as_tensor(labels))
    contains(refused(model, loader, loss_fn), *parts)


def test_a_label_out_of_range_in_a_later_batch_breaks_off_the_epoch(model):
    loader, history = (
        loader_of(torch.randn(8, 3), torch.tensor([0, 1, 0, 1, 0, 1, 5, 1])),
        History(),
    )
    with pytest.raises(IndexError, match="Target 5 is out of bounds"):
        run(model, loader, history=history)
    assert [(r.samples, r.complete) for r in history] == [(4, False)] and not model[1].training


def test_one_hot_rows_and_fractions_are_refused_and_probabilities_accepted(model):
    inputs, one_hot = torch.randn(4, 3), torch.eye(2)[[0, 1, 1, 0]]
    contains(refused(model, loader_of(inputs, one_hot.long())), "labels.argmax(dim=1) on one-hot")
    contains(refused(model, loader_of(inputs, torch.zeros(4))), "labels have type torch.float32")
    assert run(model, loader_of(inputs, one_hot))[0].samples == 4  # as mixup makes them


def test_outputs_of_a_sequence_with_classes_last_are_explained():
    message = refused(nn.Linear(3, 5), loader_of(torch.randn(4, 7, 3), torch.zeros(4, 7).long()))
    contains(message, "labels have shape (4, 7): expected (4, 5)", "outputs.transpose(1, 2)")


@pytest.mark.parametrize("loss_fn", [nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss(), nn.HuberLoss()])
def test_targets_that_would_be_broadcast_are_refused(loss_fn):
    inputs = torch.randn(4, 3)
    message = refused(nn.Linear(3, 1), loader_of(inputs, torch.randn(4)), loss_fn)
    contains(message, "shape (4, 1) and targets (4,): they would be broadcast", "unsqueeze(1)")
    message = refused(nn.Linear(3, 1), loader_of(inputs, torch.ones(4, 1).long()), loss_fn)
    contains(message, "targets have type torch.int64", "targets.float()")
    assert run(nn.Linear(3, 1), loader_of(inputs, torch.randn(4, 1)), loss_fn)[0].samples == 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("loss_fn", [LOSS, functional.cross_entropy])
@pytest.mark.parametrize("bad", [1, 6])
def test_a_label_out_of_range_never_reaches_the_accelerator(loss_fn, bad):
    labels = torch.arange(8) % 2
    labels[bad] = 7
    model = nn.Linear(3, 2).cuda()
    with pytest.raises(ValueError, match="labels run from 0 to 7"):
        run(model, loader_of(torch.randn(8, 3), labels), loss_fn)
    torch.cuda.synchronize()  # would raise, and for good, had the device met the label
    assert torch.ones(2, device="cuda").sum().item() == 2


# Loss functions


@pytest.mark.parametrize(
    "loss_fn, error, parts",
    [
        (nn.CrossEntropyLoss, TypeError, ["the class CrossEntropyLoss: build it first"]),
        ("mse", TypeError, ["loss_fn is 'mse': expected a function of (outputs, targets)"]),
        (nn.CrossEntropyLoss(reduction="sum"), ValueError, ["a sum", "reduction='mean'"]),
        (
            lambda o, t: functional.cross_entropy(o, t, reduction="sum"),
            ValueError,
            ["not a mean over samples but a sum: 4 samples give", "return the mean"],
        ),
        (lambda o, t: o.T, ValueError, ["returned shape (2, 4) for 4 samples", "as shape (4,)"]),
        (lambda o, t: 0.5, TypeError, ["loss_fn returned 0.5", "expected a tensor"]),
        (lambda o, t: o.argmax(1), TypeError, ["loss_fn returned a Tensor", "floating-point"]),
    ],
)
def test_a_loss_function_of_a_wrong_kind_is_refused(model, loss_fn, error, parts):
    contains(refused(model, good_loader(), loss_fn, error), *parts)


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
        lambda o, t: nn.MSELoss()(o[:, 0], t.float()).sqrt(),
        lambda o, t: functional.cross_entropy(functional.dropout(o, 0.9), t),
        contrastive,
        dice,
    ],
)
def test_a_loss_that_is_no_mean_over_samples_trains_as_a_bare_loop_does_with_one_warning(loss_fn):
    torch.manual_seed(0)
    loader = good_loader(16, 8)
    ours, bare = nn.Linear(3, 2), nn.Linear(3, 2)
    bare.load_state_dict(ours.state_dict())
    torch.manual_seed(1)
    (said,) = warnings_of(run, ours, loader, loss_fn, epochs=3, valid_loader=loader)
    contains(said, "not a mean over samples", "the loss that is printed is a mean of batches")
    optimizer = sgd(bare, 0.01)
    torch.manual_seed(1)
    for _ in range(3):
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss_fn(bare(inputs), targets).backward()
            optimizer.step()
        with torch.no_grad():
            [loss_fn(bare(inputs), targets) for inputs, targets in loader]  # draws its numbers
    assert "dropout" in str(loss_fn) or same(weights(ours), weights(bare))


@pytest.mark.parametrize(
    "loss_fn",
    [
        LOSS,
        nn.CrossEntropyLoss(reduction="none"),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        functional.cross_entropy,
        lambda o, t: (o[:, 0] - t).square().mean(),
    ],
)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_a_mean_or_a_value_for_each_sample_is_told_of_nothing(loss_fn, n):
    assert warnings_of(run, nn.Linear(3, 2), good_loader(n, n), loss_fn) == []


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_segmentation_with_ignored_pixels_trains(reduction):
    labels = torch.randint(3, (8, 5, 5))
    labels[0, 0] = -100
    loader = loader_of(torch.randn(8, 1, 5, 5), labels)
    loss_fn = nn.CrossEntropyLoss(reduction=reduction)
    told = warnings_of(run, nn.Conv2d(1, 3, 1), loader, loss_fn, micro_batch_size=3)
    assert len(told) == (reduction == "mean")


def test_language_targets_with_padding_train():
    def loss_fn(outputs, targets):
        return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=0)

    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9))
    tokens = torch.tensor([[3, 1, 0, 0], [2, 5, 1, 4], [6, 1, 2, 0]])
    assert run(model, loader_of(tokens, tokens, 3), loss_fn)[0].samples == 3


def test_a_loss_for_each_pixel_counts_as_the_mean_of_its_sample():
    inputs, targets = torch.randn(6, 3), torch.randn(6, 2)
    model = nn.Linear(3, 2)
    each = evaluate(model, loader_of(inputs, targets), nn.MSELoss(reduction="none"))
    assert each.loss == evaluate(model, loader_of(inputs, targets), nn.MSELoss()).loss


# Model, device, optimizer, numbers


def test_what_would_train_nothing_is_refused(model):
    other, frozen = nn.Linear(3, 2), nn.Linear(3, 2).requires_grad_(False)
    with pytest.raises(ValueError, match="holds no parameter of this model that is trained.*anew"):
        fit(model, good_loader(), LOSS, sgd(other), **QUIET)
    with pytest.raises(ValueError, match="no parameter of the model is trained: all have requires"):
        fit(frozen, good_loader(), LOSS, sgd(other), **QUIET)
    contains(refused(nn.Flatten(), good_loader()), "no parameter of the model", "nn.ModuleList")
    with pytest.raises(TypeError, match="optimizer is the class SGD: build it first"):
        fit(model, good_loader(), LOSS, torch.optim.SGD, **QUIET)
    with pytest.raises(TypeError, match="model is the class Linear: .* build a class first"):
        fit(nn.Linear, good_loader(), LOSS, None, **QUIET)
    with pytest.raises(TypeError, match="model is .*: expected a torch.nn.Module"):
        fit(lambda x: x, good_loader(9, 4), LOSS, None, **QUIET)


def test_a_module_without_parameters_can_be_evaluated():
    assert evaluate(nn.Flatten(), good_loader(), LOSS, device="cpu").samples == 8


def test_a_device_where_the_model_is_not_is_refused(model):
    message = refused(model, good_loader(), device="meta")
    contains(message, "the model is on cpu, but device='meta' was asked for", "model.to('meta')")


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True, "3"])
def test_epochs_that_cannot_be_are_refused(model, epochs):
    message = refused(model, good_loader(), epochs=epochs)
    contains(message, f"epochs is {epochs!r}: expected a whole number, at least 1")


def test_numbers_of_numpy_are_numbers(model):
    whole = {"epochs": np.int64(2), "micro_batch_size": np.int32(3), "seed": np.int64(1)}
    assert run(model, good_loader(), **whole).epochs == 2


@pytest.mark.parametrize("size", [0, -1, True, 2.0, "8", "auto"])
def test_other_sizes_of_micro_batches_are_refused(model, size):
    message = refused(model, good_loader(), micro_batch_size=size)
    contains(message, f"micro_batch_size is {size!r}: expected a whole number of samples", "None")


def test_metrics_that_cannot_be_are_refused(model):
    contains(refused(model, good_loader(), error=TypeError, metrics=accuracy), "functions by name")
    contains(refused(model, good_loader(), metrics={"loss": accuracy}), "is called 'loss'")
    mean = {"acc": lambda o, t: accuracy(o, t).float().mean()}
    message = refused(model, good_loader(), metrics=mean)
    contains(message, "metric 'acc' returned a Tensor of shape ()", "expected one value a sample")
    contains(refused(model, good_loader(), max_norm=0), "max_norm is 0: expected a length above 0")


@pytest.mark.parametrize("direct", ["train", "evaluate"])
def test_a_direct_call_checks_at_its_own_door(model, direct):
    empty = loader_of(torch.zeros(0, 3), torch.zeros(0).long())
    with pytest.raises(ValueError, match="loader has no batch"):
        if direct == "train":
            train_epoch(model, empty, LOSS, sgd(model))
        else:
            evaluate(model, empty, LOSS)


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
    loader, valid = Batches(data(), 8), DataLoader(data(), 8)
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run(model, loader, valid_loader=valid, metrics={"accuracy": accuracy}, seed=0)
    finally:
        sys.setprofile(before)
    assert 10 < len(calls) <= 40, calls
