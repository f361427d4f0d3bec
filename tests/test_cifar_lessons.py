"""The question that everyone asks, on its own dataset: the lessons' cells run on CIFAR-10 as torchvision loads it."""

import pickle

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torchvision
from run_notebooks import ROOT

from dlhelpers.data import load

CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
BATCH = 360  # images in each of six files; the real files hold 10,000


@pytest.fixture
def cifar10_here(tmp_path, monkeypatch):
    """A small CIFAR-10 in its exact format where the lessons look for it, whose checksums torchvision believes."""
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    contents = {"batches.meta": {"label_names": CLASSES}}
    for number in range(1, 7):
        contents["test_batch" if number == 6 else f"data_batch_{number}"] = {
            "labels": [(number + k) % 10 for k in range(BATCH)],
            "data": np.random.RandomState(number).randint(0, 256, (BATCH, 3072), dtype=np.uint8),
        }
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    monkeypatch.setenv("DLHELPERS_DATA", str(folder.parent))
    yield load("cifar10")
    plt.close("all")


def test_lesson_02_counts_the_real_dataset_where_it_is(cifar10_here, tmp_path, monkeypatch):
    monkeypatch.setenv("DLHELPERS_PROGRESS", str(tmp_path / "progress.json"))
    book = nbformat.read(next(ROOT.glob("notebooks/02_*.ipynb")), as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    ids, names = [cell.id for cell in code], {}
    for cell in code[ids.index("ten-images") : ids.index("show-progress")]:
        exec(cell.source, names)
    assert isinstance(names["cifar10"], type(cifar10_here)) and len(names["cifar10"]) == 1_800
    assert [row[:3] for row in names["rows"]] == [[16, "113", 8], [128, "15", 8]]
