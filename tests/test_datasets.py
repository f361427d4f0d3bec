"""Tests of `datasets` and `folders`: what is loaded is what was stored, and what is missing or broken is refused."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dlhelpers.data import ImageDataset, NumberedImages, Shapes, load
from dlhelpers.data.datasets import GLYPHS

CIFAR_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
BATCH = 4  # images in each file of the small CIFAR-10; the real files hold 10,000


# Images in memory


def test_an_image_dataset_gives_back_images_and_labels():
    images = torch.rand(3, 1, 2, 2)
    dataset = ImageDataset(images, torch.tensor([1, 0, 1], dtype=torch.uint8), ["a", "b"])
    assert len(dataset) == 3 and torch.equal(dataset[2][0], images[2])
    labels = [label for _, label in (dataset[k] for k in range(3))]
    assert labels == [1, 0, 1] and type(labels[0]) is int


# Generated images


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 9_999))
def test_a_numbered_image_shows_its_index(index):
    image, label = NumberedImages(10_000)[index]
    assert label == index and image.shape == (1, 32, 32)
    width = 4 * len(str(index))  # each digit is three pixels wide, and one is left free beside it
    scale = min(28 // width, 28 // 5)  # the largest that leaves a margin of two pixels, both ways
    top, left = (32 - 5 * scale) // 2, (32 - width * scale) // 2
    drawn = image[0, top : top + 5 * scale : scale, left : left + width * scale : scale]
    for place, digit in enumerate(str(index)):
        seen = drawn[:, 4 * place : 4 * place + 3].int().flatten().tolist()
        assert "".join(map(str, seen)) == GLYPHS[int(digit)]


def test_the_glyphs_are_the_digits_that_the_eye_knows():
    picture = "\n".join(
        "".join(".#"[int(bit)] for bit in GLYPHS[4][row : row + 3]) for row in range(0, 15, 3)
    )
    assert picture == "#.#\n#.#\n###\n..#\n..#"
    assert len(set(GLYPHS)) == 10 and {len(glyph) for glyph in GLYPHS} == {15}


def test_shapes_are_a_function_of_seed_and_index():
    one, other = Shapes(10, seed=3), Shapes(1_000_000, seed=3)
    other[5]
    assert torch.equal(one[7][0], other[7][0]) and one[7][1] == other[7][1]
    assert not torch.equal(one[7][0], Shapes(10, seed=4)[7][0])


def test_shapes_have_values_from_0_to_1_and_all_classes():
    dataset = Shapes(60, size=16)
    images = torch.stack([image for image, _ in dataset])
    assert images.shape == (60, 3, 16, 16) and 0 <= images.min() and images.max() <= 1
    assert {label for _, label in dataset} == {0, 1, 2} == set(range(len(dataset.classes)))


@pytest.mark.parametrize("dataset", [Shapes(4), NumberedImages(4)])
def test_a_generated_dataset_ends_and_counts_from_the_back(dataset):
    assert len(list(dataset)) == 4 and torch.equal(dataset[-1][0], dataset[3][0])


# load by name


def test_digits_are_scikit_learns_scans_and_no_scan_is_in_both_splits():
    from sklearn.datasets import load_digits

    scans = load_digits()
    train, test = load("digits"), load("digits", "test")
    assert (len(train), len(test)) == (1438, 359)
    assert torch.equal(test.images[0, 0] * 16, torch.tensor(scans.images[4], dtype=torch.float32))
    assert test.labels.tolist() == scans.target[4::5].tolist()
    assert train.images.max() == 1 and train.images.min() == 0


def test_no_test_image_of_the_shapes_is_a_training_image():
    train, test = load("shapes", size=8), load("shapes", "test", size=8)
    assert (len(train), len(test)) == (8_000, 2_000)
    seen = {image.numpy().tobytes() for image, _ in train}
    assert len(seen) == 8_000 and not any(image.numpy().tobytes() in seen for image, _ in test)


# Folders of images


def paint(path, size=(8, 8), colour=(255, 0, 0), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes with ten images each; the red channel of an image is its number."""
    for name in ("cat", "dog"):
        for k in range(10):
            paint(
                tmp_path / "own" / name / f"{k:02}.png", colour=(k, 0, 0 if name == "cat" else 255)
            )
    return tmp_path / "own"


def test_a_folder_is_split_by_each_fifth_image(folder):
    train, test = load("folder", root=folder), load("folder", "test", root=folder)
    assert (len(train), len(test), train.classes) == (16, 4, ["cat", "dog"])
    assert [round(image[0, 0, 0].item() * 255) for image, _ in test] == [4, 9, 4, 9]
    assert [label for _, label in test] == [0, 0, 1, 1] == test.targets
    together = {*train.samples, *test.samples}
    assert len(together) == 20


def test_a_folder_with_splits_of_its_own_keeps_them(tmp_path):
    for split, number in (("train", 3), ("test", 2), ("extra", 1)):
        for k in range(number):
            paint(tmp_path / split / "cat" / f"{k}.png")
    assert [len(load("folder", split, root=tmp_path)) for split in ("train", "test", "extra")] == [
        3,
        2,
        1,
    ]


def test_grey_images_come_in_three_channels(tmp_path):
    paint(tmp_path / "cat" / "0.png", colour=51, mode="L")
    image, _ = load("folder", root=tmp_path)[0]
    assert image.shape == (3, 8, 8) and image.unique().tolist() == pytest.approx([0.2])


def test_a_folder_needs_a_root():
    with pytest.raises(
        ValueError,
        match=r"load\('folder'\) needs root=: the folder that holds one folder of images",
    ):
        load("folder")


def test_a_file_that_is_no_image_is_named_when_it_is_read(folder):
    (folder / "dog" / "03.png").write_text("not a picture")
    files = load("folder", root=folder)
    message = "dog/03.png cannot be used: cannot identify image file it; remove it, save it again"
    with pytest.raises(ValueError, match=message):
        list(files)


def test_images_of_two_sizes_need_a_size(folder):
    paint(folder / "dog" / "03.png", size=(9, 7))
    message = "03.png is 9 x 7 pixels, the first image 8 x 8: .* pass size=7"
    with pytest.raises(ValueError, match=message):
        list(load("folder", root=folder))
    assert {image.shape for image, _ in load("folder", root=folder, size=8)} == {(3, 8, 8)}


def test_an_unknown_split_of_a_folder_is_refused(folder):
    with pytest.raises(FileNotFoundError, match="No such file or directory: .*valid"):
        load("folder", "valid", root=folder)


# CIFAR-10, served on this machine in its own format


def cifar_images(number):
    """The images of file `number` in CIFAR-10's layout: rows of 3,072 bytes, red, green, blue, each row by row."""
    return np.random.RandomState(number).randint(0, 256, (BATCH, 3072), dtype=np.uint8)


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """A folder with a small CIFAR-10 in its exact format, and torchvision told its checksums."""
    folder, md5 = tmp_path / "data" / "cifar-10-batches-py", {}
    folder.mkdir(parents=True)
    contents = {"batches.meta": {"label_names": CIFAR_CLASSES}}
    for number in range(1, 7):
        contents["test_batch" if number == 6 else f"data_batch_{number}"] = {
            "labels": [(number + k) % 10 for k in range(BATCH)],
            "data": cifar_images(number),
        }
    for name, content in contents.items():
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        md5[name] = hashlib.md5(data).hexdigest()
    loader = torchvision.datasets.CIFAR10
    monkeypatch.setattr(loader, "train_list", [(f"data_batch_{k}", None) for k in range(1, 6)])
    for name in ("train_list", "test_list"):
        files = [(file, md5[file]) for file, _ in getattr(loader, name)]
        monkeypatch.setattr(loader, name, files)
    monkeypatch.setattr(loader, "meta", loader.meta | {"md5": md5["batches.meta"]})
    return folder.parent


def test_cifar10_is_read_as_it_was_stored_and_fetched_when_asked(cifar, monkeypatch):
    train = load("cifar10", root=cifar)
    assert (len(train), train.classes) == (5 * BATCH, CIFAR_CLASSES)
    stored = np.concatenate([cifar_images(number) for number in range(1, 6)]).reshape(-1, 3, 32, 32)
    images = torch.stack([image for image, _ in train])
    assert images.dtype == torch.float32
    assert torch.equal((images * 255).round(), torch.tensor(stored).float())
    assert train.targets[:5] == [1, 2, 3, 4, 2]
    monkeypatch.setenv("DLHELPERS_DATA", str(cifar))
    assert load("cifar10", "test").targets == [6, 7, 8, 9]
    fetched = []
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", lambda self: fetched.append(1))
    load("cifar10", download=True)
    assert fetched == [1]


def test_missing_cifar10_is_not_fetched_unasked(tmp_path):
    root = tmp_path / "data"
    with pytest.raises(
        FileNotFoundError,
        match=r"cifar10 is not in .*data: pass download=True.*root=.*load\('digits'\)",
    ):
        load("cifar10", root=root)
    assert not root.exists()
