"""Tests of `start`: silent where all is well, clear where lessons and helpers do not fit, helpful on Colab."""

import json
import re
import sys
import types

import pytest
from addresses import ROOT

import dlhelpers
from dlhelpers.course import start

LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def colab(monkeypatch):
    """Stand in for Colab's own module, and note what was asked of it."""
    asked, package = [], types.ModuleType("google.colab")
    package.output = types.SimpleNamespace(
        enable_custom_widget_manager=lambda: asked.append("widgets")
    )
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", package)
    monkeypatch.setattr(start, "_said", set())
    return asked


def test_where_all_is_well_nothing_is_said(capsys):
    assert start.begin(dlhelpers.__version__) is None
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("version", ["0.0.1", "99.0.0"])
def test_helpers_of_another_version_are_named_with_the_remedy(version):
    with pytest.raises(
        RuntimeError, match=rf"for dlhelpers {version}, but .* has .*pip install -e \."
    ):
        start.begin(version)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_tasks_of_another_edition_are_told_once_and_stop_nobody(path, monkeypatch, capsys):
    monkeypatch.setattr(start, "_said", set())
    cell = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][1]["source"])
    version, tasks = re.search(r'begin\("(.+?)", "(.+?)"\)', cell).groups()
    assert version == dlhelpers.__version__
    start.begin(version, tasks)
    assert capsys.readouterr().out == ""
    for _ in range(2):
        start.begin(version, f"{path.name[:2]} 00000000")
    said = capsys.readouterr().out
    assert said.count("different editions") == 1 and f"lesson {path.name[:2]}" in said


def test_on_colab_the_device_is_named_once_and_widgets_are_on(colab, monkeypatch, capsys):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    start.begin(dlhelpers.__version__)
    first = capsys.readouterr().out
    start.begin(dlhelpers.__version__)
    assert "computes on: cpu. For a GPU: Runtime, Change runtime type" in first
    assert capsys.readouterr().out == "" and colab == ["widgets", "widgets"]
