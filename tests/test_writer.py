"""Tests of `packed.writer`: what is written, going on, what is refused, and writers that are killed."""

import json
import multiprocessing
import os
import signal
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from long_cases import FULL, linux_only

from dlhelpers.packed import PackedDataset, PackedWriter, verify
from dlhelpers.packed import writer as writer_module

CLASSES = ("cat", "dog", "owl")
SHAPE = (3, 16, 16)
SAMPLES, ROWS = 50, 12  # five blocks, the last of two samples
IMAGES = np.random.default_rng(0).integers(0, 256, (SAMPLES, *SHAPE), dtype=np.uint8)
LABELS = np.arange(SAMPLES) % 3


@pytest.fixture(autouse=True, scope="module")
def quick():
    """Small blocks; and what a killed process has written is not lost: only a power cut needs the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        patch.setattr(writer_module, "BLOCK_BYTES", ROWS * 768 + 100)
        yield


def writer(folder, **changes):
    settings = {"classes": CLASSES, "shape": SHAPE, "samples": SAMPLES, "source": "numbers"}
    return PackedWriter(folder, **{**settings, **changes})


def write(folder, *, images=IMAGES, labels=LABELS, batch=7, **changes):
    """Write all samples, from where a stopped writer left off; the number of samples it had to write."""
    with writer(folder, **changes) as packed:
        start = packed.done
        for at in range(start, len(images), batch):
            packed.add(images[at : at + batch], labels[at : at + batch])
    return len(images) - start


def write_old(folder):
    write(folder, images=IMAGES[:40], labels=(LABELS[:40] + 1) % 3, samples=40, source="old")


def snapshot(folder):
    """The files of a folder; of the lock only that it may be there, after a kill."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "unfinished.lock"}


def state(folder):
    """What a reader finds: nothing, an unfinished dataset, the old one or the new one, every byte of it right."""
    try:
        dataset = PackedDataset(folder)
    except FileNotFoundError:
        return "nothing"
    except ValueError as error:
        assert "unfinished dataset" in str(error)
        return "unfinished"
    assert verify(folder).ok
    whole = dataset.__getitems__(range(len(dataset)))
    old = len(whole) == 40
    assert np.array_equal(whole.images, IMAGES[: len(whole)])
    assert np.array_equal(whole.labels, (LABELS[: len(whole)] + old) % 3)
    return "old" if old else "new"


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    write(folder)
    return snapshot(folder)


# What is written


def test_what_is_written_can_be_read_with_numpy_alone(tmp_path):
    folder = tmp_path / "new" / "folder é ü"
    assert write(folder) == SAMPLES
    assert sorted(os.listdir(folder)) == ["images.npy", "labels.npy", "manifest.json"]
    images, labels = (np.load(folder / f"{name}.npy") for name in ("images", "labels"))
    assert images.dtype == np.uint8 and np.array_equal(images, IMAGES)
    assert labels.dtype == np.int64 and np.array_equal(labels, LABELS)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [block[0] for block in manifest["blocks"]] == [12, 12, 12, 12, 2]
    assert manifest["classes"] == list(CLASSES) and manifest["shape"] == list(SHAPE)


def test_neither_the_batches_nor_the_form_change_a_byte(tmp_path, unbroken):
    write(tmp_path / "arrays", batch=1, samples=None)
    images, labels = torch.from_numpy(IMAGES), torch.from_numpy(LABELS).to(torch.uint8)
    write(tmp_path / "tensors", images=images, labels=labels, batch=24, samples=np.int64(50))
    with writer(tmp_path / "lists") as packed:
        packed.add(IMAGES[:0], LABELS[:0])
        packed.add(IMAGES, LABELS.tolist())
    for name in ("arrays", "tensors", "lists"):
        assert snapshot(tmp_path / name) == unbroken


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no list of open files")
def test_all_is_on_the_disk_before_the_next_thing_counts_on_it(tmp_path, monkeypatch):
    steps, replace, unlink = [], os.replace, Path.unlink

    def fsync(handle):
        steps.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)

    def unlink_noted(path, **options):
        steps.append(f"no {path.name}")
        unlink(path, **options)

    def replace_noted(source, target):
        steps.append(f"= {Path(target).name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace_noted)
    monkeypatch.setattr(Path, "unlink", unlink_noted)
    write(tmp_path / "new", images=IMAGES[:12], labels=LABELS[:12], samples=12)
    images, labels, journal = "images.npy.part", "labels.npy.part", "unfinished.jsonl"
    assert steps == [
        *(journal, "new"),
        *(images, labels, journal),
        *(images, labels, "no manifest.json", "new"),
        *("= images.npy", "= labels.npy", "new"),
        *("manifest.json.part", "= manifest.json", "new"),
        *(f"no {journal}", "no unfinished.lock"),
    ]


# An old dataset


def test_an_old_dataset_is_refused_and_untouched(tmp_path):
    write_old(tmp_path)
    for lost in (None, "manifest.json"):
        if lost:
            (tmp_path / lost).unlink()
        before = snapshot(tmp_path)
        with pytest.raises(FileExistsError, match="holds a dataset: choose another folder, or"):
            write(tmp_path)
        assert snapshot(tmp_path) == before


def test_an_old_dataset_stays_readable_until_the_new_one_is_whole(tmp_path, unbroken):
    write_old(tmp_path)
    (tmp_path / "notes.txt").write_text("a file of the user")
    with writer(tmp_path, overwrite=True) as packed:
        for k in range(0, SAMPLES, 5):
            packed.add(IMAGES[k : k + 5], LABELS[k : k + 5])
            assert state(tmp_path) == "old"
    assert snapshot(tmp_path) == {**unbroken, "notes.txt": b"a file of the user"}


# Going on


def stop_after(folder, count, **changes):
    with pytest.raises(ZeroDivisionError), writer(folder, **changes) as packed:
        packed.add(IMAGES[:count], LABELS[:count])
        raise ZeroDivisionError


@pytest.mark.parametrize(("count", "samples"), [(0, SAMPLES), (5, None), (30, SAMPLES), (36, None)])
def test_an_exception_leaves_an_unfinished_dataset_and_a_start_for_the_next(
    tmp_path, unbroken, count, samples
):
    stop_after(tmp_path, count, samples=samples)
    assert state(tmp_path) == "unfinished"
    assert write(tmp_path, samples=samples) == SAMPLES - count // ROWS * ROWS
    assert snapshot(tmp_path) == unbroken


@pytest.mark.parametrize("change", [{"source": None}, {"classes": ("cat", "dog", "elk")}])
def test_other_settings_start_afresh(tmp_path, change):
    stop_after(tmp_path / "resumed", 30)
    assert write(tmp_path / "resumed", **change) == SAMPLES
    write(tmp_path / "apart", **change)
    assert snapshot(tmp_path / "resumed") == snapshot(tmp_path / "apart")


def damage_last_line(folder):
    path = folder / "unfinished.jsonl"
    path.write_bytes(path.read_bytes()[:-30])


DAMAGE = [
    (lambda folder: os.truncate(folder / "images.npy.part", 128 + 36 * 768 - 1), 0),
    (lambda folder: (folder / "labels.npy.part").unlink(), 0),
    (lambda folder: (folder / "unfinished.jsonl").write_bytes(b"{\n[]\n"), 0),
    (damage_last_line, 2 * ROWS),
]


@pytest.mark.parametrize(("damage", "kept"), DAMAGE)
def test_what_a_stopped_writer_left_counts_as_far_as_it_is_whole(tmp_path, unbroken, damage, kept):
    stop_after(tmp_path, 40)
    damage(tmp_path)
    assert write(tmp_path) == SAMPLES - kept
    assert snapshot(tmp_path) == unbroken


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": "cat"}, "classes is 'cat': expected a list of names, each once"),
        ({"classes": ["a", "a"]}, "each once"),
        ({"shape": (8, 8)}, r"shape is \(8, 8\): expected \(channels, height, width\)"),
        ({"samples": 1.5}, "samples is 1.5"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_made(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        writer(tmp_path / "new", **change)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES / 255, LABELS, "images are .* float64: expected uint8"),
        (IMAGES[:, :1], LABELS, r"shape \(50, 1, 16, 16\), uint8: expected .*\(n, 3, 16, 16\)"),
        (IMAGES[:2], [0.0, 1.0], "labels are .*: expected 2 whole numbers"),
        (IMAGES[:2], [-1, 0], "a label is -1: expected 0 to 2"),
        (np.zeros((51, *SHAPE), np.uint8), np.zeros(51, int), "makes 63 samples: expected 50"),
    ],
)
def test_a_wrong_batch_is_refused_and_nothing_is_lost(tmp_path, unbroken, images, labels, message):
    with writer(tmp_path) as packed:
        packed.add(IMAGES[:12], LABELS[:12])
        with pytest.raises(ValueError, match=message):
            packed.add(images, labels)
        packed.add(IMAGES[12:], LABELS[12:])
    assert snapshot(tmp_path) == unbroken


@pytest.mark.parametrize(("samples", "count"), [(SAMPLES, 40), (None, 0)])
def test_too_few_samples_are_no_dataset(tmp_path, samples, count):
    with pytest.raises(ValueError, match=f"was given {count} samples: expected"):
        with writer(tmp_path, samples=samples) as packed:
            packed.add(IMAGES[:count], LABELS[:count])
    assert state(tmp_path) == "unfinished"


def test_a_writer_is_used_inside_with(tmp_path):
    with pytest.raises(RuntimeError, match="use `with PackedWriter"):
        writer(tmp_path).add(IMAGES, LABELS)


# Two writers, and killed ones


def in_child(function, *arguments):
    """Run a function in a forked process, and return its exit code."""
    child = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    child.start()
    child.join()
    return child.exitcode


def test_a_second_writer_is_refused_and_the_first_goes_on(tmp_path, unbroken):
    with writer(tmp_path) as packed:
        packed.add(IMAGES[:20], LABELS[:20])
        with pytest.raises(BlockingIOError, match="another writer is at work in"):
            write(tmp_path)
        packed.add(IMAGES[20:], LABELS[20:])
    assert snapshot(tmp_path) == unbroken


def write_until(folder, stop):
    """Write, and kill this process before the call number `stop` of those that reach the disk or change a name.

    Exits with their number.
    """
    calls = 0

    def watched(function):
        def call(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == stop:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    os.fsync, os.replace, Path.unlink = map(watched, (os.fsync, os.replace, Path.unlink))
    write(folder, overwrite=True)
    sys.exit(calls)


@linux_only
@pytest.mark.parametrize("old", [False, True])
def test_a_writer_killed_at_any_step_leaves_the_old_an_unfinished_or_the_whole_dataset(
    tmp_path, unbroken, old
):
    states = set()
    if old:
        write_old(tmp_path / "count")
    last = in_child(write_until, tmp_path / "count", 0)
    assert last >= 20
    quick = {1, 9, *range(last - 10, last + 1)} if old else {2, last - 4, last}
    for stop in range(1, last + 1) if FULL else sorted(quick):
        folder = tmp_path / f"{stop}"
        if old:
            write_old(folder)
        assert in_child(write_until, folder, stop) == -signal.SIGKILL
        states.add(state(folder))
        write(folder, overwrite=True)
        assert snapshot(folder) == unbroken
    assert states == ({"old", "unfinished", "new"} if old else {"unfinished", "new"})


# A full disk


@linux_only
@pytest.mark.parametrize("limit", [500, 128 + 30 * 768])
def test_a_full_disk_names_file_and_remedy_and_leaves_the_old_dataset(tmp_path, unbroken, limit):
    write_old(tmp_path)
    before = snapshot(tmp_path)
    import resource

    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, usual[1]))
    try:
        message = f"{tmp_path}.*free some space, or choose another disk"
        with pytest.raises(OSError, match=message):
            write(tmp_path, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert state(tmp_path) == "old" and before.items() <= snapshot(tmp_path).items()
    write(tmp_path, overwrite=True)
    assert snapshot(tmp_path) == unbroken


def test_a_writer_holds_one_block(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "BLOCK_BYTES", 1_000_000)
    tracemalloc.start()
    with writer(tmp_path, samples=None, shape=(3, 64, 64)) as packed:
        for _ in range(20):
            packed.add(np.zeros((40, 3, 64, 64), np.uint8), np.zeros(40, int))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000  # a block, and the batch that is given
