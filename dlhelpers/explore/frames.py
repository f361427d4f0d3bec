"""One frame for every explorer: controls that redraw a picture, beside the same picture standing still.

It uses only what both ipywidgets 7.7 (Colab) and 8 have.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ipywidgets import HTML, VBox, Widget

from dlhelpers.show.plots import Picture


@dataclass
class WithTwin:
    """A widget for a live notebook, and a picture for a page that only shows what was stored."""

    widget: Widget
    twin: Picture

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        return {
            "text/plain": repr(self.twin),
            "text/html": self.twin.html,
            "application/vnd.jupyter.widget-view+json": view,
        }


def explorer(draw: Callable[..., Picture], **controls: Widget) -> WithTwin:
    """Return the control for each argument of `draw`, above the picture that it returns, drawn anew at each change."""

    def drawn() -> Picture:
        return draw(**{name: control.value for name, control in controls.items()})

    def redraw(change: object) -> None:
        panel.value = _page(drawn())

    twin = drawn()
    panel = HTML(_page(twin))
    for name, control in controls.items():
        control.description = name
        control.observe(redraw, names="value")
    return WithTwin(VBox([*controls.values(), panel]), twin)


def _page(picture: Picture) -> str:
    return f"<p aria-live='polite'>{picture.alt}</p>{picture.html}"
