"""What people really pass by mistake to the functions that lessons call, and what they read then.

Each line: the door, the call, the error, and of its message the value, what was expected, and the remedy.
"""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dlhelpers.data import (
    BlockShuffleSampler,
    ImageDataset,
    NumberedImages,
    Shapes,
    Stream,
    batches_per_epoch,
    count,
    describe,
    draw_shapes,
    load,
    shuffle_buffer,
    split_epoch,
)
from dlhelpers.explore import explore_batches
from dlhelpers.machine import bytes_of, human_bytes, memory_budget, run_limited, seed_everything
from dlhelpers.measure import (
    Waiting,
    WorkerReport,
    count_reads,
    loader_speed,
    pipeline_speed,
    study_batch_sizes,
)
from dlhelpers.show import (
    Table,
    plot_history,
    plot_images,
    plot_lines,
    plot_runs,
    plot_steps,
    show,
)
from dlhelpers.train import History, accuracy, evaluate, fit, load_checkpoint, save_checkpoint

LOSS = nn.CrossEntropyLoss()
NET = nn.Linear(4, 3)
SGD = torch.optim.SGD(NET.parameters(), lr=0.1)
IMAGES, LABELS = torch.zeros(6, 1, 2, 2), torch.tensor([0, 1, 2, 0, 1, 2])
DATA = TensorDataset(torch.randn(6, 4), LABELS)
LOADER = DataLoader(DATA, batch_size=3)
AXES = {"xlabel": "epoch", "ylabel": "loss"}


def make_batch(size):
    """A batch as a study of batch sizes asks for it."""
    return torch.randn(size, 4), torch.zeros(size, dtype=torch.long)


def train(*args, **options):
    """Call `fit` with what it needs, except where the call says otherwise."""
    fit(
        *args, *(NET, LOADER, LOSS, SGD)[len(args) :], **{"epochs": 1, "progress": False, **options}
    )


def study(*args, **options):
    """Call the study with what it needs, except where the call says otherwise."""
    study_batch_sizes(*args, *(NET, make_batch, LOSS)[len(args) :], **{"limit": 2, **options})


MISTAKES = [
    # data
    (load, lambda: load("cifar"), ValueError, "unknown dataset 'cifar': did you mean 'cifar10'"),
    (load, lambda: load("xyzzy"), ValueError, "unknown dataset 'xyzzy'. There are digits, shapes"),
    (load, lambda: load(None), ValueError, "unknown dataset None.*There are digits"),
    (load, lambda: load("digits", "valid"), ValueError, "split is 'valid': expected 'train' or"),
    (load, lambda: load("shapes", size=4), ValueError, "size is 4: expected.*pixels, at least 8"),
    (Shapes, lambda: Shapes("9"), ValueError, "length is '9': expected a whole number of samples"),
    (Shapes, lambda: Shapes(4, seed=-1), ValueError, "seed is -1: expected a whole number"),
    (Shapes, lambda: Shapes(4)[4], IndexError, "index 4 is beyond a dataset of 4 samples: expec"),
    (NumberedImages, lambda: NumberedImages(2.5), ValueError, "length is 2.5: expected a whole"),
    (NumberedImages, lambda: NumberedImages(9)[0:2], TypeError, r"slice.*\[dataset\[k\] for k"),
    (NumberedImages, lambda: NumberedImages(9)["a"], TypeError, "index is 'a': expected one whole"),
    (draw_shapes, lambda: draw_shapes(5, 4), ValueError, "stop is 4: expected.*at least 5, as st"),
    (draw_shapes, lambda: draw_shapes(-1, 4), ValueError, "start is -1: expected a whole number"),
    (draw_shapes, lambda: draw_shapes(0, 1, size=12), ValueError, "size is 12.*multiple of 8"),
    (ImageDataset, lambda: ImageDataset(IMAGES, LABELS[:5], "abc"), TypeError, "classes is 'abc'"),
    (
        ImageDataset,
        lambda: ImageDataset(IMAGES, LABELS, 3),
        TypeError,
        "classes is 3: expected the",
    ),
    (
        ImageDataset,
        lambda: ImageDataset(IMAGES, [0, 1], []),
        TypeError,
        "labels is.*a tensor of cl",
    ),
    (ImageDataset, lambda: ImageDataset(IMAGES.numpy(), LABELS, []), TypeError, "torch.as_tensor"),
    (
        ImageDataset,
        lambda: ImageDataset(IMAGES, LABELS[:5], list("abc")),
        ValueError,
        "6 images but 5 labels: expected one label an image, in order",
    ),
    (
        ImageDataset,
        lambda: ImageDataset(IMAGES, LABELS.float(), list("abc")),
        ValueError,
        r"type torch.float32: expected shape \(6,\) and whole class numbers.*\.long\(\)",
    ),
    (
        ImageDataset,
        lambda: ImageDataset(IMAGES, torch.eye(6, 3).long(), list("abc")),
        ValueError,
        r"shape \(6, 3\).*expected shape \(6,\).*\.argmax\(dim=1\) on one-hot labels",
    ),
    (
        ImageDataset,
        lambda: ImageDataset(IMAGES, LABELS + 1, list("abc")),
        ValueError,
        "labels run from 1 to 3: expected 0 to 2, since there are 3 classes",
    ),
    (batches_per_epoch, lambda: batches_per_epoch(-1, 4), ValueError, "samples is -1.*at least 0"),
    (batches_per_epoch, lambda: batches_per_epoch(9, 0), ValueError, "batch_size is 0.*at least 1"),
    (batches_per_epoch, lambda: batches_per_epoch(9, 2.5), ValueError, "batch_size is 2.5: expect"),
    (
        batches_per_epoch,
        lambda: batches_per_epoch(DATA, 4),
        ValueError,
        "samples is .*whole number",
    ),
    (describe, lambda: describe(DATA), TypeError, "loader is a TensorDataset: expected a DataLoad"),
    (count, lambda: count(5), TypeError, r"loader is 5: expected a DataLoader, as DataLoader\("),
    (
        count,
        lambda: count(NumberedImages(9)),
        TypeError,
        "loader is a NumberedImages: expected a D",
    ),
    (count, lambda: count(LOADER, max_batches=0), ValueError, "max_batches is 0.*at least 1"),
    (count, lambda: count([["a", "b"]]), TypeError, "a batch holds str, expected tensors with one"),
    (count, lambda: count([[]]), TypeError, "a batch holds list, expected tensors with one row"),
    (Stream, lambda: Stream(iter(DATA)), TypeError, "expected one with a length and an index"),
    (shuffle_buffer, lambda: shuffle_buffer([1], 0, None), ValueError, "size is 0.*at least 1"),
    (shuffle_buffer, lambda: shuffle_buffer([1], 2, 0), TypeError, r"random is 0.*as Random\(0\)"),
    (
        BlockShuffleSampler,
        lambda: BlockShuffleSampler(DATA),
        (TypeError, ValueError),
        "TensorDatas",
    ),
    (split_epoch, lambda: split_epoch(-1, world=2), ValueError, "-1"),
    # machine
    (bytes_of, lambda: bytes_of(3, 224, 224), TypeError, r"shape is a int.*bytes_of\(\(3, 224"),
    (bytes_of, lambda: bytes_of(IMAGES), TypeError, r"shape is a Tensor.*expected bytes_of\(\(3"),
    (bytes_of, lambda: bytes_of((3,), "float32"), TypeError, "dtype a str.*torch.float32"),
    (bytes_of, lambda: bytes_of((3, -1)), ValueError, r"shape \(3, -1\).*no negative number"),
    (human_bytes, lambda: human_bytes("9 MB"), TypeError, "count is '9 MB': expected a number of"),
    (memory_budget, lambda: memory_budget("gpu"), (RuntimeError, ValueError), "cuda"),
    (run_limited, lambda: run_limited("train", limit=10**8), TypeError, "'?train'?|str"),
    (seed_everything, lambda: seed_everything(-1), ValueError, "Seed must be between 0 and"),
    # show
    (show, lambda: show(plt.figure()), TypeError, "ax is a Figure: expected the axes of a figure"),
    (show, lambda: show(plt.figure().add_subplot()), ValueError, "no sentence: pass one that says"),
    (plot_images, lambda: plot_images(IMAGES, [1]), ValueError, "6 images and 1 captions: expect"),
    (plot_images, lambda: plot_images([DATA[0]], [1]), TypeError, r"image 0 is.*it is sample\[0\]"),
    (
        plot_images,
        lambda: plot_images([torch.zeros(2, 8, 8)], [1]),
        ValueError,
        r"image 0 has shape \(2, 8, 8\): expected \(C, H, W\) with 1 or 3 channels",
    ),
    (
        plot_steps,
        lambda: plot_steps([[[0]]], 0),
        ValueError,
        "micro_batch_size is 0: expected a wh",
    ),
    (plot_steps, lambda: plot_steps([[]], 3), ValueError, "1 epochs without a batch: expected at"),
    (
        plot_lines,
        lambda: plot_lines(None, {"a": [1]}, **AXES),
        TypeError,
        "x is None: expected a l",
    ),
    (plot_lines, lambda: plot_lines([1], [1], **AXES), TypeError, r"series is \[1\].*{'train': \["),
    (plot_lines, lambda: plot_lines([1], {"a": 3}, **AXES), TypeError, "series 'a' is 3: expected"),
    (
        plot_lines,
        lambda: plot_lines([], {"a": []}, **AXES),
        ValueError,
        "x is empty: expected a li",
    ),
    (
        plot_lines,
        lambda: plot_lines([1, 2], {"loss": [3]}, **AXES),
        ValueError,
        "series 'loss' has 1 values for 2 places on the x axis: expected as many",
    ),
    (
        plot_lines,
        lambda: plot_lines([1], {"loss": [float("nan")]}, **AXES),
        ValueError,
        "series 'loss' has nothing to draw: expected at least one number that is not NaN",
    ),
    (
        plot_runs,
        lambda: plot_runs({"16": []}, **AXES),
        ValueError,
        "'16' has no runs: expected at l",
    ),
    (
        plot_runs,
        lambda: plot_runs({"16": [([0, 1], [1.0])]}, **AXES),
        ValueError,
        "run 0 of '16' has 2 places and 1 values: expected as many, not 0",
    ),
    (
        plot_history,
        lambda: plot_history([1.0]),
        TypeError,
        r"history is \[1.0\].*as fit returns it",
    ),
    (plot_history, lambda: plot_history(History()), KeyError, "it has no finished epoch"),
    (
        Table,
        lambda: Table(["a", "b"], [1, 2]),
        ValueError,
        "row 0 is 1: expected a list of 2 values",
    ),
    (
        Table,
        lambda: Table(["a", "b"], [["x"]]),
        ValueError,
        r"row 0 is \['x'\]: expected a list of 2",
    ),
    # explore
    (
        explore_batches,
        lambda: explore_batches(10_000),
        ValueError,
        "samples is 10000: expected at m",
    ),
    (explore_batches, lambda: explore_batches(9, 0), ValueError, "batch_size is 0.*at least 1"),
    # train
    (fit, lambda: train(nn.Linear), TypeError, "model is .*expected a torch.nn.Module"),
    (fit, lambda: train(None), TypeError, "None"),
    (fit, lambda: train(NET, DATA[0][0]), (TypeError, ValueError), "load|batch"),
    (fit, lambda: train(NET, LOADER, nn.CrossEntropyLoss), TypeError, "loss_fn is the class Cross"),
    (fit, lambda: train(NET, LOADER, "mse"), TypeError, "loss_fn is 'mse'"),
    (fit, lambda: train(NET, LOADER, LOSS, torch.optim.SGD), TypeError, "optimizer.* class SGD"),
    (fit, lambda: train(epochs=-1), ValueError, "epochs is -1"),
    (fit, lambda: train(epochs=2.5), ValueError, "epochs is 2.5"),
    (fit, lambda: train(metrics=accuracy), TypeError, "metrics.*accuracy"),
    (
        evaluate,
        lambda: evaluate(NET, LOADER, nn.CrossEntropyLoss),
        TypeError,
        "loss_fn is the clas",
    ),
    (save_checkpoint, lambda: save_checkpoint("x.pt", NET, SGD, history=None), TypeError, "None"),
    (load_checkpoint, lambda: load_checkpoint("not/there.pt", NET), FileNotFoundError, "there.pt"),
    # measure
    (
        study_batch_sizes,
        lambda: study(budget="0.8"),
        ValueError,
        "budget is '0.8': expected a part",
    ),
    (study_batch_sizes, lambda: study(budget=80), ValueError, "budget is 80.*at most 1"),
    (
        study_batch_sizes,
        lambda: study(start=1),
        ValueError,
        "start is 1.*at least 2, since BatchNo",
    ),
    (study_batch_sizes, lambda: study(start=8, limit=4), ValueError, "limit is 4.*at least 8, as"),
    (study_batch_sizes, lambda: study(steps=0), ValueError, "steps is 0.*at least 1"),
    (
        study_batch_sizes,
        lambda: study(NET, DATA[0:4]),
        TypeError,
        "make_batch is.*from a size to a",
    ),
    (
        study_batch_sizes,
        lambda: study(NET, make_batch, LOSS, SGD),
        TypeError,
        "optimizer_fn is SGD",
    ),
    (
        pipeline_speed,
        lambda: pipeline_speed(NET, 3, LOSS),
        TypeError,
        "loader is int: expected a D",
    ),
    (
        pipeline_speed,
        lambda: pipeline_speed(NET, LOADER, nn.MSELoss),
        TypeError,
        "the class MSELoss",
    ),
    (
        loader_speed,
        lambda: loader_speed(iter(LOADER)),
        ValueError,
        "only once: pass the DataLoader",
    ),
    (loader_speed, lambda: loader_speed(LOADER, batches=0), ValueError, "batches is 0.*at least 1"),
    (loader_speed, lambda: loader_speed(LOADER, warmup=-1), ValueError, "warmup is -1.*at least 0"),
    (Waiting, lambda: Waiting(DATA, -1), ValueError, "milliseconds is -1: expected 0 or more"),
    (WorkerReport, lambda: WorkerReport(0), ValueError, "length is 0.*at least 1"),
    (count_reads, lambda: count_reads(5, "cpu"), TypeError, "work is 5: expected a function"),
]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [pytest.param(*line[1:], id=f"{line[0].__name__}-{k}") for k, line in enumerate(MISTAKES)],
)
def test_a_mistake_is_named_with_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()
    plt.close("all")


def test_numbers_of_numpy_are_taken_where_pythons_are():
    three = np.int64(3)
    assert len(Shapes(three)) == len(NumberedImages(three)) == len(WorkerReport(three)) == 3
    assert bytes_of((three,), count=three) == 36 and batches_per_epoch(three, three) == 1
    assert count(LOADER, max_batches=np.int64(1)).batches == 1
    assert loader_speed(LOADER, batches=three, warmup=np.int64(0)).batches == 2
