"""One frame for every explorer: controls beside a sentence and a picture, and still pictures where no kernel runs.

A widget wraps ipywidgets 7.7 (Colab) or 8 and uses only what both have. Their page sends the next value of a slider
once the kernel has dealt with the last one, so a fast drag skips positions and never piles up redraws.
"""

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
from matplotlib.axes import Axes

from dlhelpers.base.widgets import view_of
from dlhelpers.show.plots import Picture

# The variable is the width of a control's label.
STYLE = """<style>
.dl-explorer {--jp-widgets-inline-label-width: 180px; flex-flow: row wrap; gap: 0 24px}
.dl-explorer > .widget-html {flex: 1 1 400px}
.dl-explorer p, .dl-explorer ol {line-height: 1.4; margin: 0 0 8px; white-space: normal}
.dl-explorer ol {padding-left: 1.4em}
.dl-explorer small {display: block; font-size: 13px; width: 300px}
.dl-explorer .widget-label {text-align: left}
.dl-explorer .widget-checkbox .widget-label-basic {white-space: normal; line-height: 1.3}
.dl-explorer input[type=number] {font-weight: bold; text-align: right}
</style>"""


class Explorer:
    """A control for each argument of `draw`, beside the picture that it returns, drawn anew at each change.

    A live notebook shows it as a widget; a page that only shows what was stored has the pictures: that of the values at
    the start, and others with contrasting values.

    controls   a name with its unit and the value at the start; a slider has its two ends in addition, a menu its other
               words, a checkbox nothing
    tries      questions that a learner answers by moving something
    contrasts  the arguments for each further picture
    """

    def __init__(self, draw: Callable, controls: Sequence, tries: Sequence, contrasts: Sequence):
        start = [control[1] for control in controls]
        self.draw, self.controls = draw, controls  # the site draws frames of its own
        self.pictures = [draw(*values) for values in (start, *contrasts)]
        panel, column = ipywidgets.HTML(_page(self.pictures[0])), []

        def redraw(change: object = None) -> None:
            values = (widget.value for widget in column if widget.description)  # no slider has one
            panel.value = _page(draw(*values))

        self.redraw = redraw  # for what an explorer adds to its controls

        for name, value, *others in controls:
            if isinstance(value, bool):
                row = [ipywidgets.Checkbox(value, description=name, indent=False)]
            elif isinstance(value, str):
                row = [ipywidgets.Dropdown(options=[value, *others], description=name)]
            else:  # the field has the name that the handle of a slider lacks
                row = [ipywidgets.BoundedIntText(value, *others, description=name)]
                row.append(ipywidgets.IntSlider(value, *others, readout=False))
                ipywidgets.link(*((widget, "value") for widget in row))
            row[0].observe(redraw, names="value")
            column += row
        tasks = "".join(f"<li>{task}</li>" for task in tries)
        self.tries = f"<small>Try:<ol>{tasks}</ol></small>"
        column.append(ipywidgets.HTML(STYLE + self.tries))
        self.widget = ipywidgets.HBox([ipywidgets.VBox(column), panel])
        self.widget.add_class("dl-explorer")

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.pictures))

    def _repr_mimebundle_(self, **options: object) -> dict[str, Any]:
        first, *others = map(_page, self.pictures)
        fold = f"<details><summary>With other values</summary>{''.join(others)}</details>"
        html = f"{STYLE}<div class='dl-explorer'>{first}{self.tries}{fold}</div>"
        return {"text/plain": repr(self), "text/html": html} | view_of(self.widget)


def name_rows(ax: Axes, names: Sequence[str], width: float, xlabel: str) -> None:
    """Name the rows of a drawing, which stand at 0, 1, ... from the top, over an axis from 0 to `width`."""
    ax.set_yticks(range(len(names)), names)
    ax.set(xlim=(0, width), ylim=(len(names) - 0.5, -0.5), xlabel=xlabel, frame_on=False)


def _page(picture: Picture) -> str:
    return f"<p aria-live='polite'><b>{picture.alt}</b></p>{picture.html}"
