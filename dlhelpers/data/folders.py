"""A folder of the learner's own images as a dataset, refused at once if one file would fail in the middle of an epoch.

The layout is torchvision's: one folder a class. Reading a header costs some tens of microseconds an image.
"""

from pathlib import Path

from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional

from dlhelpers.base.checks import check_kind, check_whole

TEST_EVERY = 5  # where a source has no split of its own, each fifth image is a test image


def image_to_tensor(image: Image.Image) -> Tensor:
    """Return a PIL image as a float32 tensor (C, H, W) from 0 to 1."""
    return functional.pil_to_tensor(image).float().div(255)


class ResizeToTensor:
    """Cut an image to `size` x `size` pixels (short side scaled, then the centre): a float32 tensor (3, size, size)."""

    def __init__(self, size: int):
        self.size = size

    def __call__(self, image: Image.Image) -> Tensor:
        return image_to_tensor(
            functional.center_crop(functional.resize(image, self.size), self.size)
        )


def image_folder(root: str | Path | None, split: str, size: int | None = None) -> ImageFolder:
    """Return the images of ROOT/SPLIT/CLASS/*.jpg; without split folders, of ROOT/CLASS/*.jpg, each fifth a test image.

    Raises FileNotFoundError for a folder that is missing or empty, ValueError for a file that is no image and for
    images of unequal sizes without `size`, TypeError for a split that is no text.
    """
    check_kind("split", split, str, "'train', 'test' or the name of a folder below root")
    if root is None:
        raise ValueError(
            "load('folder') needs root=: the folder that holds one folder of images for each class"
        )
    size = None if size is None else check_whole("size", size, 1, of="pixels")
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(
            f"there is no folder {root}: check root= for a misprint; it is relative to {Path.cwd()}"
        )
    has_splits = (root / "train").is_dir() or (root / "test").is_dir()
    if split not in ("train", "test") and not (root / split).is_dir():
        raise ValueError(
            f"split is {split!r}: expected 'train', 'test' or the name of a folder in {root}"
        )
    source = root / split if has_splits or split not in ("train", "test") else root
    try:
        folder = ImageFolder(
            str(source), transform=ResizeToTensor(size) if size else image_to_tensor
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{source} is not laid out as expected: {source}/CLASS/*.jpg (or .png), with images in each CLASS."
            f" torchvision says: {error}"
        ) from None
    if source == root:
        chosen = [
            k for k in range(len(folder)) if (k % TEST_EVERY == TEST_EVERY - 1) == (split == "test")
        ]
        folder.samples = folder.imgs = [folder.samples[k] for k in chosen]
        folder.targets = [label for _, label in folder.samples]
    _check_files([path for path, _ in folder.samples], size)
    return folder


def _check_files(paths: list[str], size: int | None) -> None:
    """Open each file's header: every one an image, and all of one size unless they will be resized."""
    sizes: dict[tuple[int, int], str] = {}
    for path in paths:
        try:
            with Image.open(path) as image:
                sizes.setdefault(image.size, path)
        except (UnidentifiedImageError, OSError):
            raise ValueError(
                f"{path} is not an image that can be read: remove it, or save it again as JPEG or PNG"
            ) from None
    if len(sizes) > 1 and not size:
        (first, one), (second, other) = list(sizes.items())[:2]
        raise ValueError(
            f"images differ in size: {one} is {first[0]} x {first[1]}, {other} is {second[0]} x {second[1]} pixels."
            " A batch needs one size: pass size=32, say"
        )
