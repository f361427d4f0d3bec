"""Tests of `packed.reader`: what comes back, with any workers, and what a dataset refuses."""

import multiprocessing
import os
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from long_cases import FULL, linux_only
from torch.utils.data import ConcatDataset, DataLoader, Subset

from dlhelpers.data import BlockShuffleSampler
from dlhelpers.machine import run_limited
from dlhelpers.packed import PackedDataset, PackedWriter, to_float

IMAGES = np.random.default_rng(1).integers(0, 256, (60, 3, 5, 4), dtype=np.uint8)
LABELS = np.arange(60) * 7 % 4
STARTS = [("spawn", 0), ("fork", 2), ("fork", 1)]
if FULL:
    STARTS += [("spawn", 1), ("spawn", 2), ("forkserver", 2)]


def write(folder, images=IMAGES, labels=LABELS, **options):
    with PackedWriter(folder, classes=list("abcd"), shape=images.shape[1:], **options) as writer:
        writer.add(images, labels)


@pytest.fixture
def stored(tmp_path):
    write(tmp_path / "a folder, é")
    return tmp_path / "a folder, é"


def test_samples_come_back_in_the_order_of_writing_where_nothing_may_be_written(stored):
    for path in (*stored.iterdir(), stored):
        path.chmod(0o500)
    dataset = PackedDataset(stored)
    assert len(dataset) == 60 and dataset.classes == list("abcd") and dataset.shape == (3, 5, 4)
    assert dataset.bytes == sum(
        (stored / name).stat().st_size for name in ("images.npy", "labels.npy")
    )
    for k, (image, label) in enumerate(dataset):
        assert image.dtype == torch.uint8 and torch.equal(image, torch.from_numpy(IMAGES[k]))
        assert type(label) is int and label == LABELS[k]
    assert dataset[-1].label == LABELS[59] and dataset[np.int64(3)].label == LABELS[3]


def test_indices_count_as_in_a_list(stored):
    dataset = PackedDataset(stored)
    for indices in ([], [3, 3, -1, -60, 59], np.array([7, 2], np.uint8), range(9)):
        batch = dataset.__getitems__(indices)
        assert batch.images.tolist() == IMAGES[list(indices)].tolist()
        assert (
            batch.labels.dtype == torch.int64
            and batch.labels.tolist() == LABELS[list(indices)].tolist()
        )
    for index in (60, -61):
        with pytest.raises(IndexError):
            dataset[index]
        with pytest.raises(IndexError):
            dataset.__getitems__([0, index])
    for indices in ([1.0], np.array([1.5])):
        with pytest.raises(TypeError):
            dataset.__getitems__(indices)


@pytest.mark.parametrize(("method", "workers"), STARTS)
def test_two_epochs_are_the_same_for_any_workers_and_start_method(stored, workers, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    # as a worker gets it that starts afresh
    dataset = pickle.loads(pickle.dumps(PackedDataset(stored, transform=to_float)))
    context = method if workers else None
    sampler = BlockShuffleSampler(60, block=10, window=2, batch_size=16)
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        multiprocessing_context=context,
        persistent_workers=workers == 1,
    )
    for epoch in range(2):
        sampler.set_epoch(epoch)
        order = np.concatenate(list(sampler))
        batches = list(loader)
        assert [len(labels) for _, labels in batches] == [16, 16, 16, 12]
        assert torch.equal(
            torch.cat([images for images, _ in batches]), torch.tensor(IMAGES[order]) / 255
        )
        assert torch.cat([labels for _, labels in batches]).tolist() == LABELS[order].tolist()


def test_a_batch_is_one_gather_and_its_samples_are_made_only_where_they_are_wanted(stored):
    asked = []

    class Watched(PackedDataset):
        def __getitems__(self, indices):
            asked.append(len(indices))
            return super().__getitems__(indices)

    (images, labels), *_ = DataLoader(Watched(stored), batch_size=16)
    assert asked == [16, 16, 16, 12] and labels.tolist() == LABELS[:16].tolist()
    seen = []
    loader = DataLoader(PackedDataset(stored), 16, collate_fn=lambda batch: seen.extend(batch))
    list(loader)
    assert [label for _, label in seen] == LABELS.tolist()
    assert np.array_equal(torch.stack([image for image, _ in seen]), IMAGES)


def test_a_transform_is_given_the_whole_batch(stored):
    dataset = PackedDataset(stored, transform=lambda images: images[:, :1].float())
    images, _ = next(iter(DataLoader(dataset, batch_size=20)))
    assert images.shape == (20, 1, 5, 4) and images.dtype == torch.float32
    assert dataset[4][0].shape == (1, 5, 4)


@pytest.mark.parametrize(
    ("transform", "came"),
    [
        (torch.sum, r"a Tensor of shape \(\)"),
        (lambda x: x[:3], r"a Tensor of shape \(3, 3, 5, 4\)"),
    ],
)
def test_a_transform_that_loses_the_batch_is_refused(stored, transform, came):
    with pytest.raises(ValueError, match=f"transform returned {came}.*a tensor of 4 rows"):
        PackedDataset(stored, transform=transform).__getitems__(range(4))


def test_writing_into_a_batch_never_reaches_the_files(stored):
    before = (stored / "images.npy").read_bytes()
    for images, labels in DataLoader(PackedDataset(stored), batch_size=16):
        images += 1
        labels += 1
    assert (stored / "images.npy").read_bytes() == before


@linux_only
def test_an_epoch_of_49_mb_runs_in_20_mb_of_private_memory(tmp_path):
    def epoch(folder):
        return sum(
            len(labels) for _, labels in DataLoader(PackedDataset(folder), 100, shuffle=True)
        )

    write(tmp_path / "a", np.zeros((16_000, 3, 32, 32), np.uint8), np.zeros(16_000, np.int64))
    assert run_limited(epoch, tmp_path / "a", limit=20_000_000).value == 16_000


def test_a_file_of_another_length_or_header_is_named_at_opening(stored):
    content = pickle.dumps(PackedDataset(stored))
    os.truncate(stored / "labels.npy", 300)
    np.save(stored / "images.npy", IMAGES.swapaxes(1, 2))
    told = "another header.*labels.npy holds 300 bytes: expected 608. Copy the file again"
    for opened in (partial(PackedDataset, stored), lambda: pickle.loads(content)[0]):
        with pytest.raises(ValueError, match=told):
            opened()


def test_parts_and_sums_of_datasets_read_the_same_samples(stored):
    dataset = PackedDataset(stored)
    both = ConcatDataset([dataset, Subset(dataset, range(10, 40))])
    images, labels = next(iter(DataLoader(both, 90)))
    assert labels.tolist() == [*LABELS, *LABELS[10:40]] and images.shape == (90, 3, 5, 4)
    alone = next(iter(DataLoader(dataset, batch_size=None)))
    assert torch.equal(alone[0], torch.from_numpy(IMAGES[0])) and alone[1] == 0
