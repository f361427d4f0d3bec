"""The set-up cell of every lesson as Colab would run it: in an environment that has torch and not dlhelpers.

The environment is a new one that sees each installed package but three, and Colab's own modules are stand-ins. The
course comes from this folder, packed as its host packs it.
"""

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from addresses import ROOT
from test_layout import tracked

MISSING = ("dlhelpers", "webdataset", "braceexpand")  # what Colab has not
UNREACHABLE = (
    "Could not find a version",
    "Failed to establish a new connection",
    "NameResolutionError",
)
SHELL = "from IPython.core.interactiveshell import InteractiveShell\n\n\nclass Shell(InteractiveShell):\n    pass\n"
OUTPUT = "calls = []\n\n\ndef enable_custom_widget_manager():\n    calls.append('widgets')\n"
RUN = """
import importlib.metadata, json, sys
from google.colab import output
from google.colab._shell import Shell
from IPython.utils.io import capture_output

cell, names = json.loads(sys.argv[1])
shell, told = Shell.instance(), []
def versions():
    return {name: importlib.metadata.version(name) for name in names}
before = versions()
for attempt in range(2):
    with capture_output() as captured:
        result = shell.run_cell(cell)
    told.append([captured.stdout + captured.stderr, repr(result.error_in_exec or "")])
found = importlib.util.find_spec("dlhelpers")
print(json.dumps({"told": told, "same": before == versions(), "widgets": len(output.calls),
                  "from": found.origin if found else None}))
"""


def set_up_cells():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        yield "".join(json.loads(path.read_text("utf-8"))["cells"][1]["source"])


def test_the_set_up_cell_is_one_and_short():
    (cell,) = {re.sub(r'"\d\d [0-9a-f]{8}"', "", cell) for cell in set_up_cells()}
    assert len(cell.strip().splitlines()) <= 8


@pytest.fixture(scope="module")
def colab(tmp_path_factory):
    """An environment like Colab's; returns a function that runs a cell twice in it, and tells what came of it."""
    if sys.platform == "win32":
        pytest.skip("Colab runs on Linux, and links want rights on Windows")
    home = tmp_path_factory.mktemp("colab")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "venv"], check=True)
    python = home / "venv/bin/python"
    there = home / "preinstalled"
    there.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.removeprefix("_editable_impl_").startswith(MISSING):
            (there / path.name).symlink_to(path)
    (site,) = (home / "venv/lib").glob("python*/site-packages")
    (site / "preinstalled.pth").write_text(f"{there}\n")
    (site / "google/colab").mkdir(parents=True)
    for name, text in (("__init__", ""), ("_shell", SHELL), ("output", OUTPUT)):
        (site / f"google/colab/{name}.py").write_text(text)
    names = ("torch", "torchvision", "numpy", "matplotlib", "ipywidgets", "pip")

    def run(cell, **variables):
        environment = {
            name: value for name, value in os.environ.items() if name != "PYTHONPATH"
        } | variables
        environment |= {"IPYTHONDIR": str(home / "ipython"), "DLHELPERS_DEVICE": "cpu"}
        command = [python, "-c", RUN, json.dumps([cell, names])]
        done = subprocess.run(
            command, cwd=home, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def with_course_from(cell, address):
    start, end = cell.index("https://"), cell.index('.zip"') + len(".zip")
    return cell[:start] + address + cell[end:]


def test_colab_without_a_network_is_told_what_to_do_and_then_installs_the_course_and_nothing_else(
    colab, tmp_path
):
    cell = next(set_up_cells())
    lost = colab(with_course_from(cell, (tmp_path / "absent.zip").as_uri()), PIP_NO_INDEX="1")
    assert lost["from"] is None and lost["same"]
    assert "No dlhelpers: choose the course's kernel; on Colab, go online" in lost["told"][0][1]

    archive = tmp_path / "main.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in tracked():
            if path.relative_to(ROOT).parts[0] in (
                "dlhelpers",
                "tools",
                "pyproject.toml",
                "README.md",
                "LICENSE",
            ):
                packed.write(path, Path("course-main", path.relative_to(ROOT)))
    found = colab(with_course_from(cell, archive.as_uri()))
    (first, error), again = found["told"]
    if any(words in first for words in UNREACHABLE):
        pytest.skip("the package index is out of reach")
    assert error == repr("") and "site-packages/dlhelpers" in found["from"], first
    assert found["same"], "a package that was there before has another version now"
    assert "This runtime computes on: cpu. For a GPU: Runtime, Change runtime type" in first
    assert again == ["", repr("")] and found["widgets"] == 2
