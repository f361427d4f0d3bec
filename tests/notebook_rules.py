"""What every lesson must keep: one function a rule, each yielding a complaint for each breach.

The rules are functions over a notebook, so that test_notebooks can also show each of them a broken miniature.
"""

import html
import re
from collections.abc import Iterator

from nbformat import NotebookNode

from dlhelpers.course.tasks import Exercise, Prediction, Question, Task

CLOSING = ["## What we saw", "## Exercises", "## Fine print", "## Further reading"]
HOME = (
    r"(?<![\w/.:~-])/(?:home|root|work|tmp|usr|Users|content|mnt|var|opt|private)/\w|\b[A-Z]:\\\w"
)
CALLS = {
    Prediction: [".predict(...)", ".reveal("],
    Question: [".check(...)"],
    Exercise: ["\n", ".check("],  # the task alone shows its card
}
CODE_SPAN = r"(?s)```.*?```|`[^`\n]*`"


def of_kind(book: NotebookNode, kind: str) -> list[NotebookNode]:
    """Return the cells of a kind that are not empty."""
    return [cell for cell in book.cells if cell.cell_type == kind and cell.source.strip()]


def prose(cell: NotebookNode) -> str:
    """Return a markdown cell without its code and without the addresses of its links."""
    return re.sub(r"\]\([^)]*\)", "]", re.sub(CODE_SPAN, " ", cell.source))


def texts(cell: NotebookNode) -> list[str]:
    """Return what a code cell's outputs say in plain text."""
    return [
        output.get("text", output.get("data", {}).get("text/plain", "")) for output in cell.outputs
    ]


def bundles(book: NotebookNode) -> Iterator[tuple[NotebookNode, NotebookNode]]:
    """Yield each output that a notebook displays, with its cell."""
    yield from (
        (cell, o.data) for cell in of_kind(book, "code") for o in cell.outputs if "data" in o
    )


def was_run(book: NotebookNode) -> Iterator[str]:
    cells = of_kind(book, "code")
    counts = [cell.execution_count for cell in cells]
    if counts != list(range(1, len(cells) + 1)):
        yield f"execution counts {counts} are not 1..{len(cells)}"
    if not any(cell.outputs for cell in cells):
        yield "no cell has an output: nothing would be compared"


def compared(book: NotebookNode) -> Iterator[str]:
    for cell in of_kind(book, "code"):
        if re.search(r"clear_output|display_id|NBVAL_", cell.source):
            yield f"{cell.id}: clear_output, display_id and NBVAL_ comments keep outputs from comparison"


def headings(book: NotebookNode) -> list[tuple[int, str]]:
    """Return level and line of each heading."""
    found: list[tuple[int, str]] = []
    for cell in of_kind(book, "markdown"):
        text = re.sub(r"(?s)```.*?```", "", cell.source)
        found += [
            (len(match[1]), match[0].strip()) for match in re.finditer(r"(?m)^(#{1,6}) .*$", text)
        ]
    return found


def headings_in_order(book: NotebookNode) -> Iterator[str]:
    found = headings(book)
    levels = [level for level, _ in found]
    if levels.count(1) != 1 or not re.match(r"# \w", book.cells[0].source):
        yield "there must be one heading of level 1, at the start of the first cell"
    for (before, _), (level, title) in zip(found, found[1:], strict=False):
        if level > before + 1:
            yield f"{title}: skips a level"
    closing = [title for level, title in found if level == 2][-4:]
    if closing != CLOSING:
        yield f"ends with {closing}, expected {CLOSING}"


def set_up(book: NotebookNode) -> Iterator[str]:
    cell = book.cells[1]
    if cell.id != "set-up" or cell.outputs:
        yield "the second cell must be the code cell `set-up`, and nothing may be printed"


def no_absolute_paths(book: NotebookNode) -> Iterator[str]:
    for cell in book.cells:
        outputs = cell.get("outputs", [])
        said = [
            str(value)
            for o in outputs
            for value in [o.get("text", ""), *o.get("data", {}).values()]
        ]
        text = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", "\n".join([*said, cell.source]))
        if found := re.search(HOME, text):
            yield f"{cell.id}: absolute path {text[found.start() : found.end() + 20]!r}"


def figures_speak(book: NotebookNode) -> Iterator[str]:
    for cell, data in bundles(book):
        if any(key.startswith("image/") for key in data):
            yield f"{cell.id}: a bare image has no alt text: use dlhelpers.show.plots.show"
        for tag in re.findall(r"<img\b[^>]*>", data.get("text/html", "")):
            alt = re.search(r'\balt="([^"]*)"', tag)
            if (
                not alt
                or not alt[1].strip()
                or f"Figure: {html.unescape(alt[1])}" not in data.get("text/plain", "").splitlines()
            ):
                yield f"{cell.id}: the image's alt text must be a sentence of its plain text"
    for cell in of_kind(book, "markdown"):
        if re.search(r"!\[\s*\]\(|<img(?![^>]*\balt=\"[^\"]+\")", cell.source):
            yield f"{cell.id}: an image without alt text"


def few_exempt(book: NotebookNode) -> Iterator[str]:
    exempt = [
        c
        for c in of_kind(book, "code")
        if {"nbval-ignore-output", "nbval-skip"} & {*c.metadata.get("tags", [])}
    ]
    for cell in exempt:
        if len(cell.metadata.get("reason", "").split()) < 4:
            yield f"{cell.id}: exempt from comparison without a reason in its metadata"
    printing = [cell for cell in of_kind(book, "code") if any(texts(cell))]
    silent = [cell for cell in exempt if any(texts(cell))]
    if 10 * len(silent) > len(printing):
        yield f"{len(silent)} of {len(printing)} cells that print are exempt, at most one in ten may be"


RULES = [
    was_run,
    compared,
    headings_in_order,
    set_up,
    no_absolute_paths,
    figures_speak,
    few_exempt,
]


def tasks_are_used(book: NotebookNode, tasks: dict[str, Task]) -> Iterator[str]:
    """Tasks by their name `lesson_NN.variable`: enough of each kind, each shown as a card and asked, unsolved."""
    for kind, least in ((Prediction, 3), (Exercise, 2), (Question, 1)):
        if (number := sum(isinstance(task, kind) for task in tasks.values())) < least:
            yield f"{number} {kind.kind}s, at least {least}"
    code = "".join(f"{cell.source}\n" for cell in of_kind(book, "code"))
    for name, task in tasks.items():
        yield from (
            f"{name}: no cell has {name}{call.rstrip()}"
            for call in CALLS[type(task)]
            if f"{name}{call}" not in code
        )


NO_EXPLORER = "lesson_14."  # its messages are what one plays with


def shape_of_the_second_edition(book: NotebookNode, tasks: dict[str, Task]) -> Iterator[str]:
    """A lesson is short, lets the learner write early, repair and play, and shows more than `True`."""
    code, folded = of_kind(book, "code"), r"(?s)<details>.*?</details>"
    words = sum(len(re.sub(folded, "", prose(cell)).split()) for cell in of_kind(book, "markdown"))
    if len(book.cells) > 70 or words > 2000:
        yield f"{len(book.cells)} cells and {words} words outside folds, at most 70 and 2,000"
    for cell in code[1:]:
        yield from (
            f"{cell.id}: a line of {len(line)} characters, at most 84"
            for line in cell.source.splitlines()
            if len(line) > 84
        )
        yield from (
            f"{cell.id}: shows {line!r}: show the numbers that were compared"
            for text in texts(cell)
            for line in text.splitlines()
            if re.fullmatch(r"\W*(\b(True|False)\b\W*)+", line)
        )
    if not code[0].metadata.get("jupyter", {}).get("source_hidden"):
        yield "set-up: it has to be folded (jupyter.source_hidden, tag hide-input)"
    pictures = [cell.id for cell, data in bundles(book) if "<img" in data.get("text/html", "")]
    if len(pictures) < 3:
        yield f"{len(pictures)} cells with pictures, at least 3"
    expected = not any(name.startswith(NO_EXPLORER) for name in tasks)
    if (number := sum("explore_" in cell.source for cell in code)) != expected:
        yield f"{number} explorers, {expected:d} expected"
    written = [k for k, cell in enumerate(book.cells) if re.search(r"(?m)^ *\.\.\.$", cell.source)]
    if not written or 3 * written[0] > len(book.cells):
        yield "the learner has to write code in the first third"
    exercises = [task for task in tasks.values() if isinstance(task, Exercise)]
    if not any(task.given for task in exercises):
        yield "no exercise gives code to repair"
    for name, task in tasks.items():
        if isinstance(task, Prediction) and len(task.belief.split()) < 6:
            yield f"{name}: name the false belief that it tests, and where one meets it"
