"""Where the time of a step goes: a few real training steps, recorded by torch.profiler and drawn as lanes.

The lanes are those of the host. Where the model lies on a GPU, it has a lane of its own: the host runs ahead of it.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, chain, repeat
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.profiler import profile, record_function

from dlhelpers.base.tables import ShownAsTable, Table
from dlhelpers.machine.devices import move
from dlhelpers.measure.data_or_model import SMALL
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
    memory   (milliseconds, bytes): what the steps hold of the device's memory, beyond what was there before
    workers  whether processes of their own load the batches
    """

    spans: dict[str, list[tuple[float, float]]]
    memory: list[tuple[float, float]]
    workers: bool

    @property
    def milliseconds(self) -> dict[str, float]:
        """Milliseconds per step of each phase."""
        steps = len(self.spans[PHASES[0]])
        return {name: sum(ms for _, ms in parts) / steps for name, parts in self.spans.items()}

    @property
    def bound(self) -> str:
        """What to improve first, as `pipeline_speed` says it; "too noisy here" where a single step decides."""
        found = {self._bound(mean), self._bound(median)}
        return found.pop() if len(found) == 1 else "too noisy here"

    def _bound(self, middle: Callable) -> str:
        waiting, *working = (middle([ms for _, ms in self.spans[name]]) for name in PHASES)
        # a GPU works on while the host waits; where it is the slower of the two, loading is hidden behind it
        if waiting <= SMALL * sum(working) or self._device > waiting + sum(working):
            return "compute"
        return "no overlap" if not self.workers and SMALL * waiting < sum(working) else "data"

    @property
    def _device(self) -> float:
        """Milliseconds per step in which a GPU works; 0 without one."""
        return self.milliseconds.get("device", 0.0)

    @property
    def verdict(self) -> str:
        """What the lanes show, in a sentence."""
        waiting, *working = (self.milliseconds[name] for name in PHASES)
        share = waiting / max(waiting + sum(working), self._device)
        meaning = {
            "data": "data-bound: make loading faster",
            "compute": "compute-bound: a faster loader would hardly help",
            "no overlap": "no overlap: loading and training take turns, so try num_workers=1",
            "too noisy here": "too noisy here: one step differs from the others, so measure again",
        }
        return f"The loop waits for data {share:.0%} of the time, {meaning[self.bound]}."

    def table(self) -> Table:
        """Return the milliseconds per step of each phase, and the verdict."""
        rows = [[name, f"{value:.1f}"] for name, value in self.milliseconds.items()]
        return Table(["phase", "milliseconds per step"], rows, notes=[self.verdict])

    def plot(self) -> "Axes":
        """Draw a lane for each phase, and below them the memory; return the axes, for `show`."""
        from dlhelpers.show.plots import plot_timeline

        return plot_timeline(self.spans, self.memory, self.verdict)


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
    and the loader's generators as they are. Raises what the checks find, and ValueError for a loader without a batch.
    """
    check_loader(loader, "train", model)
    trial = Rehearsal(model, loss_fn, optimizer_fn)
    on_host = trial.device.type == "cpu"
    with undisturbed(loader) as own:
        # as often as it takes: each pass has a batch at least
        batches = chain.from_iterable(repeat(own, steps + 2))
        # libraries are loaded, workers are there, and so is the optimizer's memory
        _step(trial, batches)
        _step(trial, batches)
        with profile(profile_memory=True) as recorded:
            for _ in range(steps):
                _step(trial, batches)
    spans: dict[str, list[tuple[float, float]]] = {name: [] for name in PHASES}
    events, changes = _events(recorded), []
    begin = min(event["ts"] for event in events if event["name"] == PHASES[0])
    for event in events:
        name, start = event["name"], (event["ts"] - begin) / 1000
        span = (start, event.get("dur", 0) / 1000)
        if event.get("cat") == "user_annotation" and name in PHASES:
            spans[name].append(span)
        elif event.get("cat") in ON_DEVICE:
            spans.setdefault("device", []).append(span)
        # each change has a moment of its own; a table of operations books it at the end of one
        elif name == "[memory]" and (event["args"]["Device Type"] == 0) == on_host:
            changes.append((start, event["args"]["Bytes"]))
    moments, sizes = zip((0.0, 0), *sorted(changes), strict=True)
    memory = list(zip(moments, accumulate(sizes), strict=True))
    return Timeline(spans, memory, bool(getattr(loader, "num_workers", 0)))


def _events(recorded: profile) -> list[dict[str, Any]]:
    """The complete events of a recording, and its changes of memory; times in microseconds."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "trace.json")
        recorded.export_chrome_trace(str(file))
        events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    return [event for event in events if event["ph"] in "Xi"]


def _step(trial: Rehearsal, batches: Iterator[Any]) -> None:
    """Take a training step, each phase of it under its name."""
    with record_function(PHASES[0]):
        batch = next(batches, None)
    if batch is None:
        raise ValueError("the loader gave no batch: give it samples")
    inputs, labels = split_batch(batch)
    trial.optimizer.zero_grad()
    with record_function("forward"):
        inputs, targets = move(inputs, trial.device), move(labels, trial.device)
        loss = trial.loss_fn(trial.model(inputs), targets, labels)
    with record_function("backward"):
        loss.backward()
    with record_function("optimizer"):
        trial.optimizer.step()
