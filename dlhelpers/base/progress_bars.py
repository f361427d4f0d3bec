"""One progress bar for a whole job: a widget in a notebook, text on a terminal, silent where TQDM_DISABLE is set."""

import os
from collections.abc import Iterable
from typing import Any


def progress_bar(loaders: Iterable[Iterable], epochs: int, show: bool) -> Any:
    """Return a tqdm bar over all batches of `epochs` passes; without a total where a loader has no length."""
    try:
        total = epochs * sum(map(len, loaders))
    except TypeError:
        total = None
    return tqdm_bar(show, total=total, unit="batch", miniters=1)


def tqdm_bar(show: bool, **options: Any) -> Any:
    """Return a tqdm bar with these options, which shows nothing where `show` is False or TQDM_DISABLE is set."""
    from tqdm.auto import tqdm  # here, since it looks for a notebook, which takes time

    # tqdm's notebook bar overlooks the variable
    return tqdm(disable=not show or bool(os.environ.get("TQDM_DISABLE")), **options)
