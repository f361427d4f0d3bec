"""How a task looks: a tinted card that says its kind and state, still on a page and alive in a notebook.

Tints and edges are see-through colours over whatever ground is there, and words take the theme's own colour, so that a
card fits light and dark themes of JupyterLab, Colab and the site alike. Verdicts are white on solid colours, at least
4.5 : 1 (WCAG 2.2, criterion 1.4.3).
"""

import re
from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

from dlhelpers.base.widgets import view_of

LOOKS = {  # of each kind of task: icon, colour of the edge and the tint
    "predict": ("&#9670;", "#0072B2"),
    "question": ("?", "#E69F00"),
    "exercise": ("&#9998;", "#009E73"),
    "repair": ("&#9881;&#65038;", "#A8548A"),
}
VERDICTS = {"Right": "#00755A", "Not yet": "#B04A00", "Not so": "#B04A00"}
BOX = "max-width:800px;box-sizing:border-box;margin:6px 0;padding:12px 18px 14px;border-radius:10px"
EDGE = "border:1px solid #8885;border-left:6px solid {0};background:{0}17"
STYLE = """<style>
.dl-{kind} {{ {box};overflow:visible;{edge} }}
.dl-{kind} button.jupyter-button {{ background:{colour};color:{ink};font-weight:600;border-radius:7px;width:auto;
  padding:0 14px }}
.dl-{kind} button.dl-quiet {{ background:transparent;color:inherit;border:1px solid #8888;font-weight:400 }}
.dl-{kind} .widget-radio-box label {{ white-space:normal;height:auto;line-height:1.5;padding:3px 0 }}
.dl-{kind} .widget-html-content {{ font-size:14px;line-height:1.5;white-space:normal }}
</style>"""


def marked_up(text: str) -> str:
    """Return a text as HTML: code in backticks in the code font, words in double stars bold, line ends kept."""
    text = re.sub("`([^`\n]+)`", r"<code>\1</code>", escape(text, quote=False))
    text = re.sub(r"\*\*([^*\n]+)\*\*", r"<strong>\1</strong>", text)
    return text.replace("\n", "<br>")


def head(kind: str, state: str) -> str:
    """Return the first line of a card: icon and kind on the left, the state on the right."""
    small = "font-size:13px;font-weight:700;letter-spacing:.06em;opacity:.8"
    name = f'<span aria-hidden="true">{LOOKS[kind][0]}</span> {kind.upper()}'
    return (
        f'<div style="display:flex;{small};margin-bottom:4px"><span>{name}</span>'
        f'<span style="margin-left:auto;letter-spacing:0">{escape(state)}</span></div>'
    )


def verdict(word: str, text: str) -> str:
    """Return the box of a reply: its word, on a solid colour where it judges, and what it says."""
    colour = VERDICTS.get(word)
    solid = f"background:{colour};color:#fff;border-radius:5px;padding:1px 8px"
    box = "margin-top:10px;padding:8px 12px;border:1px solid #8885;border-radius:8px"
    return (
        f'<div style="{box}"><strong style="{solid if colour else ""}">{word}</strong> {text}</div>'
    )


def still(kind: str, content: str) -> str:
    """Return a card that only shows: its content, as HTML, in the tint of a kind."""
    colour = LOOKS[kind][1]
    return f'<div style="{BOX};line-height:1.5;{EDGE.format(colour)}">{content}</div>'


def alive(task: Any) -> dict[str, Any]:
    """Return the card of a task as a widget in Jupyter's form; from now on `task.redraw` draws it anew.

    A prediction has a field for a number, or a button for each choice, and a question has a list; an exercise is
    answered by code alone. A click that comes while a cell runs waits until the kernel is free.
    """
    import ipywidgets  # here, since it takes a while, and `progress` and the judges need none

    question = task.kind == "question"
    colour = LOOKS[task.kind][1]
    ink, edge = "#1c2430" if question else "#fff", EDGE.format(colour)
    style = STYLE.format(kind=task.kind, box=BOX, edge=edge, colour=colour, ink=ink)
    top, below = ipywidgets.HTML(), ipywidgets.HTML()

    def redraw() -> None:
        top.value = style + head(task.kind, task.state()) + marked_up(task.prompt)
        below.value = task.last.html()

    def button(text: str, work: Callable[[], object]) -> Any:
        made = ipywidgets.Button(description=text)
        made.on_click(lambda _: work())
        return made

    above, rows = [], []
    if question:
        # a list without a choice, so that nothing is answered by chance
        options = [(task.label(letter), letter) for letter in task.lettered]
        radio = ipywidgets.RadioButtons(options=options, value=None, layout={"width": "auto"})
        above, rows = [radio], [button("Answer", lambda: task.check(radio.value))]
    elif task.kind == "predict" and task.choices:
        rows = [button(choice, partial(task.predict, choice)) for choice in task.choices]
    elif task.kind == "predict":
        # sent when it is left: a click would overtake what was typed last
        field = ipywidgets.Text(
            description="a number", continuous_update=False, layout={"width": "190px"}
        )
        rows = [field, button("Predict", lambda: task.predict(field.value))]
    hint = button("Hint", task.hint)
    hint.add_class("dl-quiet")
    answers = ipywidgets.HBox([*rows, hint], layout={"flex_flow": "row wrap"})
    card = ipywidgets.VBox([top, *above, answers, below])
    card.add_class("dl-card")
    card.add_class(f"dl-{task.kind}")
    redraw()
    task.redraw = redraw
    return view_of(card)
