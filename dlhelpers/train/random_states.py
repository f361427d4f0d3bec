"""The state of every global random generator that training draws from, as plain values that a checkpoint can hold."""

import random
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Return the states of Python's, NumPy's and PyTorch's generators, the last also of each CUDA device."""
    version, numbers, spare = random.getstate()
    kind, keys, place, has_spare, gauss = np.random.get_state()
    return {
        "python": (version, list(numbers), spare),
        "numpy": (kind, keys.tolist(), place, has_spare, gauss),
        "torch": torch.get_rng_state(),
        # asked only where CUDA is in use: asking would initialise it, on every GPU
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put the generators back; those of CUDA only where there are as many devices as there were."""
    version, numbers, spare = state["python"]
    random.setstate((version, tuple(numbers), spare))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
