"""What a task says back, and when two answers count as the same."""

import math
import re
from dataclasses import dataclass
from html import escape
from typing import Any

WORDS = {
    "open": "Not answered yet",
    "noted": "Noted",
    "right": "Right",
    "wrong": "Not yet",
    "missed": "Not so",
    "hint": "Hint",
    "solution": "Solution",
    "result": "Result",
}
COLOURS = {"right": "#009E73", "wrong": "#D55E00", "missed": "#D55E00"}


@dataclass(frozen=True)
class Reply:
    """What a task says back: its kind in a word, and the message; the same text in a notebook and on a terminal."""

    kind: str
    text: str

    def __repr__(self) -> str:
        return f"{WORDS[self.kind]}: {self.text}"

    def _repr_html_(self) -> str:
        style = f"border-left:4px solid {COLOURS.get(self.kind, '#0072B2')};padding-left:0.8em;white-space:pre-wrap"
        word, text = f"<strong>{WORDS[self.kind]}:</strong>", escape(self.text)
        if self.kind != "solution":
            text = re.sub("`([^`\n]+)`", r"<code>\1</code>", text)
        if (
            self.kind == "result"
        ):  # nobody has predicted: keep the answer folded, also on a page that is only read
            summary = "<summary>Predict first, then open the result</summary>"
            return f'<details style="{style}">{summary}{word} {text}</details>'
        tag = "pre" if self.kind == "solution" else "span"
        return f'<div style="{style}">{word} <{tag}>{text}</{tag}></div>'


def same(one: Any, other: Any, tolerance: float = 1e-6) -> bool:
    """Say whether two answers are equal: numbers within `tolerance`, tensors and lists part by part, else by ==."""
    one, other = (value.tolist() if hasattr(value, "tolist") else value for value in (one, other))
    if isinstance(one, bool) is not isinstance(other, bool):
        return False
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(
            same(a, b, tolerance) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=tolerance, abs_tol=1e-9)
    return type(one) is type(other) and one == other


def show_value(value: Any) -> str:
    """Return a value as a message shows it: long numbers short, long lists cut."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = str(value)
    return text if len(text) < 60 else text[:57] + "..."
