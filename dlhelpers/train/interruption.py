"""Let all ranks stop at the same place: an interrupt of one is heard by all at their next exchange.

A rank that stopped at once, as Python does, would leave the others waiting for its gradients.
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

from dlhelpers.train.ranks import current


def on_any_rank(function: Callable[..., object] | None, *arguments: object) -> bool:
    """Say whether a function returned something true on any rank; where there is none, it did not.

    Raises KeyboardInterrupt on all ranks where one was interrupted, and what the function raised on its rank, with
    RuntimeError on the others.
    """
    ranks, wish, fault = current(), False, None
    if ranks is None:
        return function is not None and bool(function(*arguments))
    try:
        wish = function is not None and bool(function(*arguments))
    except Exception as error:  # the others must not wait for what will not come
        fault = error
    wishes, failures, interrupts = ranks.sums(wish, fault is not None, interruption.asked)
    if failures:
        raise fault or RuntimeError(
            "another rank failed after its epoch and says why: all stop here"
        )
    interruption.raise_if(interrupts)
    return wishes > 0


class Interruption:
    """Turns the first interrupt into a wish that all ranks hear of at their next exchange; a second one goes through.

    Use it in a `with`; a process that works alone is left as it is. A launcher that was killed counts as an interrupt,
    since nobody else would end its ranks.
    """

    def __init__(self) -> None:
        self._asked, self._depth, self._before, self._parent = False, 0, None, os.getppid()

    @property
    def asked(self) -> bool:
        """Whether this rank was interrupted, or its launcher is gone."""
        return self._asked or ("TORCHELASTIC_RUN_ID" in os.environ and os.getppid() != self._parent)

    def raise_if(self, any_rank: float) -> None:
        """KeyboardInterrupt where any rank was interrupted; the wish is then fulfilled."""
        if any_rank:
            self._asked = False
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        self._depth += 1
        if (
            self._depth == 1
            and current() is not None
            and threading.current_thread() is threading.main_thread()
        ):
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth == 0 and self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True


interruption = Interruption()  # one for the process, as there is one SIGINT
