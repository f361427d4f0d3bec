"""Small tables that read the same in a notebook, on a terminal and in a screen reader.

Two forms: HTML with real header cells, numbers on the right and no boxes, and aligned plain text.
"""

import re
from collections.abc import Iterable, Sequence
from html import escape

# a number with its unit, as "-1,024", "2.5 %" or "6.02 GB"; also nothing, as where it is unknown
NUMBER = r"|-?[\d,]+(\.\d+)?( ?(%|bytes|[kMGT]B|ms|s))?"


class Table:
    """Rows of values under headers, shown as HTML in a notebook and as aligned text elsewhere.

    >>> print(Table(["what", "number"], [["samples", 75], ["batches", 3]]))
    what     number
    samples  75
    batches  3
    """

    def __init__(
        self, headers: Sequence[str], rows: Iterable[Iterable[object]], notes: Sequence[str] = ()
    ):
        self.headers = headers
        self.rows = [[str(value) for value in row] for row in rows]
        self.notes = notes

    def __repr__(self) -> str:
        lines = [self.headers, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join([*text, *(f"Note: {note}" for note in self.notes)])

    def _repr_html_(self):
        sides = []
        for column in zip(*self.rows, strict=True):
            numbers = sum(re.fullmatch(NUMBER, value) is not None for value in column)
            sides.append("right" if 2 * numbers > len(column) else "left")  # "unknown" may be there
        head = _line("th", self.headers, sides or ["left"] * len(self.headers))
        body = "".join(_line("td", row, sides) for row in self.rows)
        notes = "".join(f"<p><strong>Note:</strong> {escape(note)}</p>" for note in self.notes)
        look = "border-collapse:collapse;font-variant-numeric:tabular-nums"
        return f'<table style="{look}"><thead>{head}</thead><tbody>{body}</tbody></table>{notes}'


def _line(tag, values, sides):
    cells = ""
    for value, side in zip(values, sides, strict=True):
        scope = ' scope="col"' if tag == "th" else ""
        look = f"text-align:{side};border:0;border-bottom:1px solid #8885;padding:4px 16px 4px 0"
        cells += f'<{tag}{scope} style="{look}">{escape(value)}</{tag}>'
    return f'<tr style="background:none">{cells}</tr>'


class ShownAsTable:
    """For results that have a `table()`: it is how they show themselves, in a notebook and elsewhere."""

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self):
        return self.table()._repr_html_()
