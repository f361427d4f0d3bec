"""The table of benchmarks and the README's chart say what was measured and kept, and whether its code is of today."""

import re
import subprocess

import pytest
from addresses import ROOT
from PIL import Image

SCRIPTS = re.search(r"(?m)^ONLY \?= (.+)$", (ROOT / "Makefile").read_text("utf-8"))[1].split()


@pytest.fixture
def table(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import table

    return table


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_benchmark_has_kept_machine_versions_figures_and_a_picture(table, name):
    report = table.kept(name)
    assert report["machine"]["cores"] and report["versions"]["torch"]
    assert report["panels"] and report["goals"]
    assert (ROOT / f"benchmarks/results/{name}.png").stat().st_size > 1000
    assert (ROOT / f"benchmarks/{name}.py").is_file() and name in table.CODE


def test_the_table_and_the_chart_are_those_that_the_command_writes(table):
    page, readme = (
        (ROOT / name).read_text("utf-8") for name in ("benchmarks/README.md", "README.md")
    )
    stale = "stale: python benchmarks/table.py"
    # a star comes with the next change of code: the command sets it, and no change waits for it
    assert table.table().replace("*", "") in page.replace("*", ""), stale
    [alt] = re.findall(r"!\[(.*)\]\(docs/images/measured.png\)", readme)
    assert table.sentence().replace("*", "") == alt.replace("*", ""), stale
    with Image.open(table.CHART) as chart:
        assert chart.text["Description"] == alt, stale


def test_a_figure_is_of_old_code_once_code_and_not_a_comment_changes(table, tmp_path, monkeypatch):
    def git(*words):
        name = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        subprocess.run(["git", *name, *words], cwd=tmp_path, check=True, capture_output=True)

    code = tmp_path / "dlhelpers/train/loop.py"
    code.parent.mkdir(parents=True)
    code.write_text("lr = 1")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    monkeypatch.setattr(table, "ROOT", tmp_path)
    monkeypatch.setattr("report.ROOT", tmp_path / "benchmarks")
    monkeypatch.setattr(table, "kept", lambda name: {"commit": "HEAD"})
    code.write_text("lr = 1  # a comment")
    assert not table.changed("loop_overhead")
    code.write_text("lr = 2")
    assert table.changed("loop_overhead")
    code.write_text("lr = 1")
    (code.parent / "new.py").write_text("more = 1")
    git("add", ".")
    assert table.changed("loop_overhead")
    monkeypatch.setattr(table, "kept", lambda name: {"commit": "1234567"})
    assert table.changed("loop_overhead")
