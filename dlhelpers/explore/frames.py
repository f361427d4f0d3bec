"""Sliders that redraw a figure, each with the same figure standing still for every reader without a kernel.

A widget wraps ipywidgets 7.7 (Colab) or 8 and uses only what both have. The lessons never depend on it.
"""

from collections.abc import Callable
from typing import Any

import torch

from dlhelpers.base.checks import check_whole
from dlhelpers.data.counting import batches_per_epoch
from dlhelpers.show.plots import Picture, plot_batches, show


class WithTwin:
    """A widget for a live notebook, and a picture for a page that only shows what was stored."""

    def __init__(self, widget: Any, twin: Picture):
        self.widget, self.twin = widget, twin

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        return {**self.twin._repr_mimebundle_(), "application/vnd.jupyter.widget-view+json": view}


def explore_batches(samples: int = 20, batch_size: int = 6) -> WithTwin | Picture:
    """Return sliders for samples, batch size, drop_last and epoch above a drawing of that epoch's batches.

    Without ipywidgets the drawing alone is returned.
    """
    check_whole("samples", samples, 1)
    check_whole("batch_size", batch_size, 1)
    try:
        import ipywidgets
    except ImportError:
        return draw_epoch(samples, batch_size)
    style = {"style": {"description_width": "90px"}}
    controls = {
        "samples": ipywidgets.IntSlider(
            samples, 1, max(60, samples), description="samples", **style
        ),
        "batch_size": ipywidgets.IntSlider(
            batch_size, 1, max(32, batch_size), description="batch size", **style
        ),
        "drop_last": ipywidgets.Checkbox(False, description="drop_last", **style),
        "epoch": ipywidgets.IntSlider(1, 1, 5, description="epoch", **style),
    }
    return _live(draw_epoch, controls)


def draw_epoch(samples: int, batch_size: int, drop_last: bool = False, epoch: int = 1) -> Picture:
    """Return the picture of one shuffled epoch: which sample lands in which batch, and which in none."""
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(epoch)).tolist()
    whole = batches_per_epoch(samples, batch_size, drop_last=drop_last)
    batches = [order[k * batch_size : (k + 1) * batch_size] for k in range(whole)]
    left_out = order[whole * batch_size :] if drop_last else []
    return show(plot_batches(batches, left_out))


def _live(draw: Callable[..., Picture], controls: dict[str, Any]) -> WithTwin:
    """Controls above an HTML panel that shows `draw(**values)`: its sentence and its picture, anew at each change."""
    import ipywidgets

    panel = ipywidgets.HTML()

    def redraw(_: object = None) -> Picture:
        picture = draw(**{name: control.value for name, control in controls.items()})
        panel.value = f"<p aria-live='polite'>{picture.alt}</p>{picture.html}"
        return picture

    for control in controls.values():
        control.observe(redraw, names="value")
    return WithTwin(ipywidgets.VBox([*controls.values(), panel]), redraw())
