"""Tests of `datasets` and `folders`: what is loaded is what was stored, and what is missing or broken is refused."""

import pytest
import torch
from PIL import Image

from dlhelpers.data import ImageDataset, ImageFiles, NumberedImages, Shapes, draw_shapes, load

# Images in memory


def test_an_image_dataset_gives_back_images_and_labels():
    images = torch.rand(3, 1, 2, 2)
    dataset = ImageDataset(images, torch.tensor([1, 0, 1], dtype=torch.uint8), ["a", "b"])
    assert len(dataset) == 3 and torch.equal(dataset[2][0], images[2])
    assert repr([dataset[k][1] for k in range(3)]) == "[1, 0, 1]"


# Generated images


def test_a_numbered_image_shows_its_index():
    image, label = NumberedImages(100)[42]
    assert label == 42 and image.shape == (1, 32, 32)
    # eight columns and five rows, three pixels each, in the middle
    rows = image[0, 8:23:3, 4:28:3].int().tolist()
    assert ["".join(".#"[bit] for bit in row) for row in rows] == [
        "#.#.###.",
        "#.#...#.",
        "###.###.",
        "..#.#...",
        "..#.###.",
    ]


def test_shapes_are_the_images_that_draw_shapes_makes():
    images, labels = draw_shapes(0, 9, size=16, seed=3)
    dataset = Shapes(1_000_000, size=16, seed=3)
    assert [label for _, label in (dataset[k] for k in range(9))] == labels.tolist()
    assert torch.equal(dataset[7][0] * 255, torch.from_numpy(images[7]).float())


@pytest.mark.parametrize("dataset", [Shapes(4), NumberedImages(4)])
def test_a_generated_dataset_ends_and_counts_from_the_back(dataset):
    assert len(list(dataset)) == 4 and torch.equal(dataset[-1][0], dataset[3][0])


# load by name


def test_digits_are_those_of_the_repository_and_no_scan_is_in_both_splits():
    train, test = load("digits"), load("digits", "test")
    assert (len(train), len(test)) == (1438, 359)
    counts = torch.bincount(torch.cat([train.labels, test.labels])).tolist()
    assert counts == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as its file of names says
    assert (train.images[0, 0, 0] * 16).tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert train.labels[:6].tolist() == [0, 1, 2, 3, 5, 6] and test.labels[:2].tolist() == [4, 9]
    assert train.images.max() == 1 and train.images.min() == 0


def test_no_test_image_of_the_shapes_is_a_training_image():
    splits = load("shapes"), load("shapes", "test")
    assert [len(split) for split in splits] == [8_000, 2_000]
    train, test = ({split[k][0].numpy().tobytes() for k in range(500)} for split in splits)
    assert len(train) == 500 and not train & test


# Folders of images


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    for number in range(20):
        folder = tmp_path / ("dog", "cat")[number % 2]
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number:02}.png")
    files = ImageFiles(tmp_path)
    reds = [round(image[0, 0, 0].item() * 255) for image, _ in files]
    assert files.classes == ["cat", "dog"] and reds == [*range(1, 20, 2), *range(0, 20, 2)]
    assert [label for _, label in files] == [0] * 10 + [1] * 10


def test_missing_cifar10_is_not_fetched_unasked(tmp_path):
    root = tmp_path / "data"
    with pytest.raises(
        FileNotFoundError,
        match=r"cifar10 is not in .*data: pass download=True.*root=.*load\('digits'\)",
    ):
        load("cifar10", root=root)
    assert not root.exists()
