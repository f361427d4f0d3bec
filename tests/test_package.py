"""Tests of the package as a whole: its examples are true, and importing it is cheap."""

import doctest
import importlib
import pkgutil
import re
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


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.failed == 0 and (found.attempted > 0 or name not in WITH_EXAMPLES)


def test_the_package_imports_nothing_but_itself_and_version_help_and_progress_need_no_torch():
    code = """
import sys
before = set(sys.modules)
import dlhelpers
assert {*sys.modules} - before == {"dlhelpers"}
from dlhelpers.__main__ import main
for option in ("--help", "--version"):
    try:
        main([option])
    except SystemExit:
        assert not {"torch", "numpy"} & {*sys.modules}
import dlhelpers.course.tasks
assert "torch" not in sys.modules
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"dlhelpers \d+\.\d+\.\d+", said.stdout.splitlines()[-1])
