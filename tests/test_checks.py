"""Tests of `guards`: bad input is refused with value, expectation and remedy, and nothing is lost."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from dlhelpers.train import EpochResult, History, accuracy, evaluate, fit, train_epoch
from dlhelpers.train.batches import split_batch
from dlhelpers.train.checks import check_model


NONE = torch.zeros(0, dtype=torch.int64)


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


def refused(model, loader, loss_fn=None, error=ValueError, **options):
    """Fit, expect `error`, check that nothing is lost, and return the message."""
    history = History()
    history.add(EpochResult("train", 1, 0.5, samples=8, batches=2, optimizer_steps=2))
    kept = history[0]
    modes = [part.training for part in model.modules()]
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.SGD(list(model.parameters()) or [torch.zeros(1)], lr=0.1)
    with pytest.raises(error) as caught:
        options = {"epochs": 1, "history": history, "progress": False} | options
        fit(model, loader, loss_fn or nn.CrossEntropyLoss(), optimizer, **options)
    assert history[0] is kept and history.epochs == 1 and all(not r.complete for r in history[1:])
    assert [part.training for part in model.modules()] == modes
    assert all(
        torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True)
    )
    return str(caught.value)


def contains(message, *parts):
    missing = [part for part in parts if part not in message]
    assert not missing, f"{missing} not in {message!r}"


# Loaders


def test_an_empty_dataset_is_refused(model):
    message = refused(model, loader_of(torch.zeros(0, 3), NONE))
    contains(message, "the train loader has no batch: 0 samples, batch_size 4", "more samples")


def test_a_loader_whose_only_batch_is_dropped_is_refused(model):
    message = refused(model, good_loader(3, 8, drop_last=True))
    contains(
        message,
        "no batch: 3 samples, batch_size 8, drop_last True",
        "smaller batch size, drop_last=False",
    )


def test_an_empty_validation_loader_is_refused_before_any_training(model):
    message = refused(model, good_loader(), valid_loader=loader_of(torch.zeros(0, 3), NONE))
    contains(message, "the valid loader has no batch: 0 samples")


@pytest.mark.parametrize("size", [0, -4])
def test_pytorch_itself_refuses_a_batch_size_below_one(size):
    with pytest.raises(
        ValueError,
        match=f"batch_size should be a positive integer value, but got batch_size={size}",
    ):
        good_loader(8, size)


def test_a_batch_larger_than_the_dataset_is_one_batch(model):
    history = fit(
        model,
        good_loader(8, 100),
        nn.CrossEntropyLoss(),
        torch.optim.SGD(model.parameters(), 0.1),
        epochs=1,
        progress=False,
    )
    assert (history[0].batches, history[0].samples) == (1, 8)


def test_what_is_no_loader_is_refused(model):
    contains(refused(model, 5, error=TypeError), "the train loader is int: expected a DataLoader")


def test_a_stream_that_is_spent_is_refused_in_its_second_epoch(model):
    batches = iter([(torch.randn(4, 3), torch.zeros(4, dtype=torch.int64))])
    history = History()
    with pytest.raises(
        ValueError, match="the loader gave no batch: .* a stream that is already read to its end"
    ):
        fit(
            model,
            batches,
            nn.CrossEntropyLoss(),
            torch.optim.SGD(model.parameters(), 0.1),
            epochs=2,
            history=history,
            progress=False,
        )
    assert [(r.epoch, r.samples, r.complete) for r in history] == [(1, 4, True), (2, 0, False)]


def test_a_loader_without_length_trains_and_validates(model):
    class Stream(IterableDataset):
        def __iter__(self):
            yield from ((torch.full((3,), float(k)), k % 2) for k in range(10))

    stream = DataLoader(Stream(), 4)
    history = fit(
        model,
        stream,
        nn.CrossEntropyLoss(),
        torch.optim.SGD(model.parameters(), 0.01),
        epochs=2,
        valid_loader=stream,
        progress=False,
    )
    assert [(r.phase, r.samples, r.batches) for r in history] == [
        ("train", 10, 3),
        ("valid", 10, 3),
    ] * 2


def test_a_dataset_whose_length_is_too_long_breaks_off_and_keeps_the_history(model):
    class TooLong(TensorDataset):
        def __len__(self):
            return 12

    inputs, labels = torch.randn(8, 3), torch.zeros(8, dtype=torch.int64)
    history = History()
    with pytest.raises(IndexError):
        fit(
            model,
            DataLoader(TooLong(inputs, labels), 4),
            nn.CrossEntropyLoss(),
            torch.optim.SGD(model.parameters(), 0.1),
            epochs=1,
            history=history,
            progress=False,
        )
    assert [(r.samples, r.complete) for r in history] == [(8, False)] and not model[1].training


def test_validation_that_leaves_samples_out_is_warned_of(model):
    with pytest.warns(
        UserWarning, match="the valid loader leaves out 1 of 5 samples: .* Use drop_last=False"
    ):
        evaluate(model, good_loader(5, 4, drop_last=True), nn.CrossEntropyLoss())


def test_a_last_batch_of_one_is_refused_for_batchnorm_and_fine_without():
    normed = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    message = refused(normed, good_loader(9, 4))
    contains(
        message,
        "last batch holds 1 sample (9 samples in batches of 4)",
        "BatchNorm1d (1)",
        "at least 2",
        "drop_last=True or another batch size",
    )
    optimizer = torch.optim.SGD(normed.parameters(), 0.1)
    dropping = good_loader(9, 4, drop_last=True)
    history = fit(
        normed,
        dropping,
        nn.CrossEntropyLoss(),
        optimizer,
        epochs=1,
        progress=False,
        valid_loader=good_loader(9, 4),
    )
    assert [r.samples for r in history] == [8, 9]  # in evaluation mode one sample is enough


def test_a_batch_of_no_samples_is_refused(model):
    good, empty = ((torch.randn(n, 3), torch.zeros(n).long()) for n in (4, 0))
    contains(
        refused(model, [empty]), "a batch came with 0 samples: expected at least 1", "leave it out"
    )
    with pytest.raises(ValueError, match="a batch came with 0 samples"):
        evaluate(model, [good, empty], nn.CrossEntropyLoss())


def test_an_optimizer_that_would_train_nothing_is_refused(model):
    other, frozen = (
        torch.optim.SGD(nn.Linear(3, 2).parameters(), 0.1),
        nn.Linear(3, 2).requires_grad_(False),
    )
    options = {"epochs": 1, "progress": False}
    with pytest.raises(
        ValueError, match="holds no parameter of this model that is trained.*make it anew after the"
    ):
        fit(model, good_loader(), nn.CrossEntropyLoss(), other, **options)
    with pytest.raises(
        ValueError, match="no parameter of the model is trained: all have requires_grad=False"
    ):
        fit(
            frozen,
            good_loader(),
            nn.CrossEntropyLoss(),
            torch.optim.SGD(frozen.parameters(), 0.1),
            **options,
        )
    with pytest.raises(
        ValueError, match="optimizer is LBFGS.*expected one whose step\\(\\) needs none"
    ):
        fit(
            model,
            good_loader(),
            nn.CrossEntropyLoss(),
            torch.optim.LBFGS(model.parameters()),
            **options,
        )


@pytest.mark.parametrize(
    "batch, form",
    [
        ((1, 2, 3), "3 parts"),
        ({"x": 1}, "dict"),
        (torch.zeros(2), "Tensor"),
        ([torch.zeros(2), "label"], "2 parts"),
    ],
)
def test_a_batch_of_another_form_is_refused(batch, form):
    with pytest.raises(TypeError, match=f"a batch came as {form}: expected \\(inputs, targets\\)"):
        split_batch(batch)


@pytest.mark.parametrize("micro_batch_size", [None, 4])
def test_single_samples_in_place_of_batches_are_refused(model, micro_batch_size):
    message = refused(
        model, good_loader(size=None), error=TypeError, micro_batch_size=micro_batch_size
    )
    contains(message, "a batch came as 2 parts", "give the DataLoader a batch_size")


@pytest.mark.parametrize(
    "forward, came",
    [(lambda x: None, "None"), (lambda x: (x, x), "a tuple"), (torch.sum, "shape ()")],
)
def test_a_model_that_returns_no_tensor_with_a_row_a_sample_is_refused(model, forward, came):
    model.forward = forward
    message = refused(model, good_loader(), error=TypeError)
    contains(message, "the model returned", came, "expected a tensor, a row for each sample")
    with pytest.raises(TypeError, match="the model returned"):
        evaluate(model, good_loader(), nn.CrossEntropyLoss())


# Labels


@pytest.mark.parametrize(
    "loss_fn",
    [nn.CrossEntropyLoss(), functional.cross_entropy, nn.CrossEntropyLoss(reduction="none")],
)
def test_a_label_that_pytorch_would_leave_out_is_refused_in_a_later_batch_too(model, loss_fn):
    """Its mean would be one over the others, and depend on the batch size."""
    labels = torch.tensor([0, 1] * 6)
    labels[7] = -100
    loader = loader_of(torch.randn(12, 3), labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for run in (
        lambda: evaluate(model, loader, loss_fn),
        lambda: train_epoch(model, loader, loss_fn, optimizer),
    ):
        with pytest.raises(
            ValueError, match="labels run from -100 to 1: expected class numbers.*ignore_index"
        ):
            run()


def test_a_loss_that_leaves_out_a_class_is_refused(model):
    message = refused(model, good_loader(), nn.CrossEntropyLoss(ignore_index=0))
    contains(message, "loss_fn leaves out class 0 (ignore_index)", "take such samples out")
    assert check_loss_fn(given := nn.CrossEntropyLoss()) is not given and given.ignore_index == -100
    for kept in (
        Counting(),
        nn.CrossEntropyLoss(ignore_index=0, reduction="none"),
    ):  # zeros, and a mean over all
        assert check_loss_fn(kept) is kept


class Counting(nn.CrossEntropyLoss):
    """A loss that remembers something, which a copy would forget."""

    calls = 0

    def forward(self, outputs, targets):
        self.calls += 1
        return super().forward(outputs, targets)


@pytest.mark.parametrize(
    "loss_fn",
    [
        nn.CrossEntropyLoss(),
        functional.cross_entropy,
        lambda outputs, labels: functional.cross_entropy(outputs, labels),
    ],
)
@pytest.mark.parametrize(
    "labels, parts",
    [
        (
            [0, 1, 2, 0],
            ["labels run from 0 to 2", "expected class numbers from 0 to 1", "2 outputs"],
        ),
        ([0, -1, 1, 0], ["labels run from -1 to 1", "from 0 to 1"]),
        (
            torch.tensor([0, 1, 1, 0], dtype=torch.int32),
            ["type torch.int32", "expected torch.int64", "labels.long()"],
        ),
        ([[0], [1], [1], [0]], ["shape (4, 1)", "expected (4,)", "labels.squeeze(1)"]),
    ],
)
def test_labels_that_the_loss_cannot_take_are_refused(model, loss_fn, labels, parts):
    contains(refused(model, loader_of(torch.randn(4, 3), torch.as_tensor(labels)), loss_fn), *parts)


@pytest.mark.parametrize("loss_fn", [nn.CrossEntropyLoss(), functional.cross_entropy])
def test_labels_are_checked_before_the_loss_meets_them(monkeypatch, loss_fn):
    def meet(*args):
        raise AssertionError("the loss met the label, which ends a GPU's use for good")

    monkeypatch.setattr(torch._C._nn, "cross_entropy_loss", meet)
    with pytest.raises(ValueError, match="labels run from 0 to 2"):
        check_first_batch(loss_fn, torch.randn(3, 2), torch.tensor([0, 2, 1]))


def test_labels_of_floating_point_are_refused(model):
    message = refused(model, loader_of(torch.randn(4, 3), torch.zeros(4)))
    contains(message, "labels have type torch.float32", "expected torch.int64", "labels.long()")


def test_one_hot_whole_numbers_are_refused_and_probabilities_accepted(model):
    one_hot = torch.eye(2)[[0, 1, 1, 0]]
    contains(
        refused(model, loader_of(torch.randn(4, 3), one_hot.long())),
        "shape (4, 2)",
        "labels.argmax(dim=1)",
    )
    result = evaluate(model, loader_of(torch.randn(4, 3), one_hot), nn.CrossEntropyLoss())
    assert result.samples == 4


def test_a_label_out_of_range_in_a_later_batch_is_explained_too(model):
    loader = loader_of(torch.randn(8, 3), torch.tensor([0, 1, 0, 1, 0, 1, 5, 1]))
    history = History()
    with pytest.raises(
        ValueError, match="labels run from 0 to 5: expected class numbers from 0 to 1"
    ):
        fit(
            model,
            loader,
            nn.CrossEntropyLoss(),
            torch.optim.SGD(model.parameters(), 0.1),
            epochs=1,
            history=history,
            progress=False,
        )
    assert [(r.samples, r.complete) for r in history] == [(4, False)] and not model[1].training


def test_images_and_labels_of_unequal_number_in_a_batch_are_refused(model):
    message = refused(model, [(torch.randn(5, 3), torch.zeros(4, dtype=torch.int64))])
    contains(message, "the model returned 5 outputs for 4 samples", "expected the same number")


# Loss functions


@pytest.mark.parametrize(
    "loss_fn, error, parts",
    [
        (
            nn.CrossEntropyLoss,
            TypeError,
            ["the class CrossEntropyLoss", "build it first", "CrossEntropyLoss()"],
        ),
        (
            "mse",
            TypeError,
            [
                "loss_fn is 'mse'",
                "expected a function of (outputs, targets)",
                "nn.CrossEntropyLoss()",
            ],
        ),
        (
            nn.CrossEntropyLoss(reduction="sum"),
            ValueError,
            ["reduction='sum'", "use reduction='mean'"],
        ),
        (
            lambda o, t: functional.cross_entropy(o, t, reduction="sum"),
            ValueError,
            ["not a mean over samples", "weighed"],
        ),
        (
            lambda o, t: o,
            ValueError,
            ["returned shape (4, 2) for 4 samples", "expected one number", "shape (4,)"],
        ),
        (lambda o, t: 0.5, TypeError, ["loss_fn returned float", "expected a tensor"]),
        (lambda o, t: o.argmax(1), TypeError, ["loss_fn returned Tensor", "floating-point"]),
    ],
)
def test_a_loss_function_of_a_wrong_kind_is_refused(model, loss_fn, error, parts):
    contains(refused(model, good_loader(), loss_fn, error), *parts)


def test_class_weights_are_refused_since_their_mean_is_not_over_samples():
    loss_fn = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 9.0]))
    outputs = torch.tensor([[3.0, 0.0], [0.0, 0.0], [0.0, 3.0], [2.0, 0.0]])
    with pytest.raises(
        ValueError, match="not a mean over samples: .* class weights need reduction='none'"
    ):
        check_first_batch(loss_fn, outputs, torch.tensor([0, 1, 0, 1]))


@pytest.mark.parametrize(
    "loss_fn",
    [
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(reduction="none"),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        functional.cross_entropy,
    ],
)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_a_mean_and_a_value_a_sample_pass(loss_fn, n):
    check_loss_fn(loss_fn)
    check_first_batch(loss_fn, torch.randn(n, 2), torch.arange(n) % 2)


@pytest.mark.parametrize("loss_fn", [nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss(), nn.HuberLoss()])
def test_targets_that_would_be_broadcast_are_refused(loss_fn):
    with pytest.raises(
        ValueError,
        match=r"shape \(4, 1\) and targets \(4,\): they would be broadcast.*unsqueeze\(1\)",
    ):
        check_first_batch(loss_fn, torch.randn(4, 1), torch.randn(4))
    check_first_batch(loss_fn, torch.randn(4, 1), torch.randn(4, 1))


def test_whole_numbers_as_targets_of_a_regression_are_refused(model):
    message = refused(
        model, loader_of(torch.randn(4, 3), torch.ones(4, 2, dtype=torch.int64)), nn.MSELoss()
    )
    contains(
        message,
        "targets have type torch.int64",
        "MSELoss expects floating-point",
        "targets.float()",
    )


def test_a_metric_that_returns_a_mean_is_refused(model):
    modes = [part.training for part in model.modules()]
    history = History()
    with pytest.raises(
        ValueError,
        match=r"metric 'acc' returned shape \(\) for 4 samples: expected one value a sample",
    ):
        fit(
            model,
            good_loader(),
            nn.CrossEntropyLoss(),
            torch.optim.SGD(model.parameters(), 0.1),
            epochs=1,
            metrics={"acc": lambda o, t: accuracy(o, t).float().mean()},
            history=history,
            progress=False,
        )
    assert [part.training for part in model.modules()] == modes and [
        r.complete for r in history
    ] == [False]


# Model, device, epochs


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True, "3"])
def test_epochs_that_cannot_be_are_refused(model, epochs):
    contains(
        refused(model, good_loader(), epochs=epochs),
        f"epochs is {epochs!r}: expected a whole number, at least 1",
    )


def test_a_model_without_parameters_is_refused():
    message = refused(nn.Flatten(), good_loader())
    contains(message, "the model has no parameters: there is nothing to train", "nn.ModuleList")


def test_what_is_no_model_is_refused_whatever_the_loader():
    with pytest.raises(TypeError, match="model is function: expected a torch.nn.Module"):
        fit(lambda x: x, good_loader(9, 4), nn.CrossEntropyLoss(), None, epochs=1, progress=False)


def test_a_device_where_the_model_is_not_is_refused(model):
    message = refused(model, good_loader(), device="meta")
    contains(
        message,
        "the model is on cpu, but device='meta' was asked for",
        "model.to('meta')",
        "before",
        "optimizer",
    )


def test_a_model_on_two_devices_is_refused():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2, device="meta"))
    with pytest.raises(ValueError, match="the model lies on cpu, meta: move it to one device"):
        check_model(model, None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("loss_fn", [nn.CrossEntropyLoss(), functional.cross_entropy])
@pytest.mark.parametrize("bad", [1, 6])
def test_a_label_out_of_range_never_reaches_the_accelerator(loss_fn, bad):
    labels = torch.arange(8) % 2
    labels[bad] = 7
    model = nn.Linear(3, 2).cuda()
    with pytest.raises(ValueError, match="labels run from 0 to 7"):
        fit(
            model,
            loader_of(torch.randn(8, 3), labels),
            loss_fn,
            torch.optim.SGD(model.parameters(), 0.1),
            epochs=1,
            progress=False,
        )
    torch.cuda.synchronize()  # would raise, and for good, had the device met the label
    assert torch.ones(2, device="cuda").sum().item() == 2
