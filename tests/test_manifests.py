"""Tests of `manifests`: what is written comes back, a write that breaks off changes nothing, and what is refused."""

import dataclasses
import errno
import hashlib
import json
import os
import re

import numpy as np
import pytest

from dlhelpers.packed import manifests
from dlhelpers.packed.manifests import (
    Manifest,
    Shard,
    file_sha256,
    read_manifest,
    write_json,
    write_manifest,
)


def shard(number, rows=3):
    return Shard(
        f"images-{number}.npy", f"labels-{number}.npy", rows, "a" * 64, "b" * 64, 100 + number, 50
    )


MANIFEST = Manifest((3, 4, 5), ("cat", "d\u00f6g"), (shard(0), shard(1, rows=2)))


@pytest.fixture
def folder(tmp_path):
    write_manifest(tmp_path, MANIFEST)
    return tmp_path


def change(folder, **entries):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def change_shard(folder, number=0, **entries):
    shards = json.loads((folder / "manifest.json").read_text())["shards"]
    shards[number].update(entries)
    change(folder, shards=shards)


def test_what_is_written_comes_back(folder):
    found = read_manifest(str(folder))
    assert found == MANIFEST and found.samples == 5 and found.bytes == 301 and found.version == 1
    assert found.shards[1].files == (
        ("images-1.npy", "a" * 64, 101),
        ("labels-1.npy", "b" * 64, 50),
    )
    assert os.listdir(folder) == ["manifest.json"]


def test_what_is_read_cannot_be_changed(folder):
    with pytest.raises(dataclasses.FrozenInstanceError):
        read_manifest(folder).version = 2


def test_others_may_read_a_manifest_as_they_may_read_any_new_file(folder):
    (folder / "other").touch()
    assert (folder / "manifest.json").stat().st_mode == (folder / "other").stat().st_mode


def test_a_file_is_hashed(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(1000))
    assert (
        file_sha256(tmp_path / "a.npy")
        == hashlib.sha256((tmp_path / "a.npy").read_bytes()).hexdigest()
    )


# A write that breaks off


@pytest.mark.parametrize("moment", ["fsync", "replace"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "no space left on device"), KeyboardInterrupt()]
)
def test_a_write_that_breaks_off_leaves_the_old_file_and_nothing_else(
    folder, monkeypatch, moment, error
):
    def fail(*_):
        raise error

    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(manifests.os, moment, fail)
        write_manifest(folder, dataclasses.replace(MANIFEST, classes=("other",)))
    assert os.listdir(folder) == ["manifest.json"] and read_manifest(folder) == MANIFEST


def test_the_content_and_then_the_name_are_brought_to_the_disk(tmp_path, monkeypatch):
    calls, true_sync, true_replace = [], os.fsync, os.replace
    monkeypatch.setattr(
        manifests.os, "fsync", lambda handle: (calls.append("sync"), true_sync(handle))
    )
    monkeypatch.setattr(
        manifests.os, "replace", lambda *paths: (calls.append("replace"), true_replace(*paths))
    )
    write_json(tmp_path / "a.json", {"a": 1})
    assert calls == (["sync", "replace", "sync"] if os.name == "posix" else ["sync", "replace"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (3, 4)},
        {"classes": ()},
        {"shards": ()},
        {"dtype": "float32"},
        {"version": 2},
        {"shards": (shard(0), shard(0))},
    ],
    ids=str,
)
def test_what_could_not_be_read_is_not_written(tmp_path, wrong):
    with pytest.raises(ValueError, match="manifest.json: "):
        write_manifest(tmp_path, dataclasses.replace(MANIFEST, **wrong))
    assert os.listdir(tmp_path) == []


# Folders without a manifest


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=f"no folder {re.escape(str(tmp_path / 'x'))}: check the name"
    ):
        read_manifest(tmp_path / "x")


def test_an_empty_folder_holds_no_dataset(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"holds no dataset: expected manifest.json in it, as ShardWriter or",
    ):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "journal, done",
    [
        ({"shards": [1, 2, 3]}, "3 shards are"),
        ({"shards": [1]}, "1 shard is"),
        ({}, "0 shards are"),
        ([], "0 shards are"),
    ],
)
def test_an_unfinished_dataset_says_so(tmp_path, journal, done):
    write_json(tmp_path / "unfinished.json", journal)
    with pytest.raises(
        ValueError, match=f"holds an unfinished dataset: {done} done.* same command again to finish"
    ):
        read_manifest(tmp_path)


def test_the_old_dataset_is_read_while_a_new_one_is_unfinished(folder):
    write_json(folder / "unfinished.json", {"shards": [1, 2, 3]})
    assert read_manifest(folder) == MANIFEST


# Damaged manifests


def test_a_manifest_cut_short_at_any_byte_is_refused(folder):
    content = (folder / "manifest.json").read_bytes()
    for size in range(len(content) - 2):  # without the last newline it is still whole
        (folder / "manifest.json").write_bytes(content[:size])
        with pytest.raises(
            ValueError,
            match=r"manifest.json is cut short or damaged \(.*restore it from a copy, or",
        ):
            read_manifest(folder)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"\0" * 100, b"[" * 100_000], ids=["text", "zeros", "nested"]
)
def test_what_is_no_json_is_refused(folder, content):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(ValueError, match="cut short or damaged"):
        read_manifest(folder)


@pytest.mark.parametrize("content", ["[]", "1", "null", '"text"'])
def test_json_of_another_kind_is_refused(folder, content):
    (folder / "manifest.json").write_text(content)
    with pytest.raises(
        ValueError, match=r"the file is .*: expected a JSON object. Restore the manifest"
    ):
        read_manifest(folder)


def test_a_newer_version_asks_for_an_update(folder):
    change(folder, version=2, shards="of another form")
    with pytest.raises(
        ValueError, match="version is 2, and this dlhelpers reads up to 1: update dlhelpers"
    ):
        read_manifest(folder)


@pytest.mark.parametrize("key", ["shape", "dtype", "classes", "shards"])
def test_a_missing_entry_is_named(folder, key):
    content = json.loads((folder / "manifest.json").read_text())
    del content[key]
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=f"manifest.json: {key} missing: restore the manifest, or write"
    ):
        read_manifest(folder)


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Shard)])
def test_a_missing_entry_of_a_shard_is_named(folder, key):
    shards = json.loads((folder / "manifest.json").read_text())["shards"]
    del shards[1][key]
    change(folder, shards=shards)
    with pytest.raises(ValueError, match=f"shard 1: {key} missing"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "key, value, expected",
    [
        *(
            ("version", value, "a whole number from 1 to 1")
            for value in (0, -1, None, "1", 1.0, True)
        ),
        *(
            ("shape", value, r"\[channels, height, width\]")
            for value in (
                [3, 4],
                [3, 4, 0],
                [3, 4, -5],
                [3, 4, 5.0],
                3,
                [3, 4, True],
                "345",
                [1, 2, 3, 4],
                None,
            )
        ),
        *(("dtype", value, "'uint8'") for value in ("float32", None, ["uint8"])),
        *(
            ("classes", value, "a list of names, each once")
            for value in ([], ["a", "a"], [1], "ab", [["a"]], None)
        ),
        *(("shards", value, "a list of at least one shard") for value in ([], {}, None, "x")),
        ("shards", [1], "a JSON object"),
    ],
)
def test_an_entry_of_a_wrong_kind_is_refused(folder, key, value, expected):
    change(folder, **{key: value})
    shown = (
        "shard 0: the entry is 1"
        if value == [1] and key == "shards"
        else f"{key} is {re.escape(repr(value))}"
    )
    with pytest.raises(
        ValueError,
        match=f"manifest.json: {shown}: expected {expected}.*estore the manifest, or write",
    ):
        read_manifest(folder)


@pytest.mark.parametrize(
    "key, value, expected",
    [
        *(
            ("rows", value, "a whole number of samples, at least 1")
            for value in (-3, 0, 2.0, "3", None, True)
        ),
        *(
            (f"{part}_bytes", value, "a whole number of bytes")
            for part in ("images", "labels")
            for value in (-1, 1e3, "9")
        ),
        *(
            (f"{part}_sha256", value, "64 hexadecimal digits")
            for part in ("images", "labels")
            for value in ("a" * 63, "a" * 65, "g" * 64, "a" * 64 + "\n", None, 5)
        ),
    ],
)
def test_a_shard_of_a_wrong_kind_is_refused(folder, key, value, expected):
    change_shard(folder, 1, **{key: value})
    with pytest.raises(
        ValueError, match=f"shard 1: {key} is {re.escape(repr(value))}: expected {expected}"
    ):
        read_manifest(folder)


OUTSIDE = [
    "/etc/passwd",
    "/a.npy",
    "../a.npy",
    "..",
    ".",
    "",
    "sub/a.npy",
    "sub\\a.npy",
    "..\\a.npy",
    "C:a.npy",
    "C:\\a.npy",
    "\\\\host\\a.npy",
    "a.npy\0",
    "a\0.npy",
    "a.txt",
    "a.npy/",
    "~/a.npy",
    "a.npy:b",
    5,
    None,
    ["a.npy"],
]


@pytest.mark.parametrize("part", ["images", "labels"])
@pytest.mark.parametrize("name", OUTSIDE, ids=repr)
def test_a_file_name_that_could_leave_the_folder_is_refused(folder, part, name):
    change_shard(folder, **{part: name})
    expected = "expected the plain name of an .npy file in the same folder"
    with pytest.raises(ValueError, match=f"shard 0: {part} is {re.escape(repr(name))}: {expected}"):
        read_manifest(folder)


def test_a_link_that_leads_out_of_the_folder_is_refused_and_one_inside_is_not(
    folder, tmp_path_factory
):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret.npy"
    elsewhere.touch()
    (folder / "real.npy").touch()
    (folder / "images-0.npy").symlink_to("real.npy")
    assert read_manifest(folder) == MANIFEST
    (folder / "labels-1.npy").symlink_to(elsewhere)
    with pytest.raises(
        ValueError, match="shard 1: labels is 'labels-1.npy': expected .* not a link that leads out"
    ):
        read_manifest(folder)


def test_a_folder_may_itself_be_reached_through_a_link(folder, tmp_path_factory):
    link = tmp_path_factory.mktemp("elsewhere") / "link"
    link.symlink_to(folder)
    (folder / "images-0.npy").symlink_to("real.npy")
    assert read_manifest(link) == MANIFEST


@pytest.mark.parametrize(
    "number, part, name", [(1, "images", "images-0.npy"), (0, "labels", "images-0.npy")]
)
def test_a_file_that_is_named_twice_is_refused(folder, number, part, name):
    change_shard(folder, number, **{part: name})
    with pytest.raises(
        ValueError, match=f"a file name is '{name}': expected in one place only, not in 2"
    ):
        read_manifest(folder)


def test_a_long_value_is_shown_in_part(folder):
    change(folder, dtype="x" * 10_000)
    with pytest.raises(ValueError, match=r"dtype is 'x{79}\.\.\.: expected") as caught:
        read_manifest(folder)
    assert len(str(caught.value)) < 500
