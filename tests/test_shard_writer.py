"""Tests of `shard_writer` and `shard_files`: what is written, going on, what is refused, and writers that break off."""

import errno
import hashlib
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import stat
import sys
import time
import warnings

import numpy as np
import psutil
import pytest
import torch

from dlhelpers.packed import ShardWriter, manifests, shard_files, shard_writer
from dlhelpers.packed.manifests import read_manifest

CLASSES = ("cat", "dog", "owl")
SHAPE = (3, 16, 16)
SAMPLES, ROWS = (
    50,
    12,
)  # five shards, the last of two samples; images of a shard are more than a file's buffer
IMAGES = np.random.default_rng(0).integers(0, 256, (SAMPLES, *SHAPE), dtype=np.uint8)
LABELS = np.arange(SAMPLES) % 3
FULL = os.environ.get("DLHELPERS_FULL") == "1"
needs_fork = pytest.mark.skipif(
    sys.platform != "linux", reason="the child process is forked, as on Linux"
)


@pytest.fixture(autouse=True, scope="module")
def quick_disk():
    """What a killed process has written is not lost; only a power cut needs the disk, and one test sees to that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


def writer(folder, **changes):
    settings = {
        "classes": CLASSES,
        "shape": SHAPE,
        "samples": SAMPLES,
        "rows_per_shard": ROWS,
        "source": "numbers",
    }
    return ShardWriter(folder, **{**settings, **changes})


def write(folder, *, images=IMAGES, labels=LABELS, batch=7, **changes):
    """Write all samples, from where a stopped writer left off; the number of samples it had to write."""
    with writer(folder, **changes) as shards:
        start = shards.done
        for at in range(start, len(images), batch):
            shards.add(images[at : at + batch], labels[at : at + batch])
    return len(images) - start


def write_old(folder):
    """An old dataset whose first files of images have the same names as those of the new one."""
    write(folder, images=IMAGES[:40], labels=(LABELS[:40] + 1) % 3, samples=40, source="old")


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def load(folder):
    """Images and labels, read with NumPy alone, after comparing each file with the manifest."""
    shards, parts = read_manifest(folder).shards, []
    for shard in shards:
        for name, digest, size in shard.files:
            content = (folder / name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == digest and len(content) == size
            assert digest[:8] in name
            parts.append(np.load(io.BytesIO(content), allow_pickle=False))
            assert len(parts[-1]) == shard.rows
    images, labels = np.concatenate(parts[::2]), np.concatenate(parts[1::2])
    assert images.dtype == np.uint8 and labels.dtype == np.int64
    return images, labels


def state(folder):
    """What a reader finds: nothing, an unfinished dataset, the old one or the new one, whole."""
    try:
        read_manifest(folder)
    except FileNotFoundError:
        return "nothing"
    except ValueError as error:
        assert "unfinished dataset" in str(error)
        return "unfinished"
    images, labels = load(folder)
    if np.array_equal(labels, LABELS) and np.array_equal(images, IMAGES):
        return "new"
    assert np.array_equal(labels, (LABELS[:40] + 1) % 3) and np.array_equal(images, IMAGES[:40])
    return "old"


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    write(folder)
    return snapshot(folder)


# What is written


def test_what_is_written_can_be_read_with_numpy_alone(tmp_path, unbroken):
    assert write(tmp_path / "new" / "folder") == SAMPLES
    assert state(tmp_path / "new" / "folder") == "new"
    manifest = read_manifest(tmp_path / "new" / "folder")
    assert (manifest.shape, manifest.classes, manifest.samples) == (SHAPE, CLASSES, SAMPLES)
    assert [shard.rows for shard in manifest.shards] == [12, 12, 12, 12, 2]
    assert set(unbroken) == {
        "manifest.json",
        *(name for shard in manifest.shards for name, _, _ in shard.files),
    }
    assert manifest.shards[3].images.startswith("images-00003-")


@pytest.mark.parametrize("batch", [1, 12, 24, 50])
@pytest.mark.parametrize("samples", [None, SAMPLES])
def test_neither_the_batches_nor_the_form_change_a_byte(tmp_path, unbroken, batch, samples):
    write(tmp_path / "arrays", batch=batch, samples=samples)
    write(
        tmp_path / "tensors",
        images=torch.from_numpy(IMAGES),
        labels=torch.from_numpy(LABELS).to(torch.uint8),
        batch=batch,
        samples=samples,
    )
    assert snapshot(tmp_path / "arrays") == unbroken == snapshot(tmp_path / "tensors")


def test_single_samples_lists_views_and_empty_batches_are_taken(tmp_path, unbroken):
    reversed_images = np.ascontiguousarray(IMAGES[::-1])
    with writer(tmp_path) as shards:
        shards.add(IMAGES[0], 0)
        shards.add(torch.from_numpy(IMAGES[1]), torch.tensor(1))
        shards.add(IMAGES[:0], LABELS[:0])
        shards.add(IMAGES[2:3], 2)
        shards.add(reversed_images[::-1][3:], list(map(int, LABELS[3:])))
    assert snapshot(tmp_path) == unbroken


def test_the_default_shard_holds_64_mb(tmp_path):
    assert writer(tmp_path, rows_per_shard=None, shape=(3, 224, 224))._rows == 2**26 // (
        3 * 224 * 224 + 8
    )
    assert writer(tmp_path, rows_per_shard=None, shape=(3, 9000, 9000))._rows == 1


def test_done_counts_finished_shards(tmp_path):
    with writer(tmp_path) as shards:
        assert shards.done == 0
        shards.add(IMAGES[:30], LABELS[:30])
        assert shards.done == 24
        shards.add(IMAGES[30:], LABELS[30:])
    assert shards.done == SAMPLES


def test_all_is_on_the_disk_before_the_next_thing_counts_on_it(tmp_path, monkeypatch):
    calls, true_replace, true_unlink = [], os.replace, manifests.Path.unlink

    def replace(source, target):
        calls.append(str(target.name).split("-")[0])
        true_replace(source, target)

    def unlink(path, **options):
        calls.append(f"no {path.name}")
        true_unlink(path, **options)

    monkeypatch.setattr(
        os, "fsync", lambda handle: calls.append("folder" if is_folder(handle) else "file")
    )
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(manifests.Path, "unlink", unlink)
    with writer(tmp_path, samples=None) as shards:
        shards.add(IMAGES[:12], LABELS[:12])
    journal = ["file", "unfinished.json", "folder"]
    shard = ["file", "images", "file", "labels", "folder"]
    assert calls[:-1] == [
        *journal,
        *shard,
        *journal,
        "file",
        "manifest.json",
        "folder",
        "no unfinished.json",
    ]
    assert calls[-1].startswith("no .writing")


def is_folder(handle):
    return stat.S_ISDIR(os.fstat(handle).st_mode)


# An old dataset


def test_an_old_dataset_is_refused_and_untouched(tmp_path):
    write_old(tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(
        FileExistsError, match="holds a dataset: choose another folder, or pass overwrite=True"
    ):
        write(tmp_path)
    assert snapshot(tmp_path) == before


def test_shards_without_a_manifest_are_refused_and_untouched(tmp_path):
    write_old(tmp_path)
    (tmp_path / "manifest.json").unlink()
    before = snapshot(tmp_path)
    with pytest.raises(FileExistsError, match="holds a dataset"):
        write(tmp_path)
    assert snapshot(tmp_path) == before


def test_an_old_dataset_stays_readable_until_the_new_one_is_whole(tmp_path, unbroken):
    write_old(tmp_path)
    (tmp_path / "notes.txt").write_text("a file of the user")
    with writer(tmp_path, overwrite=True) as shards:
        for image, label in zip(IMAGES, LABELS, strict=True):
            shards.add(image, label)
            assert state(tmp_path) == "old"
    assert snapshot(tmp_path) == {**unbroken, "notes.txt": b"a file of the user"}


def test_a_damaged_or_newer_manifest_is_only_overwritten_when_asked(tmp_path, unbroken):
    write_old(tmp_path)
    (tmp_path / "manifest.json").write_text('{"version": 2}')
    with pytest.raises(FileExistsError):
        write(tmp_path)
    write(tmp_path, overwrite=True)
    assert snapshot(tmp_path) == unbroken


# Going on


def stop_after(folder, count, **changes):
    with pytest.raises(ZeroDivisionError), writer(folder, **changes) as shards:
        shards.add(IMAGES[:count], LABELS[:count])
        raise ZeroDivisionError


@pytest.mark.parametrize("count", [0, 5, 12, 30, 50])
@pytest.mark.parametrize("samples", [None, SAMPLES])
def test_an_exception_leaves_a_journal_no_manifest_and_a_start_for_the_next(
    tmp_path, unbroken, count, samples
):
    stop_after(tmp_path, count, samples=samples)
    kept = count // ROWS
    assert len(snapshot(tmp_path)) == 1 + 2 * kept and (tmp_path / "unfinished.json").exists()
    with pytest.raises(ValueError, match=f"unfinished dataset: {kept} shard"):
        read_manifest(tmp_path)
    before = {path.name: path.stat().st_ino for path in tmp_path.glob("*.npy")}
    assert write(tmp_path, samples=samples) == SAMPLES - kept * ROWS
    assert snapshot(tmp_path) == unbroken
    assert all((tmp_path / name).stat().st_ino == inode for name, inode in before.items()), (
        "written a second time"
    )


def test_an_interrupt_leaves_an_unfinished_dataset(tmp_path):
    with pytest.raises(KeyboardInterrupt), writer(tmp_path):
        raise KeyboardInterrupt
    assert state(tmp_path) == "unfinished"


OTHER = {"source": "else", "rows": 11, "samples": None, "classes": ("cat", "dog", "elk")}


@pytest.mark.parametrize("name", OTHER)
def test_other_settings_start_afresh_and_say_so(tmp_path, name):
    change = {"rows_per_shard" if name == "rows" else name: OTHER[name]}
    stop_after(tmp_path / "resumed", 30)
    message = f"unfinished, and 2 of its shards will be written anew: it has other {name}"
    with pytest.warns(UserWarning, match=message) as caught:
        assert write(tmp_path / "resumed", **change) == SAMPLES
    assert caught[0].filename == __file__
    write(tmp_path / "apart", **change)
    assert snapshot(tmp_path / "resumed") == snapshot(tmp_path / "apart")


def test_without_a_source_nothing_is_taken_over(tmp_path, unbroken):
    stop_after(tmp_path, 30, source=None)
    with pytest.warns(UserWarning, match="2 of its shards will be written anew: no source= says"):
        assert write(tmp_path, source=None) == SAMPLES
    assert snapshot(tmp_path) == unbroken


def test_a_source_may_be_any_plain_value(tmp_path):
    source = {"files": [("a", 1)], "seed": 3.5, "of": None}
    stop_after(tmp_path, 30, source=source)
    assert write(tmp_path, source=source) == SAMPLES - 24
    with pytest.raises(
        TypeError, match="source is .*: expected numbers, strings, lists and dictionaries"
    ):
        writer(tmp_path, source={1, 2})


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
@pytest.mark.parametrize("part", ["images", "labels"])
def test_a_damaged_shard_and_those_after_it_are_written_anew(tmp_path, unbroken, damage, part):
    stop_after(tmp_path, 40)
    path = next(tmp_path.glob(f"{part}-00001-*"))
    content = path.read_bytes()
    path.write_bytes(
        {"flip": content[:-1] + bytes([content[-1] ^ 1]), "cut": content[:-1], "remove": b""}[
            damage
        ]
    )
    if damage == "remove":
        path.unlink()
    with pytest.warns(
        UserWarning, match="2 of its shards will be written anew: a file is damaged or missing"
    ):
        assert write(tmp_path) == SAMPLES - ROWS
    assert snapshot(tmp_path) == unbroken


@pytest.mark.parametrize("content", ["", "[]", '{"settings": {}}', '{"shards": [{}]}', "null"])
def test_a_damaged_journal_starts_afresh(tmp_path, unbroken, content):
    stop_after(tmp_path, 30)
    (tmp_path / "unfinished.json").write_text(content)
    with pytest.warns(
        UserWarning, match="written anew: its journal is damaged|written anew: it has other"
    ):
        assert write(tmp_path) == SAMPLES
    assert snapshot(tmp_path) == unbroken


def test_a_shard_that_ends_the_dataset_is_taken_over_too(tmp_path, unbroken, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(shard_writer, "write_manifest", lambda *_: 1 / 0)
        write(tmp_path, samples=None)
    with (
        pytest.raises(ValueError, match="this batch makes 51 samples: expected 50"),
        writer(tmp_path, samples=None) as w,
    ):
        w.add(IMAGES[0], 0)
    assert write(tmp_path, samples=None) == 0
    assert snapshot(tmp_path) == unbroken


# What is refused


@pytest.mark.parametrize(
    "change, kind, message",
    [
        ({"classes": []}, ValueError, "expected a list of at least one name"),
        ({"classes": ["a", "a"]}, ValueError, "each once"),
        ({"classes": [1, 2]}, TypeError, "expected strings"),
        ({"shape": (3, 4)}, ValueError, r"shape is \(3, 4\): expected \(channels, height, width\)"),
        ({"shape": (3, 0, 4)}, ValueError, "shape holds 0: expected a whole number, at least 1"),
        ({"samples": 0}, ValueError, "samples holds 0: expected a whole number, at least 1"),
        ({"samples": 1.5}, ValueError, "samples holds 1.5"),
        ({"rows_per_shard": True}, ValueError, "rows_per_shard holds True"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_made(tmp_path, change, kind, message):
    with pytest.raises(kind, match=message):
        writer(tmp_path / "new", **change)
    assert not (tmp_path / "new").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        NotADirectoryError, match="file is a file: expected a folder, or a name that is free"
    ):
        write(tmp_path / "file")


WRONG = {
    "float images": (
        IMAGES / 255,
        LABELS,
        TypeError,
        r"images are float64: expected uint8.*\(images \* 255\)",
    ),
    "bool images": (IMAGES > 9, LABELS, TypeError, "images are bool: expected uint8"),
    "channels last": (
        IMAGES.transpose(0, 2, 3, 1),
        LABELS,
        ValueError,
        r"shape \(50, 16, 16, 3\): expected \(n, 3,",
    ),
    "flat": (IMAGES.reshape(50, -1), LABELS, ValueError, "resize or permute"),
    "one number": (np.uint8(3), 0, ValueError, "have the shape"),
    "float labels": (
        IMAGES,
        LABELS / 1,
        TypeError,
        r"labels are float64: expected whole numbers, as labels.long\(\)",
    ),
    "bool labels": (IMAGES, LABELS > 0, TypeError, "labels are bool"),
    "names": (IMAGES, ["cat"] * 50, TypeError, "labels are <U3"),
    "too few": (
        IMAGES,
        LABELS[:-1],
        ValueError,
        r"50 images came with labels of shape \(49,\): expected one an image",
    ),
    "one-hot": (IMAGES, np.eye(3, dtype=int)[LABELS], ValueError, r"labels of shape \(50, 3\)"),
    "one label for all": (IMAGES, 0, ValueError, r"labels of shape \(1,\)"),
    "class 3": (
        IMAGES,
        LABELS + 1,
        ValueError,
        "a label is 3: expected 0 to 2, as there are 3 classes",
    ),
    "class -1": (IMAGES, LABELS - 1, ValueError, "a label is -1: expected 0 to 2"),
    "too many": (
        np.tile(IMAGES, (2, 1, 1, 1)),
        np.tile(LABELS, 2),
        ValueError,
        "makes 1.. samples: expected 50",
    ),
}


@pytest.mark.parametrize("form", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_batch_is_refused_and_nothing_is_lost(tmp_path, unbroken, name, form):
    images, labels, kind, message = WRONG[name]
    if form is torch.as_tensor and name != "names":
        images, labels, message = (
            torch.as_tensor(images),
            torch.as_tensor(labels),
            message.replace("<U3", ""),
        )
    with writer(tmp_path) as shards:
        for at in range(0, SAMPLES, 5):
            with pytest.raises(kind, match=message):
                shards.add(images, labels)
            shards.add(IMAGES[at : at + 5], LABELS[at : at + 5])
    assert snapshot(tmp_path) == unbroken


@pytest.mark.parametrize(
    "samples, count, message",
    [
        (None, 0, "was given 0 samples: expected at least 1. The dataset is unfinished"),
        (SAMPLES, 0, "was given 0 samples: expected 50"),
        (SAMPLES, 49, "was given 49 samples: expected 50"),
    ],
)
def test_too_few_samples_are_no_dataset(tmp_path, unbroken, samples, count, message):
    with pytest.raises(ValueError, match=message), writer(tmp_path, samples=samples) as shards:
        shards.add(IMAGES[:count], LABELS[:count])
    assert state(tmp_path) == "unfinished"
    write(tmp_path, samples=samples)
    assert snapshot(tmp_path) == unbroken


def test_a_writer_is_used_inside_with(tmp_path):
    shards = writer(tmp_path)
    with pytest.raises(RuntimeError, match="the writer is not open"):
        shards.add(IMAGES, LABELS)
    with shards:
        shards.add(IMAGES, LABELS)
    with pytest.raises(RuntimeError, match="the writer is not open"):
        shards.add(IMAGES, LABELS)


# Two writers


def test_a_second_writer_is_refused(tmp_path, unbroken):
    with writer(tmp_path) as shards:
        with pytest.raises(
            BlockingIOError,
            match=f"process {os.getpid()} is writing into .*: wait until it ends, or",
        ):
            write(tmp_path)
        shards.add(IMAGES, LABELS)
    assert snapshot(tmp_path) == unbroken


def lock_of(pid, started):
    return f".writing-{pid}-{int(started)}"


def test_a_writer_in_another_process_is_refused_until_that_has_ended(tmp_path, unbroken):
    parent = psutil.Process(os.getppid())
    (tmp_path / lock_of(parent.pid, parent.create_time())).touch()
    with pytest.raises(BlockingIOError, match=f"process {parent.pid} is writing"):
        write(tmp_path)
    assert list(snapshot(tmp_path)) == [lock_of(parent.pid, parent.create_time())]
    (tmp_path / lock_of(parent.pid, parent.create_time())).unlink()
    write(tmp_path)
    assert snapshot(tmp_path) == unbroken


@pytest.mark.parametrize(
    "name",
    [lock_of(2**22 + 5, 9), lock_of(os.getppid(), 9), lock_of(os.getpid(), 9), ".writing-x"],
    ids=["no process", "the parent's number", "our number", "no number"],
)
def test_the_lock_of_a_process_that_has_ended_does_not_count(tmp_path, unbroken, name):
    (tmp_path / name).touch()
    write(tmp_path)
    assert snapshot(tmp_path) == unbroken


# Full disks


@pytest.mark.parametrize(
    "free, message", [(10_000, "is to take 55.* kB, and its disk has 10.* kB free: free some")]
)
def test_too_small_a_disk_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, free, message
):
    monkeypatch.setattr(
        shard_files.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, free)
    )
    with pytest.raises(OSError, match=message) as caught:
        write(tmp_path)
    assert caught.value.errno == errno.ENOSPC and snapshot(tmp_path) == {}


def test_space_that_strays_take_is_counted_as_free(tmp_path, monkeypatch, unbroken):
    stop_after(tmp_path, 49)
    left = iter([50 * (768 + 8) + shard_files.ROOM - 48 * 768, *[10**9] * 5])
    monkeypatch.setattr(
        shard_files.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, next(left))
    )
    with pytest.warns(UserWarning, match="4 of its shards will be written anew"):
        write(tmp_path, source="else")
    assert state(tmp_path) == "new"


def test_without_a_number_of_samples_the_disk_is_asked_before_each_shard(
    tmp_path, monkeypatch, unbroken
):
    left = iter([10**9, 10**9, 10_000])
    with monkeypatch.context() as patch, pytest.raises(OSError, match="its disk has 10.* kB free"):
        patch.setattr(
            shard_files.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, next(left))
        )
        write(tmp_path, samples=None)
    assert state(tmp_path) == "unfinished" and write(tmp_path, samples=None) == SAMPLES - 24
    assert snapshot(tmp_path) == unbroken


def test_a_writer_that_failed_stays_unfinished_though_the_error_is_swallowed(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "no space left on device")

    with pytest.raises(
        RuntimeError, match="a shard of .* could not be written: the dataset is unfinished"
    ):
        with writer(tmp_path) as shards:
            shards.add(IMAGES[:20], LABELS[:20])
            with monkeypatch.context() as patch, pytest.raises(OSError):
                patch.setattr(shard_files.os, "fsync", fail)
                shards.add(IMAGES[20:30], LABELS[20:30])
            with pytest.raises(RuntimeError, match="a shard failed"):
                shards.add(IMAGES[20:30], LABELS[20:30])
    assert state(tmp_path) == "unfinished"


@pytest.mark.parametrize("call", ["fsync", "replace", "write"])
@pytest.mark.parametrize("old", [False, True])
def test_a_disk_that_is_full_at_any_call_leaves_nothing_half_written(
    tmp_path, monkeypatch, unbroken, call, old
):
    seen, number, target = set(), 0, tmp_path / "data"
    while "complete" not in seen:
        number += 1
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        if old:
            write_old(target)
        with monkeypatch.context() as patch:
            fail_at(patch, call, number)
            try:
                write(target, overwrite=old)
                seen.add("complete")
            except OSError as error:
                assert error.errno == errno.ENOSPC
        found = state(target)
        seen.add(found)
        assert not list(target.glob("*.partial")) and not list(target.glob(".*"))
        if "complete" not in seen:
            if found == "nothing":
                assert snapshot(target) == {}
            assert write(target, overwrite=old) <= SAMPLES
        assert snapshot(target) == unbroken
    assert number > 10 and seen >= {"complete", "new", "old" if old else "unfinished"}


def fail_at(patch, call, number):
    """Let a call of `os`, or the writing of a chunk, fail as on a full disk when it is made for the number-th time."""
    made = iter(range(1, 10**6))

    def check():
        if next(made) == number:
            raise OSError(errno.ENOSPC, "no space left on device")

    if call == "write":
        patch.setattr(shard_files, "CHUNK", 5000)
        true_open = manifests.Path.open

        def opened(path, mode="r", **options):
            file = true_open(path, mode, **options)
            if "w" not in mode:
                return file
            true_write, wrapped = file.write, Forwarding(file)
            wrapped.write = lambda content: (
                true_write(content[: len(content) // 2]),
                check(),
                true_write(content[len(content) // 2 :]),
            )
            return wrapped

        patch.setattr(manifests.Path, "open", opened)
    else:
        true_call = getattr(os, call)
        patch.setattr(os, call, lambda *args: (check(), true_call(*args)))


class Forwarding:
    """A file whose `write` can be replaced."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


def write_with_small_files(folder, limit):
    import resource  # not on Windows, where this test is skipped

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        write(folder)
    except OSError as error:
        os._exit(error.errno)


def run_child(target, *args):
    child = multiprocessing.get_context("fork").Process(target=target, args=args)
    child.start()
    return child


@needs_fork
@pytest.mark.parametrize("limit", [50, 1000, 9000])
def test_a_file_that_the_system_does_not_let_grow_is_no_shard(tmp_path, unbroken, limit):
    child = run_child(write_with_small_files, tmp_path, limit)
    child.join(60)
    assert child.exitcode == errno.EFBIG
    assert state(tmp_path) == ("nothing" if limit == 50 else "unfinished") and not list(
        tmp_path.glob("*.npy")
    )
    write(tmp_path)
    assert snapshot(tmp_path) == unbroken


# Killed writers


def count_lines(act, stop=None):
    """Call `act`, count the lines it runs in the writer's modules, and call `stop(count)` before each of them."""
    files, count = {module.__file__ for module in (manifests, shard_files, shard_writer)}, 0

    def trace(frame, event, _):
        nonlocal count
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            count += 1
            if stop is not None:
                stop(count)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return count


def killed_at_line(folder, old, line):
    shard_files.CHUNK = 4000  # several chunks a file
    count_lines(
        lambda: write(folder, overwrite=old),
        lambda count: count == line and os.kill(os.getpid(), signal.SIGKILL),
    )


def check_after_kill(folder, old, unbroken):
    """The state a killed writer left; a second run then ends with the bytes of an unbroken one."""
    found = state(folder)
    if old:
        assert found in ("old", "new")
    else:
        assert found in ("nothing", "unfinished", "new")
    with warnings.catch_warnings(action="error"):  # nothing that was finished is written anew
        if found == "new" and not old and not (folder / "unfinished.json").exists():
            with pytest.raises(FileExistsError):
                write(folder)
        else:
            write(folder, overwrite=old)
    assert snapshot(folder) == unbroken
    return found


@needs_fork
@pytest.mark.parametrize("old", [False, True])
def test_a_writer_killed_at_any_line_leaves_the_old_an_unfinished_or_the_whole_dataset(
    tmp_path, unbroken, old
):
    def fresh(name):
        (tmp_path / name).mkdir()
        if old:
            write_old(tmp_path / name)
        return tmp_path / name

    kept = fresh("counted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_files, "CHUNK", 4000)
        total = count_lines(lambda: write(kept, overwrite=old))
    assert total > 500
    lines = (
        range(1, total + 1)
        if FULL
        else sorted({1, total - 9, total, *random.Random(old).sample(range(total), 20)})
    )
    seen = set()
    for line in lines:
        folder = fresh(f"line {line}")
        child = run_child(killed_at_line, folder, old, line)
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        seen.add(check_after_kill(folder, old, unbroken))
        shutil.rmtree(folder)
    assert seen == ({"old", "new"} if old else {"nothing", "unfinished", "new"})


def write_slowly(folder, old, started):
    started.set()
    write(folder, overwrite=old, batch=1)
    time.sleep(60)


@needs_fork
@pytest.mark.parametrize("old", [False, True])
def test_a_writer_killed_at_twenty_random_times_leaves_the_old_an_unfinished_or_the_whole_dataset(
    tmp_path, unbroken, old
):
    moments = random.Random()
    for attempt in range(20):
        folder = tmp_path / f"{attempt}"
        folder.mkdir()
        if old:
            write_old(folder)
        started = multiprocessing.get_context("fork").Event()
        child = run_child(write_slowly, folder, old, started)
        assert started.wait(60)
        time.sleep(moments.uniform(0, 0.06))
        child.kill()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        check_after_kill(folder, old, unbroken)


def test_a_writer_killed_while_it_wrote_its_first_journal_does_not_block_the_next(
    tmp_path, unbroken
):
    (tmp_path / "unfinished.json.partial").write_text("{")
    assert state(tmp_path) == "nothing"
    write(tmp_path)
    assert snapshot(tmp_path) == unbroken


def test_the_journal_says_what_is_written(tmp_path):
    stop_after(tmp_path, 30)
    journal = json.loads((tmp_path / "unfinished.json").read_text())
    assert journal["settings"] == {
        "classes": list(CLASSES),
        "shape": list(SHAPE),
        "samples": SAMPLES,
        "rows": ROWS,
        "source": "numbers",
    }
    assert [shard["rows"] for shard in journal["shards"]] == [ROWS, ROWS]
