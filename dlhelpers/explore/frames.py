"""One frame for every explorer: controls that redraw a picture, beside the same picture standing still.

A widget wraps ipywidgets 7.7 (Colab) or 8 and uses only what both have. The lessons never depend on it.
"""

from collections.abc import Callable
from typing import Any

from dlhelpers.show.plots import Picture

Slider = tuple[int, int, int]  # where it stands at first, its least and its greatest value


class WithTwin:
    """A widget for a live notebook, and a picture for a page that only shows what was stored."""

    def __init__(self, widget: Any, twin: Picture):
        self.widget, self.twin = widget, twin

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        return {**self.twin._repr_mimebundle_(), "application/vnd.jupyter.widget-view+json": view}


def explorer(draw: Callable[..., Picture], **controls: Slider | bool) -> WithTwin | Picture:
    """Return a control for each argument of `draw`, above the picture that it returns, drawn anew at each change.

    Three numbers make a slider, True or False a checkbox. Without ipywidgets the first picture alone is returned.
    Raises ValueError for a slider that would stand outside its range.
    """
    first = {}
    for name, control in controls.items():
        first[name] = control
        if isinstance(control, tuple):
            first[name], least, most = control
            if not least <= first[name] <= most:
                expected = f"expected {least} to {most}, as more could not be read or drawn in time"
                raise ValueError(f"{name} is {first[name]}: {expected}")
    try:
        import ipywidgets
    except ImportError:
        return draw(**first)
    panel, widgets = ipywidgets.HTML(), {}
    for name, control in controls.items():
        look = {"description": name, "style": {"description_width": "90px"}}
        if isinstance(control, tuple):
            widgets[name] = ipywidgets.IntSlider(*control, **look)
        else:
            widgets[name] = ipywidgets.Checkbox(control, **look)

    def redraw(_: object = None) -> Picture:
        picture = draw(**{name: widget.value for name, widget in widgets.items()})
        panel.value = f"<p aria-live='polite'>{picture.alt}</p>{picture.html}"
        return picture

    for widget in widgets.values():
        widget.observe(redraw, names="value")
    return WithTwin(ipywidgets.VBox([*widgets.values(), panel]), redraw())
