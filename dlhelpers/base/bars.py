"""One progress bar for a whole job: a widget in a notebook, text on a terminal, silent where TQDM_DISABLE is set."""

import os
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any


def progress_bar(
    loaders: Iterable[Iterable], epochs: int, show: bool, unit: str = "batch"
) -> AbstractContextManager[Any]:
    """Return a tqdm bar over all batches of `epochs` passes, open-ended where a loader has no length.

    Where none is wanted it is an empty context: see `tqdm_bar`.
    """
    try:
        total = epochs * sum(map(len, loaders))
    except TypeError:
        total = None
    return tqdm_bar(show, total=total, unit=unit, miniters=1)


def tqdm_bar(show: bool, **options: Any) -> AbstractContextManager[Any]:
    """Return a tqdm bar with these options of tqdm, or an empty context where none is wanted.

    That is where `show` is False, or where TQDM_DISABLE is set, which tqdm's notebook bar overlooks.
    """
    if not show or os.environ.get("TQDM_DISABLE"):
        return nullcontext()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # without ipywidgets tqdm falls back to text, which is what we want
        from tqdm.auto import tqdm
    return tqdm(disable=False, **options)
