"""A file is there whole, or as it was before."""

import os

import pytest

from dlhelpers.base.whole_files import write_whole


def test_a_file_appears_when_the_with_ends_and_not_before(tmp_path):
    path = tmp_path / "new.bin"
    with write_whole(str(path)) as file:
        file.write(b"all of it")
        assert not path.exists() and file.name == f"{path}.part"
    assert path.read_bytes() == b"all of it" and os.listdir(tmp_path) == ["new.bin"]


def test_what_is_raised_inside_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "kept.bin"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), write_whole(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["kept.bin"]
