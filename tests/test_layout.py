"""The repository keeps its promises: one list of dependencies, a plain layout, code in one style."""

import ast
import os
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from oldest import oldest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from run_notebooks import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
FORMATTED = ("dlhelpers", "tests", "benchmarks", "examples", "tools", "docs/conf.py", "conftest.py")


def pip_section(path):
    environment = yaml.safe_load((ROOT / path).read_text("utf-8"))
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
    script = (ROOT / "binder/postBuild").read_text("utf-8").splitlines()
    assert script[0] == "#!/bin/bash" and "set -euo pipefail" in script
    assert script[3] == 'python -m pip install --no-cache-dir -e ".[course]"'
    assert os.access(ROOT / "binder/postBuild", os.X_OK) or sys.platform == "win32"


def test_colab_has_all_that_the_package_needs():
    lines = (ROOT / "tests/colab_versions.txt").read_text("utf-8").splitlines()
    installed = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert installed.pop("python") in SpecifierSet(PROJECT["requires-python"])
    needed = {
        Requirement(line).name: Requirement(line).specifier for line in PROJECT["dependencies"]
    }
    assert set(installed) == set(needed)
    assert [name for name, specifier in needed.items() if installed[name] not in specifier] == []


def test_every_requirement_is_a_range():
    assert "torch==2.10" in oldest()


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


def test_no_file_names_a_folder_of_somebodys_machine():
    folder = re.compile(r"(?<![\w/.:~*-])/(?:home|root|work|Users|content|mnt)/\w")
    mentions = []
    for path in tracked():
        if (
            path.suffix not in (".png", ".npz", ".ipynb") and path.name != "test_notebooks.py"
        ):  # lessons have a rule of their own
            mentions += [
                f"{path.name}: {line}"
                for line in path.read_text("utf-8").splitlines()
                if folder.search(line)
            ]
    assert mentions == []


def test_the_readme_is_short_and_names_the_two_commands():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 90
    assert "make lab" in text and "make test" in text
    assert not re.search(r"!\[\s*\]", text), "a picture without alt text"
    name = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["name"]
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


def test_what_a_public_function_takes_has_a_type():
    bare = []
    for path in (ROOT / "dlhelpers").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.returns and node.name[0] != "_":
                given = node.args
                every = *given.args, *given.kwonlyargs, given.vararg, given.kwarg
                untyped = [a.arg for a in every if a and not a.annotation]
                bare += [f"{node.name}({name})" for name in {*untyped} - {"self", "cls", "ctx"}]
    assert bare == []
