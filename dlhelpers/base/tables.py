"""Small tables that read the same in a notebook, on a terminal and in a screen reader.

Two forms: HTML with real header cells, and aligned plain text. No styling beyond that.
"""

from collections.abc import Sequence
from html import escape


class Table:
    """Rows of values under headers, shown as HTML in a notebook and as aligned text elsewhere.

    >>> print(Table(["what", "number"], [["samples", 75], ["batches", 3]]))
    what     number
    samples  75
    batches  3
    """

    def __init__(
        self, headers: Sequence[str], rows: Sequence[Sequence[object]], *, notes: Sequence[str] = ()
    ):
        self.headers = [str(name) for name in headers]
        self.rows = []
        self.notes = list(notes)
        for row in rows:
            if not hasattr(row, "__len__") or isinstance(row, str) or len(row) != len(headers):
                expected = f"expected a list of {len(headers)} values, one for each header"
                raise ValueError(f"row {len(self.rows)} is {row!r}: {expected}")
            self.rows.append([str(value) for value in row])

    def __repr__(self) -> str:
        lines = [self.headers, *self.rows]
        widths = [max(len(line[k]) for line in lines) for k in range(len(self.headers))]
        text = [
            "  ".join(v.ljust(w) for v, w in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([*text, *(f"Note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        left = 'style="text-align:left"'
        head = "".join(f'<th scope="col" {left}>{escape(name)}</th>' for name in self.headers)
        body = "".join(
            "<tr>" + "".join(f"<td {left}>{escape(value)}</td>" for value in row) + "</tr>"
            for row in self.rows
        )
        notes = "".join(f"<p><strong>Note:</strong> {escape(note)}</p>" for note in self.notes)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"


class ShownAsTable:
    """For results that have a `table()`: it is how they show themselves, in a notebook and elsewhere."""

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()
