"""One progress bar for a whole `fit`: a widget in a notebook, text on a terminal, silent where TQDM_DISABLE is set."""

import os
import warnings
from collections.abc import Iterable
from typing import Any


def progress_bar(loaders: Iterable[Iterable], epochs: int, show: bool) -> Any:
    """Return a tqdm bar over all batches of `epochs` passes through `loaders`; open-ended where one has no length."""
    try:
        total = epochs * sum(len(loader) for loader in loaders)
    except TypeError:
        total = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without ipywidgets tqdm falls back to text, which is what we want
        from tqdm.auto import tqdm
    off = not show or bool(os.environ.get("TQDM_DISABLE"))  # tqdm's own variable, which its notebook bar overlooks
    return tqdm(total=total, unit="batch", mininterval=0.5, disable=off)
