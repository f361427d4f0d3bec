"""Code of the library that a lesson shows is the library's code, docstrings aside.

A cell with the tag `helper:module.function` must hold the very definition of `dlhelpers.module`: the same tree, so the
same names, annotations and defaults, and the same comments. Imports that the definition needs may stand above it.
"""

import ast
import io
import tokenize
from pathlib import Path

import nbformat
import pytest
from run_notebooks import ROOT, lessons

DEFINITIONS = (ast.FunctionDef, ast.ClassDef)
SHOWN = [
    pytest.param(cell, tag.removeprefix("helper:"), id=f"{path.stem}-{cell.id}")
    for path in lessons()
    for cell in nbformat.read(path, as_version=4).cells
    for tag in cell.metadata.get("tags", [])
    if tag.startswith("helper:")
]


def without_docstrings(node):
    """Return a definition as text, its own docstring and those inside it left out."""
    for part in ast.walk(node):
        if isinstance(part, DEFINITIONS) and ast.get_docstring(part) is not None:
            part.body = part.body[1:] or [ast.Expr(ast.Constant(...))]
    return ast.dump(node, indent=1)


def definition(source, name):
    """Return a definition's tree as text and its comments in order; those to tools (`# fmt:`) left out."""
    node = next(
        (n for n in ast.parse(source).body if isinstance(n, DEFINITIONS) and n.name == name), None
    )
    assert node is not None, f"no definition of {name}"
    text = ast.get_source_segment(source, node)
    comments = [
        t.string
        for t in tokenize.generate_tokens(io.StringIO(text).readline)
        if t.type == tokenize.COMMENT
    ]
    return without_docstrings(node), [c for c in comments if not c.startswith(("# fmt:", "# noqa"))]


def compare(cell, helper):
    """Hold a cell against the library; raises AssertionError where they differ or the cell defines something else."""
    module, _, name = helper.rpartition(".")
    library = (Path(ROOT) / "dlhelpers" / f"{module.replace('.', '/')}.py").read_text(
        encoding="utf-8"
    )
    assert definition(cell.source, name) == definition(library, name)
    allowed = (*DEFINITIONS, ast.Import, ast.ImportFrom)
    other = [node for node in ast.parse(cell.source).body if not isinstance(node, allowed)]
    assert not other, "a cell that shows a helper holds nothing else"


@pytest.mark.parametrize(("cell", "helper"), SHOWN)
def test_shown_code_is_library_code(cell, helper):
    compare(cell, helper)
