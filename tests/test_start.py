"""Tests of `start`: silent where all is well, clear where lessons and helpers do not fit, helpful on Colab."""

import sys
import types

import pytest

import dlhelpers
from dlhelpers.course import start


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


def test_on_colab_the_device_is_named_once_and_widgets_are_on(colab, monkeypatch, capsys):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    start.begin(dlhelpers.__version__)
    first = capsys.readouterr().out
    start.begin(dlhelpers.__version__)
    assert "computes on: cpu. For a GPU: Runtime, Change runtime type" in first
    assert capsys.readouterr().out == "" and colab == ["widgets", "widgets"]
