"""Tests of `shards` and `verification`: what is read is what was written, in any process; what is damaged is named."""

import contextlib
import copy
import errno
import functools
import hashlib
import json
import multiprocessing
import os
import pickle
import sys
import threading
import types
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset, DataLoader, Subset, random_split

from dlhelpers.packed import ShardDataset, shard_maps, shards, to_float, verify
from dlhelpers.packed import verifying as verification
from dlhelpers.packed.gathered import Gathered, Sample
from dlhelpers.packed.manifests import MANIFEST, Manifest, Shard, write_manifest
from dlhelpers.packed.verifying import open_array

ROWS = (7, 7, 7, 3)  # the last shard is short
CLASSES = ("ant", "bee", "cow")


def write(folder, rows=ROWS, shape=(3, 4, 5), seed=0, classes=CLASSES):
    """Write shards with NumPy alone, as the format promises is possible; return all images and labels."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (sum(rows), *shape), dtype=np.uint8)
    labels = random.integers(0, len(classes), sum(rows))
    folder.mkdir(exist_ok=True)
    entries, start = [], 0
    for number, count in enumerate(rows):
        names = f"images-{number}.npy", f"labels-{number}.npy"
        for name, array in zip(names, (images, labels), strict=True):
            np.save(folder / name, array[start : start + count])
        start += count
        entries.append((*names, count))
    describe(folder, entries, shape, classes)
    return torch.from_numpy(images), torch.from_numpy(labels)


def describe(folder, entries, shape, classes=CLASSES):
    """Write the manifest of files as they are now: (images, labels, rows) for each shard."""
    found = []
    for images, labels, rows in entries:
        files = [(folder / name).read_bytes() for name in (images, labels)]
        digests = [hashlib.sha256(content).hexdigest() for content in files]
        found.append(Shard(images, labels, rows, *digests, *map(len, files)))
    write_manifest(folder, Manifest(shape, classes, tuple(found)))


@pytest.fixture
def stored(tmp_path):
    images, labels = write(tmp_path / "data")
    return tmp_path / "data", images, labels


def images_and_labels(batches):
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


# What is read is what was written


def test_samples_are_those_that_were_written(stored):
    folder, images, labels = stored
    dataset = ShardDataset(folder)
    assert (len(dataset), dataset.classes, dataset.shape) == (24, list(CLASSES), (3, 4, 5))
    assert dataset.folder == folder and dataset.manifest.samples == 24
    for k in range(-24, 24):
        image, label = dataset[k]
        assert image.dtype == torch.uint8 and type(label) is int
        assert torch.equal(image, images[k]) and label == labels[k]


@settings(deadline=None, max_examples=60)
@given(
    indices=st.lists(st.integers(-24, 23), max_size=40),
    large_row=st.sampled_from([1, 8192]),
    most=st.sampled_from([1, 3, 4]),
)
def test_a_batch_is_its_samples_in_the_order_asked_for(indices, large_row, most, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "batches"
    images, labels = write(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "LARGE_ROW", large_row)  # both ways of copying shard by shard
        patch.setattr(shard_maps, "MAX_OPEN", most)  # and the one of four shards at once
        batch = ShardDataset(folder, check=None).__getitems__(indices)
    assert len(batch) == len(indices) and batch.images.shape == (len(indices), 3, 4, 5)
    assert torch.equal(batch.images, images[indices]) and torch.equal(batch.labels, labels[indices])


@pytest.mark.parametrize("number", [np.int64(-3), np.uint8(5), torch.tensor(5)])
def test_whole_numbers_of_any_kind_are_indices(stored, number):
    folder, images, labels = stored
    dataset = ShardDataset(folder)
    assert torch.equal(dataset[number].image, images[int(number)])
    assert torch.equal(dataset.__getitems__([number, number]).labels, labels[[int(number)] * 2])
    assert torch.equal(
        dataset.__getitems__(np.asarray([int(number)])).images[0], images[int(number)]
    )


@pytest.mark.parametrize("index", [24, -25, np.int64(10**12)])
def test_an_index_beyond_the_ends_is_refused_and_ends_a_loop(stored, index):
    folder, images, _ = stored
    dataset = ShardDataset(folder)
    for ask in (lambda: dataset[index], lambda: dataset.__getitems__([0, index])):
        with pytest.raises(
            IndexError, match=f"index {index} is beyond a dataset of 24 samples: expected 0 to 23"
        ):
            ask()
    assert len(list(iter(dataset))) == 24


@pytest.mark.parametrize("indices", [[0.5], [True, False], [[0, 1]], ["1"], 3])
def test_indices_that_are_no_list_of_whole_numbers_are_refused(stored, indices):
    with pytest.raises(TypeError, match="expected a list of whole numbers"):
        ShardDataset(stored[0]).__getitems__(indices)
    with pytest.raises(TypeError):
        ShardDataset(stored[0])[[0, 1]]


def test_an_unknown_check_is_refused(stored):
    with pytest.raises(ValueError, match="check is 'sha': expected 'size', 'hash' or None"):
        ShardDataset(stored[0], check="sha")


def test_a_dataset_of_nothing_is_refused(tmp_path):
    tmp_path.joinpath("none").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no dataset"):
        ShardDataset(tmp_path / "none")
    with pytest.raises(ValueError, match="rows is 0"):
        write(tmp_path / "empty", rows=(0,))


@pytest.mark.parametrize("rows", [(1,), (24,), (1, 1, 1)])
def test_any_number_of_shards_will_do(tmp_path, rows):
    images, labels = write(tmp_path / "data", rows=rows, classes=("only",))
    [batch] = DataLoader(ShardDataset(tmp_path / "data", check="hash"), batch_size=50)
    assert torch.equal(batch[0], images) and torch.equal(batch[1], labels)


def test_the_front_offers_what_its_list_names():
    names = "BlockShuffleSampler Gathered Sample ShardDataset ShardWriter pack_dataset pack_folder to_float verify"
    assert shards.__all__ == names.split() and all(
        callable(getattr(shards, name)) for name in shards.__all__
    )


# Through a DataLoader


def doubled(images):
    return images.int() * 2


FULL = pytest.mark.skipif(
    "DLHELPERS_FULL" not in os.environ, reason="DLHELPERS_FULL=1 is not set: each takes seconds"
)
METHODS = [(0, None), (1, "fork"), (2, "fork"), (1, "forkserver"), (2, "forkserver"), (2, "spawn")]


@pytest.mark.parametrize("workers, method", [*METHODS, pytest.param(1, "spawn", marks=FULL)])
def test_batches_are_the_same_for_any_workers_and_start_method(stored, workers, method):
    if method not in (None, *multiprocessing.get_all_start_methods()):
        pytest.skip(f"this system has no start method {method}")
    if method == "forkserver":  # PyTorch is imported once in the server, not once in each worker
        multiprocessing.set_forkserver_preload(["dlhelpers.packed.shards"])
    folder, images, labels = stored
    dataset = ShardDataset(folder, transform=doubled)
    dataset[0]  # maps are open when the workers start
    order = torch.randperm(24, generator=torch.Generator().manual_seed(3)).tolist()
    loader = DataLoader(
        dataset, 5, sampler=order, num_workers=workers, multiprocessing_context=method
    )
    batches = list(loader)
    assert [len(batch) for batch, _ in batches] == [5, 5, 5, 5, 4]
    assert all(type(batch) is tuple and batch[1].dtype == torch.int64 for batch in batches)
    got_images, got_labels = images_and_labels(batches)
    assert torch.equal(got_images, images[order].int() * 2) and torch.equal(
        got_labels, labels[order]
    )


def test_a_batch_is_read_at_once_and_its_samples_only_where_they_are_wanted(stored):
    folder, images, labels = stored
    batch = ShardDataset(folder).__getitems__([3, 20, 3])
    assert (
        isinstance(batch, Gathered)
        and isinstance(batch[0], Sample)
        and type(batch[-1].label) is int
    )
    assert [label for _, label in batch] == labels[[3, 20, 3]].tolist()
    assert torch.equal(batch[1:].images, images[[20, 3]]) and isinstance(batch[1:], Gathered)
    assert torch.equal(batch[1::-1].images, images[[20, 3]]) and len(batch[0:0:-1]) == 0
    collated = torch.utils.data.default_collate(batch)
    assert collated[0] is batch.images and collated[1] is batch.labels


def test_a_collate_fn_of_ones_own_sees_samples(stored):
    folder, images, labels = stored
    seen = []

    def collate(samples):
        seen.append([(image.shape, type(label)) for image, label in samples])
        return torch.stack([image for image, _ in samples]), [sample.label for sample in samples]

    got = list(DataLoader(ShardDataset(folder), 10, collate_fn=collate))
    assert [len(batch) for batch in seen] == [10, 10, 4] and seen[0][0] == ((3, 4, 5), int)
    assert torch.equal(torch.cat([batch for batch, _ in got]), images)
    assert [label for _, batch in got for label in batch] == labels.tolist()


def test_a_subset_and_a_random_split_read_the_same_samples(stored):
    folder, images, labels = stored
    dataset = ShardDataset(folder)
    got = images_and_labels(DataLoader(Subset(dataset, [23, 0, 9]), 2))
    assert torch.equal(got[0], images[[23, 0, 9]]) and torch.equal(got[1], labels[[23, 0, 9]])
    parts = random_split(dataset, [20, 4], torch.Generator().manual_seed(0))
    for part in parts:
        got = images_and_labels(DataLoader(part, 6))
        assert torch.equal(got[0], images[part.indices]) and torch.equal(
            got[1], labels[part.indices]
        )
    assert sorted(parts[0].indices + parts[1].indices) == list(range(24))


def test_samples_of_several_datasets_are_collated_one_by_one(stored, tmp_path):
    folder, images, labels = stored
    more, its_labels = write(tmp_path / "more", rows=(4,), seed=1)
    both = ConcatDataset([ShardDataset(folder), ShardDataset(tmp_path / "more")])
    got = images_and_labels(DataLoader(both, 9))
    assert torch.equal(got[0], torch.cat([images, more])) and torch.equal(
        got[1], torch.cat([labels, its_labels])
    )


def test_a_transform_is_given_the_whole_batch(stored):
    folder, images, _ = stored
    shapes = []

    def transform(batch):
        shapes.append(tuple(batch.shape))
        return to_float(batch)

    dataset = ShardDataset(folder, transform=transform)
    image, _ = dataset[2]
    assert image.dtype == torch.float32 and torch.equal(image, images[2] / 255)
    dataset.__getitems__([1, 2, 3])
    assert shapes == [(1, 3, 4, 5), (3, 3, 4, 5)]


@pytest.mark.parametrize(
    "transform, came", [(lambda images: images[:1], r"\(1, 3, 4, 5\)"), (list, "list")]
)
def test_a_transform_that_loses_the_batch_is_refused(stored, transform, came):
    with pytest.raises(
        ValueError,
        match=f"transform returned {came} for images of shape .*: expected a tensor of 2 rows",
    ):
        ShardDataset(stored[0], transform=transform).__getitems__([0, 1])


# The files stay as they are, and few of them stay open


@pytest.mark.parametrize("large_row, most", [(1, 3), (8192, 3), (1, 4)])
@pytest.mark.parametrize("indices", [[0, 1, 2], [0, 9, 23]])
def test_writing_through_a_batch_never_reaches_the_files(
    stored, monkeypatch, large_row, most, indices
):
    folder, images, _ = stored
    monkeypatch.setattr(shards, "LARGE_ROW", large_row)
    monkeypatch.setattr(shard_maps, "MAX_OPEN", most)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    dataset = ShardDataset(folder, transform=lambda images: images.add_(1))
    batch = dataset.__getitems__(indices)
    batch.images.zero_()
    batch.labels.zero_()
    batch[0].image.fill_(7)
    dataset[0].image.fill_(7)
    del dataset
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert torch.equal(ShardDataset(folder)[0].image, images[0])


def test_the_array_of_a_file_cannot_be_written(stored):
    folder, images, _ = stored
    array = open_array(folder / "images-0.npy", (7, 3, 4, 5), "uint8")
    assert not array.flags.writeable and np.array_equal(array, images[:7].numpy())


def open_files(folder):
    return [
        path
        for path in map(os.path.realpath, Path("/proc/self/fd").iterdir())
        if path.startswith(str(folder))
    ]


@pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="only Linux lists a process's open files in /proc"
)
def test_a_batch_from_many_shards_keeps_few_files_open(tmp_path, monkeypatch):
    images, _ = write(tmp_path / "data", rows=(2,) * 40)
    monkeypatch.setattr(shard_maps, "MAX_OPEN", 3)
    dataset = ShardDataset(tmp_path / "data")
    assert open_files(tmp_path) == []
    order = torch.randperm(80).tolist()
    assert torch.equal(dataset.__getitems__(order).images, images[order])
    assert len(open_files(tmp_path)) == 2 * 3
    dataset.__getitems__([79, 1, 40])
    dataset[79]
    dataset[5]
    assert {Path(path).name for path in open_files(tmp_path)} == {
        f"{part}-{shard}.npy" for part in ("images", "labels") for shard in (2, 20, 39)
    }, "the one used longest ago makes room"


@pytest.mark.skipif(
    shard_maps.resource is None, reason="this system does not limit the files that a process opens"
)
def test_a_dataset_leaves_half_of_the_files_to_others():
    limit = shard_maps.resource.getrlimit(shard_maps.resource.RLIMIT_NOFILE)[0]
    files = min(limit, 4096) if limit > 0 else 4096
    assert 1 <= 2 * shard_maps.MAX_OPEN <= max(files // 2, 2)


def test_a_pickled_dataset_is_small_and_reads_the_same(tmp_path):
    images, labels = write(tmp_path / "data", rows=(2,) * 200)
    dataset = ShardDataset(tmp_path / "data", transform=functools.partial(torch.mul, other=1))
    dataset.__getitems__(range(400))
    packed = pickle.dumps(dataset)
    assert len(packed) < 10_000
    for twin in (pickle.loads(packed), copy.deepcopy(dataset)):
        assert (
            torch.equal(twin.__getitems__([399, 0]).images, images[[399, 0]])
            and twin[7].label == labels[7]
        )


def test_a_dataset_written_anew_is_not_taken_for_the_old_one(stored):
    folder, *_ = stored
    packed = pickle.dumps(ShardDataset(folder))
    write(folder, seed=1)
    with pytest.raises(
        RuntimeError, match="was written anew since this dataset was opened: open it again"
    ):
        pickle.loads(packed)


class Scaled(ShardDataset):
    """A dataset with something of its own."""

    def __init__(self, folder, scale):
        super().__init__(folder)
        self.scale = scale


def test_what_a_subclass_keeps_goes_with_it(stored):
    dataset = Scaled(stored[0], scale=3)
    for twin in (copy.copy(dataset), copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        assert twin.scale == 3 and type(twin) is Scaled and torch.equal(twin[7].image, stored[1][7])


def _send_sample(dataset, queue):
    queue.put(dataset[20].label)


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork"
)
def test_a_dataset_goes_on_reading_on_both_sides_of_a_fork(stored):
    folder, images, labels = stored
    dataset = ShardDataset(folder)
    dataset[20]
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_send_sample, args=(dataset, queue))
    child.start()
    assert queue.get() == labels[20]
    child.join(20)
    assert child.exitcode == 0 and torch.equal(dataset[20].image, images[20])


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork"
)
def test_a_process_forked_while_a_thread_opens_a_dataset_reads_all_the_same(stored, monkeypatch):
    folder, _, labels = stored
    parent, opened, opening, go_on = (
        os.getpid(),
        shard_maps.open_array,
        threading.Event(),
        threading.Event(),
    )

    def slowly(path, shape, dtype):
        if os.getpid() == parent:
            opening.set()
            go_on.wait(60)
        return opened(path, shape, dtype)

    monkeypatch.setattr(shard_maps, "open_array", slowly)
    dataset, context = ShardDataset(folder), multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_send_sample, args=(dataset, queue))
    thread = threading.Thread(target=dataset.__getitem__, args=(0,))
    thread.start()
    try:
        assert opening.wait(60)
        child.start()
        assert queue.get(timeout=60) == labels[20], "and waits for no lock that the thread held"
    finally:
        go_on.set()
        thread.join()
        child.kill()
        child.join()


# Damage is named


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def other_shape(path):
    array = np.load(path)
    np.save(path, array.reshape(array.shape[0], 5, 4, 3))


def fortran(path):
    np.save(path, np.asfortranarray(np.load(path)))


def other_dtype(path):
    np.save(path, np.load(path).view(np.float64))


def no_array(path):
    path.write_bytes(bytes(path.stat().st_size))


IMAGES, LABELS = "shard 1: images-1.npy ", "shard 3: labels-3.npy "
SEEN_BY_SIZE = [
    ("images-1.npy", Path.unlink, IMAGES + "is missing"),
    ("images-1.npy", cut, IMAGES + "holds 547 bytes: expected 548"),
    (
        "labels-3.npy",
        lambda path: np.save(path, np.zeros(4, int)),
        LABELS + "holds 160 bytes: expected 152",
    ),
    (
        "images-1.npy",
        other_shape,
        IMAGES + r"holds uint8 of shape \(7, 5, 4, 3\): expected uint8 of \(7, 3, 4, 5\)",
    ),
    (
        "images-1.npy",
        fortran,
        IMAGES + r"holds uint8 of shape \(7, 3, 4, 5\) in Fortran order: expected",
    ),
    ("labels-3.npy", other_dtype, LABELS + "holds float64 of shape"),
    ("images-1.npy", no_array, IMAGES + "is no .npy file that NumPy can map"),
]


@pytest.mark.parametrize("name, damage, message", SEEN_BY_SIZE)
@pytest.mark.parametrize("check", ["size", "hash"])
def test_a_file_of_another_size_or_shape_is_named_at_the_door(stored, name, damage, message, check):
    folder, *_ = stored
    damage(folder / name)
    with pytest.raises(
        FileNotFoundError if "missing" in message else ValueError, match=message
    ) as caught:
        ShardDataset(folder, check=check)
    assert str(folder) in str(caught.value) and "verify(folder) lists every fault" in str(
        caught.value
    )
    report = verify(folder, progress=False)
    assert not report.ok and len(report.faults) == 1
    ShardDataset(folder, check=None)


@pytest.mark.parametrize("name", ["images-1.npy", "labels-3.npy"])
def test_a_flipped_byte_is_found_by_the_hash_and_only_by_it(stored, name):
    folder, *_ = stored
    flip(folder / name)
    ShardDataset(folder, check="size")
    message = (
        rf"shard {name[7]}: {name} holds other bytes than were written:"
        r" sha256 \w{8}\.\.\., expected \w{8}\.\.\.\."
    )
    with pytest.raises(ValueError, match=message):
        ShardDataset(folder, check="hash")
    [fault] = verify(folder, progress=False).faults
    assert f"shard {name[7]}: {name}" in fault


def test_labels_of_another_length_than_the_images_are_named(stored):
    folder, *_ = stored
    entries = [(f"images-{k}.npy", f"labels-{k}.npy", rows) for k, rows in enumerate(ROWS)]
    np.save(folder / "labels-2.npy", np.zeros(6, np.int64))
    describe(
        folder, entries, (3, 4, 5)
    )  # sizes and hashes are right: the two files of the shard disagree
    with pytest.raises(
        ValueError,
        match=r"shard 2: labels-2.npy holds int64 of shape \(6,\): expected int64 of \(7,",
    ):
        ShardDataset(folder)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_outside_the_classes_are_named(stored, label):
    folder, *_ = stored
    entries = [(f"images-{k}.npy", f"labels-{k}.npy", rows) for k, rows in enumerate(ROWS)]
    labels = np.load(folder / "labels-2.npy")
    labels[4] = label
    np.save(folder / "labels-2.npy", labels)
    describe(folder, entries, (3, 4, 5))
    with pytest.raises(
        ValueError, match="shard 2: labels-2.npy holds labels from .* to .*: expected 0 to 2"
    ):
        ShardDataset(folder, check="hash")


@pytest.mark.parametrize(
    "damage, kind", [(Path.unlink, FileNotFoundError), (cut, ValueError), (other_shape, ValueError)]
)
def test_what_was_not_checked_is_named_when_it_is_read(stored, damage, kind):
    folder, images, _ = stored
    dataset = ShardDataset(folder)
    damage(folder / "images-1.npy")
    assert torch.equal(dataset[0].image, images[0])
    with pytest.raises(kind, match="shard 1: images-1.npy"):
        dataset[7]


@pytest.mark.skipif(
    shard_maps.resource is None, reason="this system does not limit the files that a process opens"
)
def test_what_the_system_refuses_is_not_called_damage(stored):
    dataset, kind = ShardDataset(stored[0]), shard_maps.resource.RLIMIT_NOFILE
    limits = shard_maps.resource.getrlimit(kind)
    shard_maps.resource.setrlimit(kind, (1, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            dataset[7]
    finally:
        shard_maps.resource.setrlimit(kind, limits)
    assert torch.equal(dataset[7].image, stored[1][7])


@pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="only Linux lists a process's open files in /proc"
)
def test_where_not_all_shards_can_be_open_they_are_read_one_after_the_other(stored):
    folder, images, labels = stored
    dataset, kind = ShardDataset(folder), shard_maps.resource.RLIMIT_NOFILE
    limits, used = shard_maps.resource.getrlimit(kind), set(map(int, os.listdir("/proc/self/fd")))
    free = [number for number in range(max(used) + 10) if number not in used]
    shard_maps.resource.setrlimit(
        kind, (free[6], limits[1])
    )  # room for six files, and the four shards have eight
    try:
        batch = dataset.__getitems__([23, 0, 9, 15, 1])
    finally:
        shard_maps.resource.setrlimit(kind, limits)
    assert dataset._maps.view() is None and torch.equal(batch.images, images[[23, 0, 9, 15, 1]])
    assert torch.equal(batch.labels, labels[[23, 0, 9, 15, 1]])


def test_where_others_have_taken_all_files_a_dataset_lets_go_of_its_own(stored, monkeypatch):
    monkeypatch.setattr(shard_maps, "MAX_OPEN", 3)  # shard by shard
    dataset, opened = ShardDataset(stored[0]), shard_maps.open_array
    dataset[0]

    def with_few_files(path, shape, dtype):
        if dataset._maps._maps:
            raise OSError(errno.EMFILE, "Too many open files", str(path))
        return opened(path, shape, dtype)

    monkeypatch.setattr(shard_maps, "open_array", with_few_files)
    assert torch.equal(dataset[7].image, stored[1][7]) and list(dataset._maps._maps) == [1]


@pytest.fixture
def few_addresses(tmp_path):
    """A dataset of six shards of 100 MB, sparse files of zeros, in a process that may take 350 MB of addresses more."""
    rows, shape = 100, (1, 1000, 1000)
    entries = []
    for number in range(6):
        names = f"images-{number}.npy", f"labels-{number}.npy"
        np.lib.format.open_memmap(tmp_path / names[0], "w+", np.uint8, (rows, *shape))
        np.save(tmp_path / names[1], np.full(rows, number % 3))
        sizes = [(tmp_path / name).stat().st_size for name in names]
        entries.append(Shard(*names, rows, "0" * 64, "0" * 64, *sizes))
    write_manifest(tmp_path, Manifest(shape, CLASSES, tuple(entries)))
    kind = shard_maps.resource.RLIMIT_AS
    limits, taken = shard_maps.resource.getrlimit(kind), psutil.Process().memory_info().vms
    shard_maps.resource.setrlimit(kind, (taken + 350_000_000, limits[1]))
    yield tmp_path
    shard_maps.resource.setrlimit(kind, limits)


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux is known to limit addresses of a process"
)
def test_where_addresses_are_few_some_are_left_to_others(few_addresses):
    dataset = ShardDataset(few_addresses)
    assert dataset.__getitems__([599, 0, 250]).labels.tolist() == [2, 0, 2]
    assert dataset._maps.view() is None and np.ones(100_000_000, np.uint8).all()
    assert dataset.__getitems__([450, 599, 1, 150]).labels.tolist() == [1, 2, 0, 1]


@pytest.mark.skipif(
    shard_maps.resource is None, reason="this system does not limit the addresses of a process"
)
def test_at_most_half_of_the_addresses_is_taken(stored, monkeypatch):
    manifest = ShardDataset(stored[0]).manifest
    largest = max(shard.images_bytes + shard.labels_bytes for shard in manifest.shards)
    for addresses, most in (
        (6 * largest, 3),
        (7 * largest, 3),
        (8 * largest, 4),
        (1, 1),
        (-1, shard_maps.MAX_OPEN),
    ):
        monkeypatch.setattr(
            shard_maps.resource, "getrlimit", lambda kind, given=addresses: (given, -1)
        )
        maps = shard_maps.ShardMaps(stored[0], manifest)
        assert maps._most == most and (maps.view() is None) == (most < 4)


# verify


def test_verify_counts_what_it_read_and_lists_every_fault_in_order(stored):
    folder, *_ = stored
    report = verify(folder)
    size = sum(path.stat().st_size for path in folder.glob("*.npy"))
    assert (
        report.ok
        and report.faults == ()
        and (report.files, report.bytes) == (8, size)
        and report.seconds > 0
    )
    flip(folder / "images-3.npy")
    (folder / "labels-0.npy").unlink()
    report = verify(folder, processes=2)
    assert [fault.split()[2] for fault in report.faults] == ["labels-0.npy", "images-3.npy"]
    for shown in (repr(report), report._repr_html_()):
        assert "labels-0.npy is missing" in shown and "images-3.npy holds other bytes" in shown
    assert repr(report).startswith("what    number\nfiles   8\n") and "faults  2" in repr(report)


def test_the_bar_of_verify_comes_to_its_end_also_where_files_are_missing(stored, monkeypatch):
    folder, *_ = stored
    (folder / "labels-0.npy").unlink()
    moved = []

    @contextlib.contextmanager
    def bar(asked, *, total, **_):
        yield types.SimpleNamespace(update=moved.append)
        assert sum(moved) == total

    monkeypatch.setattr(verification, "tqdm_bar", bar)
    assert not verify(folder).ok and moved


@pytest.mark.parametrize("processes", [0, -1, 1.5, True])
def test_verify_refuses_an_impossible_number_of_processes(stored, processes):
    with pytest.raises(
        ValueError, match=f"processes is {processes}: expected a whole number, at least 1"
    ):
        verify(stored[0], processes=processes)


def test_verify_shows_the_bytes_done(stored, monkeypatch, capsys):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    report = verify(stored[0])
    shown = capsys.readouterr().err
    assert "verify: 100%" in shown and f"{report.bytes / 1000:.2f}k" in shown
    verify(stored[0], progress=False)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    verify(stored[0])
    assert capsys.readouterr().err == ""


def test_a_damaged_manifest_is_raised_not_reported(stored):
    path = stored[0] / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99}))
    with pytest.raises(ValueError, match="version is 99"):
        verify(stored[0])
