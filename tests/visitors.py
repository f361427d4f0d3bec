"""Who knocks in tests/test_fuzz.py: wrong values of every kind, and small valid objects, made anew at each call."""

import math
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from small_runs import data, sgd
from torch import nn
from torch.utils.data import DataLoader

from dlhelpers import (
    batch_sizes,
    datasets,
    decoding,
    history,
    image_files,
    limits,
    manifests,
    rehearsal,
)
from dlhelpers.checkpoints import save_checkpoint
from dlhelpers.exercises import core
from dlhelpers.shard_writer import ShardWriter

HUGE = 10**30


def takes_nothing():
    """A function of the wrong arity."""


def gives_nothing(*arguments, **options):
    """A function of any arity that returns None."""


WRONG = {
    "None": None, "True": True, "no text": "", "text": "nonsense", "bytes": b"bytes", "below zero": -1, "zero": 0,
    "half": 2.5, "huge": HUGE, "NaN": math.nan, "infinity": math.inf, "below all": -math.inf, "empty list": [],
    "list": [None], "texts": ["a", "b"], "empty dict": {}, "dict": {"a": 1}, "set": set(), "object": object(),
    "arity": takes_nothing, "function": gives_nothing, "class": int, "missing": Path("missing"), "range": range(0),
    "empty tensor": torch.empty(0), "matrix": torch.zeros(2, 3), "scalar": torch.tensor(math.nan),
    "booleans": torch.zeros(3, dtype=torch.bool), "array": np.array([1.5, math.nan]), "no array": np.empty((0, 2)),
}  # fmt: skip


def net():
    return nn.Linear(5, 3)


def batch(n=3):
    return torch.ones(n, 5), torch.zeros(n, dtype=torch.int64)


def loader():
    return DataLoader(data(6), batch_size=3)


def training(**more):
    model = net()
    return {"model": model, "loss_fn": nn.CrossEntropyLoss(), "optimizer": sgd(model), **more}


def past():
    results = history.History()
    for phase in ("train", "valid"):
        results.add(history.EpochResult(phase, 1, 0.5, {"accuracy": 0.25}))
    return results


def study():
    trials = [batch_sizes.BatchSizeTrial(size, True, 1000 * size, 0.1, 10.0 * size) for size in (2, 4)]
    return batch_sizes.BatchSizeStudy(trials)


def pixels(n=4, size=8):
    return np.zeros((n, 3, size, size), np.uint8)


@cache
def axes():
    return plt.subplots()[1]


def ax():
    axes().cla()
    return axes()


@cache
def place():
    """A folder, for this process, that holds the dataset `shards`, `images` in a class folder, and a checkpoint."""
    folder = TemporaryDirectory(prefix="fuzz-")
    root = Path(folder.name)
    with ShardWriter(root / "shards", classes=["a", "b"], shape=(3, 8, 8), rows_per_shard=3) as writer:
        writer.add(pixels(), [0, 1, 0, 1])
    for name in ("one", "two"):
        (root / "images" / name).mkdir(parents=True)
        Image.fromarray(pixels()[0].transpose(1, 2, 0)).save(root / "images" / name / "0.png")
    (root / "class").mkdir()
    (root / "class" / "a.json").write_text('{"version": 1, "tasks": {"x": {"state": "done", "tries": 1}}}')
    run = training()
    save_checkpoint(root / "run.pt", run["model"], run["optimizer"], history=past())
    return folder, root


def at(name):
    return place()[1] / name


def manifest():
    return manifests.read_manifest(at("shards"))


def unstarted(function):
    """The function, with children that are never started."""

    class Started(Exception):
        pass

    def call(**arguments):
        with mock.patch.object(limits, "start_child", side_effect=Started):
            try:
                function(**arguments)
            except Started:
                pass

    return call


def write_batch(**arguments):
    with ShardWriter("written", classes=["a", "b"], shape=(3, 8, 8), overwrite=True) as made:
        made.add(**arguments)


def image_source():
    return image_files.ImageFiles(at("images"), ["one/0.png"], np.zeros(1, np.int64), (3, 8, 8), None)


def sample_source():
    images = datasets.ImageDataset(torch.zeros(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64), ["a"])
    return decoding.Samples(images, np.arange(2), (3, 8, 8), 1)


def prediction():
    return core.Prediction("x.guess", "Guess.", answer=3, because="So it is.", hints=["Count."])


def question():
    return core.Question("x.ask", "Which?", [core.Choice("this", "since", True)], hints=["Look."])


def exercise():
    return core.Exercise("x.write", "Write.", minutes=1, hints=["So."], solution="x", cases=[((1,), 1)])


def rehearsed():
    return rehearsal.Rehearsal(net(), nn.CrossEntropyLoss(), rehearsal.plain_sgd, None, None)
