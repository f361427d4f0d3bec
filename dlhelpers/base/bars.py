"""One progress bar for a whole job: a widget in a notebook, text on a terminal, silent where TQDM_DISABLE is set."""

import os
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any


def progress_bar(
    loaders: Iterable[Iterable], epochs: int, show: bool, unit: str = "batch"
) -> AbstractContextManager[Any]:
    """Return a tqdm bar over all batches of `epochs` passes; without a total where a loader has no length.

    Where `show` is False it is an empty context, as in `tqdm_bar`.
    """
    try:
        total = epochs * sum(map(len, loaders))
    except TypeError:
        total = None
    return tqdm_bar(show, total=total, unit=unit, miniters=1)


def tqdm_bar(show: bool, **options: Any) -> AbstractContextManager[Any]:
    """Return a tqdm bar with these options, or an empty context where `show` is False or TQDM_DISABLE is set."""
    if not show or os.environ.get("TQDM_DISABLE"):  # tqdm's notebook bar overlooks the variable
        return nullcontext()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without ipywidgets tqdm falls back to text, which is fine
        from tqdm.auto import tqdm
    return tqdm(disable=False, **options)
