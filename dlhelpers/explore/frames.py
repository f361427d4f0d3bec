"""One frame for every explorer: controls that redraw a picture, beside the same picture standing still.

A widget wraps ipywidgets 7.7 (Colab) or 8 and uses only what both have. The lessons never depend on it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dlhelpers.show.plots import Picture


@dataclass
class WithTwin:
    """A widget for a live notebook, and a picture for a page that only shows what was stored."""

    widget: Any
    twin: Picture

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        return {
            "text/plain": repr(self.twin),
            "text/html": self.twin.html,
            "application/vnd.jupyter.widget-view+json": view,
        }


def explorer(
    draw: Callable[..., Picture], **controls: tuple[int, int, int] | bool
) -> WithTwin | Picture:
    """Return a control for each argument of `draw`, above the picture that it returns, drawn anew at each change.

    Three numbers make a slider (where it stands at first, its least and its greatest value), True or False a checkbox.
    Without ipywidgets the first picture alone is returned.
    """
    first = {name: c if isinstance(c, bool) else c[0] for name, c in controls.items()}
    twin = draw(**first)
    try:
        import ipywidgets
    except ImportError:
        return twin
    panel, widgets = ipywidgets.HTML(_page(twin)), {}
    for name, control in controls.items():
        if isinstance(control, bool):
            widgets[name] = ipywidgets.Checkbox(control, description=name)
        else:
            widgets[name] = ipywidgets.IntSlider(*control, description=name)

    def redraw(change: object) -> None:
        panel.value = _page(draw(**{name: widget.value for name, widget in widgets.items()}))

    for widget in widgets.values():
        widget.observe(redraw, names="value")
    return WithTwin(ipywidgets.VBox([*widgets.values(), panel]), twin)


def _page(picture: Picture) -> str:
    return f"<p aria-live='polite'>{picture.alt}</p>{picture.html}"
