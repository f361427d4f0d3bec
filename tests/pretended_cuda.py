"""A CUDA that is pretended: what would break where a GPU is visible breaks here, on a machine without one.

Availability and the device count are pretended. PyTorch's handler of forks and its `_lazy_init` are the real ones:
whoever asks for the count marks this process, so that in a forked child all that needs CUDA raises "Cannot
re-initialize CUDA in forked subprocess"; and what initialises CUDA here fails, since there is no driver. (It needs a
build of PyTorch for CUDA.) Two calls are answered as an older or a real installation would: the current stream, which
an optimizer asks for, and `torch.accelerator.empty_cache`, which some releases do not bear before the first use.

    with pretended_cuda(): ...                       in this process
    environment = switched_on(folder)                for a fresh process, as a notebook's kernel
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch

SWITCH = "DLHELPERS_TEST_PRETENDED_CUDA"
POSSIBLE = hasattr(torch._C, "_cuda_getDeviceCount") and not torch.cuda.is_available()


def _current_stream(device: object = None, /) -> SimpleNamespace:
    if torch.cuda._is_in_bad_fork():
        torch.cuda._lazy_init()  # which raises, as the real call does
    return SimpleNamespace(is_capturing=lambda: False)


def _empty_cache() -> None:
    if not torch.cuda.is_initialized():
        raise RuntimeError(
            "Allocator for cuda is not initialized: who computes on the CPU has no cache to empty"
        )


@contextmanager
def pretended_cuda() -> Iterator[None]:
    """Let torch see one GPU until the end of the block."""
    real = torch._C._cuda_getDeviceCount

    def count() -> int:
        real()  # says 0, and marks this process as one that must not be forked
        return 1

    with (
        mock.patch.object(torch._C, "_cuda_getDeviceCount", count),
        mock.patch.object(torch.accelerator, "current_stream", _current_stream),
        mock.patch.object(torch.accelerator, "empty_cache", _empty_cache),
    ):
        yield


def switched_on(folder: Path) -> dict[str, str]:
    """Write a `sitecustomize.py` into a folder; with the returned environment a new Python pretends from its start.

    A process that hides its GPUs with CUDA_VISIBLE_DEVICES sees none, as is the case with real ones.
    """
    tests = str(Path(__file__).parent)
    (folder / "sitecustomize.py").write_text(
        "import os, sys\n"
        f"if os.environ.get('{SWITCH}') and os.environ.get('CUDA_VISIBLE_DEVICES') != '':\n"
        f"    sys.path.append({tests!r})\n"
        "    import pretended_cuda\n"
        "    pretence = pretended_cuda.pretended_cuda()\n"
        "    pretence.__enter__()\n"
    )
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**os.environ, SWITCH: "1", "PYTHONPATH": path}
