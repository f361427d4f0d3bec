"""A folder is looked through before a training: what is there, what is damaged, and how to read it."""

from types import SimpleNamespace

import pytest
from PIL import Image

from dlhelpers.__main__ import main
from dlhelpers.measure import inspect_folder, inspecting


@pytest.fixture
def folder(tmp_path):
    """Nine images of 6 x 5 pixels in a, three of 8 x 5 in b."""
    for number in range(12):
        path = tmp_path / "images" / "ab"[number > 8] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6 if number < 9 else 8, 5), (number, 0, 0)).save(path)
    return tmp_path / "images"


def test_files_sizes_classes_and_bytes_are_counted(folder):
    report = inspect_folder(folder)
    assert report.files == 12 and report.sizes == {(6, 5): 9, (8, 5): 3} and not report.damaged
    assert report.bytes == sum(path.stat().st_size for path in folder.rglob("*.png"))
    assert report.classes == {"a": 9, "b": 3}
    assert report.decoded_bytes == 3 * (9 * 30 + 3 * 40)
    text = repr(report)
    assert "2, most often 6 x 5 pixels (9)" in text and "a is right for 75%" in text
    assert "2, b 3 to a 9 images" in text


@pytest.mark.parametrize(
    ("memory", "disk", "way"),
    [(8 * 1170, 0, "memory"), (8 * 1170 - 1, 2 * 1170, "map"), (0, 2 * 1170 - 1, "stream")],
)
def test_the_numbers_decide_between_memory_map_and_stream(folder, monkeypatch, memory, disk, way):
    usage = SimpleNamespace(free=disk)
    monkeypatch.setattr(inspecting, "memory_budget", lambda: memory)
    monkeypatch.setattr(inspecting.shutil, "disk_usage", lambda root: usage)
    report = inspect_folder(folder)
    assert report.recommendation == way and f"{way}: " in repr(report)
    assert "1.17 kB, times 4 as float32" in repr(report)


def test_a_damaged_image_is_listed_with_its_reason_and_the_exit_code_says_so(
    folder, capsys, monkeypatch
):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    assert main(["inspect", str(folder)]) == 0
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    noise.save(folder / "a" / "cut.jpg")
    path = folder / "a" / "cut.jpg"
    path.write_bytes(path.read_bytes()[:900])  # its header is whole
    (folder / "b" / "empty.png").touch()
    (folder / "b" / "dangling.png").symlink_to("nowhere")
    assert main(["inspect", str(folder)]) == 1
    out, errors = capsys.readouterr()
    for name in ("a/cut.jpg: ", "b/empty.png: ", "b/dangling.png: "):
        assert f"Note: {name}" in out
    assert "15, of them damaged 3" in out and str(folder) not in out
    assert "15/15" in errors  # the bar


def test_a_folder_of_nothing_but_damaged_images_names_one(folder, capsys):
    for path in folder.rglob("*.png"):
        path.write_bytes(b"\x1b[31m")
    assert main(["inspect", str(folder)]) == 1
    assert "no image of 12" in capsys.readouterr().err


def test_links_that_lead_up_are_not_followed(folder):
    (folder / "a" / "up").symlink_to(folder, target_is_directory=True)
    assert inspect_folder(folder).files == 12
    for target in (folder, folder.parent):
        (folder / "c").symlink_to(target, target_is_directory=True)
        with pytest.raises(ValueError, match="c leads up to a folder that holds it: remove"):
            inspect_folder(folder)
        (folder / "c").unlink()


@pytest.mark.parametrize("name", ["a/\x1b[31m.png", "\x1b[31m/0.png", "\x1b[31m/0.txt"])
def test_a_name_never_reaches_the_terminal_raw(folder, capsys, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"no image")
    assert main(["inspect", str(folder)]) == 1
    out, errors = capsys.readouterr()
    assert "?[31m" in out + errors and "\x1b[31m" not in out + errors
