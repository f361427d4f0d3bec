"""Fetch the datasets of a workshop beforehand, into one folder that can be copied to a USB stick.

python -m dlhelpers prefetch cifar10 fashion_mnist --folder data
"""

from collections.abc import Iterable
from pathlib import Path

from dlhelpers.data.datasets import load


def prefetch(names: Iterable[str], folder: str | Path) -> None:
    """Fetch, check and unpack the named datasets into `folder`; print a line for each, and one on how to use them.

    What is there already is not fetched again. Raises ValueError for an unknown name, and torchvision's RuntimeError or
    OSError for a download that failed: the same call again finishes it.
    """
    for name in names:
        images = load(name, root=folder, download=True)
        print(f"{name} is there, {len(images):,} training images")
    use = "Copy the folder anywhere, and let this variable point to it"
    print(f"{use}: DLHELPERS_DATA={Path(folder).resolve()}")
