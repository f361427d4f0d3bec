"""The question that everyone asks, on its own dataset: the lessons' cells run on CIFAR-10 as torchvision loads it."""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
import test_datasets
import torch
from test_datasets import cifar  # noqa: F401  (a fixture)

from dlhelpers.data import load

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


@pytest.fixture
def files_of_360(monkeypatch):
    """Six files of 360 images, enough for lesson 05; comes before `cifar`, which makes them."""
    monkeypatch.setattr(test_datasets, "BATCH", 360)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    plt.close("all")


@pytest.fixture
def cifar10_here(files_of_360, cifar, monkeypatch):  # noqa: F811
    """CIFAR-10, read by the real loader, where the lessons look for it."""
    monkeypatch.setenv("DLHELPERS_DATA", str(cifar))
    return load("cifar10")


def run(lesson, since, until=None, **changes):
    """Run a lesson's code cells from one id to before another in this process; return the names they left."""
    book = nbformat.read(next(NOTEBOOKS.glob(f"{lesson}_*.ipynb")), as_version=4)
    cells = {
        cell.id: cell.source
        for cell in book.cells
        if cell.cell_type == "code" and cell.id != "set-up"
    }
    ids = list(cells)
    names = {}
    for name in ids[ids.index(since) : ids.index(until) if until else None]:
        source = cells[name]
        for old, new in changes.items():
            source = source.replace(f'{old} = "digits"', f'{old} = "{new}"')
        exec(compile(source, name, "exec"), names)
    return names


def test_lesson_02_counts_the_real_dataset_where_it_is(cifar10_here):
    names = run("02", "ten-images", until="exercise-last")
    assert isinstance(names["cifar10"], type(cifar10_here)) and len(names["cifar10"]) == 1_800
    assert [row[:3] for row in names["rows"]] == [[16, "113", 8], [128, "15", 8]]


@pytest.mark.skipif(not os.environ.get("DLHELPERS_FULL"), reason="DLHELPERS_FULL=1 is not set")
def test_lesson_05_compares_batch_sizes_16_and_128_on_the_real_dataset(cifar10_here):
    names = run("05", "cnn", until="exercise-peak", name="cifar10")
    assert names["name"] == "cifar10" and names["images"].shape == (1_438, 3, 32, 32)
    assert {size for size, _ in names["runs"]} == {16, 128}
