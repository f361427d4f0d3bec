"""The repository keeps its promises: one list of dependencies, a plain layout, documented modules, a safe install."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = sorted((ROOT / "dlhelpers").rglob("*.py"))
FORMATTED = ("dlhelpers", "tests", "benchmarks", "examples", "tools", "docs/conf.py", "conftest.py")
each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))


def pip_section(path):
    environment = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    return environment["dependencies"], next(
        d["pip"] for d in environment["dependencies"] if isinstance(d, dict)
    )


# ---- one list of dependencies ----


def test_conda_installs_the_same_list():
    conda, pip = pip_section("environment.yml")
    extras = PROJECT["optional-dependencies"]
    assert pip == [*PROJECT["dependencies"], *extras["course"], *extras["test"]]
    assert conda[:2] == [f"python{PROJECT['requires-python']}", "pip"]


def test_binder_installs_torch_for_the_cpu_and_then_the_course():
    conda, pip = pip_section("binder/environment.yml")
    torch = [
        line
        for line in PROJECT["dependencies"]
        if Requirement(line).name in ("torch", "torchvision")
    ]
    assert pip == ["--index-url https://download.pytorch.org/whl/cpu", *torch]
    version = conda[0].removeprefix("python=")
    assert version in SpecifierSet(PROJECT["requires-python"])
    assert version in ("3.11", "3.12", "3.13", "3.14"), "repo2docker has locks for these"
    script = (ROOT / "binder/postBuild").read_text(encoding="utf-8").splitlines()
    assert script[0] == "#!/bin/bash" and "set -euo pipefail" in script
    assert script[3] == 'python -m pip install --no-cache-dir -e ".[course]"'
    assert os.access(ROOT / "binder/postBuild", os.X_OK) or sys.platform == "win32"


def test_colab_has_all_that_the_package_needs():
    lines = (ROOT / "tests/colab_versions.txt").read_text(encoding="utf-8").splitlines()
    installed = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert installed.pop("python") in SpecifierSet(PROJECT["requires-python"])
    needed = {
        Requirement(line).name: Requirement(line).specifier for line in PROJECT["dependencies"]
    }
    assert set(installed) == set(needed)
    assert [name for name, specifier in needed.items() if installed[name] not in specifier] == []


def test_every_requirement_is_a_range():
    extras = PROJECT["optional-dependencies"]
    for line in [*PROJECT["dependencies"], *extras["course"], *extras["test"]]:
        assert {s.operator for s in Requirement(line).specifier} == {">=", "<"}, line


# ---- layout ----


def tracked():
    """Return the files under version control, or all but hidden and built ones where there is no git."""
    git = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True
    )
    if git.returncode == 0:
        return [ROOT / line for line in git.stdout.splitlines() if (ROOT / line).is_file()]
    return [
        p
        for p in ROOT.rglob("*")
        if p.is_file() and not re.search(r"/(\.\w|build|\w+\.egg-info|__pycache__)", f"{p}")
    ]


def test_the_top_level_is_what_the_course_needs_and_no_more():
    expected = """README.md LICENSE CITATION.cff pyproject.toml environment.yml binder Makefile .ci .gitignore
                  conftest.py notebooks dlhelpers tests benchmarks docs examples tools .github .devcontainer"""
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} == set(expected.split())


def test_the_licence_is_mit():
    assert PROJECT["license"] == "MIT" and "MIT License" in (ROOT / "LICENSE").read_text(
        encoding="utf-8"
    )


def test_no_file_names_a_folder_of_somebodys_machine():
    folder = re.compile(r"(?<![\w/.:~*-])/(?:home|root|work|Users|content|mnt)/\w")
    mentions = []
    for path in tracked():
        if (
            path.suffix not in (".png", ".ipynb") and path.name != "test_notebooks.py"
        ):  # lessons have a rule of their own
            mentions += [
                f"{path.name}: {line}"
                for line in path.read_text(encoding="utf-8").splitlines()
                if folder.search(line)
            ]
    assert mentions == []


def test_the_readme_is_short_and_names_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 90
    assert "make lab" in text and "make test" in text
    for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", text):
        assert (ROOT / target).exists(), target
    assert not re.search(r"!\[\s*\]", text), "a picture without alt text"
    name = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["name"]
    assert f"activate {name} " in text, "the conda environment has another name"


# ---- the package ----


@pytest.mark.parametrize(
    "rule", [("check",), ("format", "--check", *FORMATTED)], ids=("check", "format")
)
def test_the_style_is_that_of_ruff(rule):
    result = subprocess.run(
        [sys.executable, "-m", "ruff", *rule], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stdout + result.stderr


@each_module
def test_a_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def public(tree):
    """Yield public functions, classes and methods: what a reader may call."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node)


@each_module
def test_everything_public_is_documented_and_typed(path):
    bare = []
    for node in public(ast.parse(path.read_text(encoding="utf-8"))):
        if not ast.get_docstring(node):
            bare.append(f"{node.name}: no docstring")
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            untyped = [
                a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")
            ]
            untyped += [
                a.arg for a in (node.args.vararg, node.args.kwarg) if a and a.annotation is None
            ]
            bare += [f"{node.name}: {', '.join(untyped)} without a type"] * bool(untyped)
            bare += [f"{node.name}: returns what?"] * (node.returns is None)
    assert bare == []


def test_the_package_imports_nothing_heavy():
    code = "import sys, dlhelpers; print(*{'torch', 'numpy', 'matplotlib', 'sklearn'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert result.stdout.strip() == ""
