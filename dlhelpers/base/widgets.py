"""How a widget is shown beside a form that needs no kernel."""

from typing import Any


def view_of(widget: Any) -> dict[str, Any]:
    """Return an ipywidget as an entry of a MIME bundle, to stand beside its text and HTML."""
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return {"application/vnd.jupyter.widget-view+json": view}
