"""Tests of the package as a whole: its examples are true, and importing it is cheap."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import dlhelpers

MODULES = [module.name for module in pkgutil.walk_packages(dlhelpers.__path__, "dlhelpers.")]
WITH_EXAMPLES = {
    "dlhelpers.base.sizes",
    "dlhelpers.data.batch_counts",
    "dlhelpers.train.loop",
    "dlhelpers.base.tables",
}
HEAVY = {
    "torch",
    "torchvision",
    "numpy",
    "matplotlib",
    "tqdm",
    "psutil",
    "ipywidgets",
    "sklearn",
    "PIL",
    "IPython",
}


def imported(statement):
    """The modules that a fresh Python holds after `statement`."""
    code = f"{statement}\nimport sys\nprint(' '.join(sys.modules))"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.failed == 0 and (found.attempted > 0 or name not in WITH_EXAMPLES)


def test_every_module_with_examples_is_among_those_tested():
    assert WITH_EXAMPLES <= set(MODULES)


def test_importing_the_package_imports_nothing_but_itself():
    new = imported("import dlhelpers") - imported("pass")
    assert new == {"dlhelpers"} and not new & HEAVY
