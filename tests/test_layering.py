"""Imports go one way through the house, so that a reader can start at any folder and only look left."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "dlhelpers"
FLOORS = [
    ["base"],
    ["machine", "data", "show"],
    ["train", "packed"],
    ["measure"],
    ["explore"],
    ["course"],
]
FLOOR = {folder: height for height, folders in enumerate(FLOORS) for folder in folders}
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.name != "__main__.py")


def imports(path):
    """Yield (folder, line, function that the import stands in or None) of each import from the package."""
    tree = ast.parse(path.read_text("utf-8"))
    inside = {
        id(node): function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}, line {node.lineno}: a relative import"
            names = [node.module]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name.startswith("dlhelpers."):
                yield name.split(".")[1], node.lineno, inside.get(id(node))


def test_the_root_holds_folders_and_two_files():
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(FLOOR)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_from_its_own_folder_and_from_lower_floors(path):
    own = path.relative_to(ROOT).parts[0]
    for folder, line, function in imports(path):
        draws = function == "plot" and folder == "show"
        assert function is None or draws, f"line {line}: an import inside {function}"
        assert folder == own or FLOOR[folder] < FLOOR[own], f"line {line}: {own} imports {folder}"
