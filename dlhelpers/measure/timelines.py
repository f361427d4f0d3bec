"""Where the time of a step goes: a few real training steps, recorded by torch.profiler and drawn as lanes.

The lanes are those of the host. Where the model lies on a GPU, it has a lane of its own: the host runs ahead of it.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from torch import nn
from torch.profiler import profile, record_function

from dlhelpers.base.tables import ShownAsTable, Table
from dlhelpers.machine.devices import move
from dlhelpers.measure.trials import OptimizerFn, Rehearsal, plain_sgd, undisturbed
from dlhelpers.train.checks import LossFn, check_loader
from dlhelpers.train.micro_batching import split_batch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler prints when it starts
ON_DEVICE = "kernel", "gpu_memcpy", "gpu_memset"
PHASES = ("waiting for data", "forward", "backward", "optimizer")


@dataclass(frozen=True, repr=False)
class Timeline(ShownAsTable):
    """A few training steps in time. Shown as a table of milliseconds per step.

    spans    (start, length) in milliseconds of each phase, by its name, one a step; of a GPU those of its kernels
    """

    spans: dict[str, list[tuple[float, float]]]

    @property
    def milliseconds(self) -> dict[str, float]:
        """Milliseconds per step of each phase."""
        steps = len(self.spans[PHASES[0]])
        return {name: sum(ms for _, ms in parts) / steps for name, parts in self.spans.items()}

    @property
    def verdict(self) -> str:
        """What the lanes show, in a sentence."""
        waiting, *working = (self.milliseconds[name] for name in PHASES)
        return f"The loop waits for data {waiting / (waiting + sum(working)):.0%} of the time."

    def table(self) -> Table:
        """Return the milliseconds per step of each phase, and the verdict."""
        rows = [[name, f"{value:.1f}"] for name, value in self.milliseconds.items()]
        return Table(["phase", "milliseconds per step"], rows, notes=[self.verdict])

    def plot(self) -> "Axes":
        """Draw a lane for each phase; return the axes, for `show`."""
        from dlhelpers.show.plots import plot_timeline

        return plot_timeline(self.spans, self.verdict)


def timeline(
    model: nn.Module,
    loader: Iterable,
    loss_fn: LossFn,
    optimizer_fn: OptimizerFn = plain_sgd,
    *,
    steps: int = 4,
) -> Timeline:
    """Record `steps` training steps of a copy of the model, after two that are not recorded.

    A loader with fewer batches begins again, which counts as waiting. Leaves weights, gradients, modes, random states
    and the loader's generators as they are. Raises what the checks find.
    """
    check_loader(loader, "train", model)
    trial = Rehearsal(model, loss_fn, optimizer_fn)
    with undisturbed(loader) as own:
        # as often as it takes: each pass has a batch at least
        batches = chain.from_iterable(repeat(own, steps + 2))
        # libraries are loaded, workers are there, and so is the optimizer's memory
        _step(trial, batches)
        _step(trial, batches)
        with profile() as recorded:
            for _ in range(steps):
                _step(trial, batches)
    spans = {name: [] for name in PHASES}
    with TemporaryDirectory() as folder:
        file = Path(folder, "trace.json")
        recorded.export_chrome_trace(str(file))
        events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    begin = min(event["ts"] for event in events if event["name"] == PHASES[0])
    for event in events:
        kind, name = event.get("cat"), event["name"]
        span = ((event["ts"] - begin) / 1000, event.get("dur", 0) / 1000)  # in microseconds
        if kind == "user_annotation" and name in PHASES:
            spans[name].append(span)
        elif kind in ON_DEVICE:
            spans.setdefault("device", []).append(span)
    return Timeline(spans)


def _step(trial, batches):
    """Take a training step, each phase of it under its name."""
    with record_function(PHASES[0]):
        inputs, labels = split_batch(next(batches))
    trial.optimizer.zero_grad()
    with record_function("forward"):
        inputs, targets = move((inputs, labels), trial.device)
        loss = trial.loss_fn(trial.model(inputs), targets, labels)
    with record_function("backward"):
        loss.backward()
    with record_function("optimizer"):
        trial.optimizer.step()
