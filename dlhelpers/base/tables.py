"""Small tables that read the same in a notebook, on a terminal and in a screen reader.

Two forms: HTML with real header cells, and aligned plain text. No styling beyond that.
"""

from collections.abc import Iterable, Sequence
from html import escape


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

    def _repr_html_(self) -> str:
        left = 'style="text-align:left"'
        head = "".join(f'<th scope="col" {left}>{escape(name)}</th>' for name in self.headers)
        body = ""
        for row in self.rows:
            cells = "".join(f"<td {left}>{escape(value)}</td>" for value in row)
            body += f"<tr>{cells}</tr>"
        notes = "".join(f"<p><strong>Note:</strong> {escape(note)}</p>" for note in self.notes)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"


class ShownAsTable:
    """For results that have a `table()`: it is how they show themselves, in a notebook and elsewhere."""

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()
