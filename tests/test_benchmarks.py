"""The table of figures in benchmarks/README.md says what the benchmarks have measured and kept, and nothing else."""

import json
import re

import pytest
from addresses import ROOT

SCRIPTS = re.search(r"(?m)^ONLY \?= (.+)$", (ROOT / "Makefile").read_text("utf-8"))[1].split()
ROWS = re.findall(
    r"(?m)^\|(.+)\| `(\w+)\.py` \|$",
    (ROOT / "benchmarks" / "README.md").read_text("utf-8"),
)


def kept(name):
    return json.loads((ROOT / "benchmarks/results" / f"{name}.json").read_text("utf-8"))


def figures(name):
    """All medians of a benchmark, and what it held against a bound."""
    report = kept(name)
    medians = [row["median"] for panel in report["panels"] for row in panel["rows"].values()]
    return [*medians, *(goal["figure"] for goal in report["goals"])]


def rounds_to(figure, shown):
    digits = len(shown.partition(".")[2])
    return f"{figure:.{digits}f}" == shown.replace(",", "")


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_benchmark_has_kept_machine_versions_figures_and_a_picture(name):
    report = kept(name)
    assert (
        report["machine"]["cores"]
        and report["versions"]["torch"]
        and report["panels"]
        and report["goals"]
    )
    assert (ROOT / f"benchmarks/results/{name}.png").stat().st_size > 1000
    assert (ROOT / f"benchmarks/{name}.py").is_file()


def test_the_table_shows_each_benchmark():
    assert {name for _, name in ROWS} == set(SCRIPTS)


@pytest.mark.parametrize(
    ("cells", "name"), ROWS, ids=lambda value: value if value in SCRIPTS else ""
)
def test_each_figure_of_the_table_was_measured(cells, name):
    what, *shown = cells.split("|")
    numbers = re.findall(r"\d[\d,]*(?:\.\d+)?", " ".join(shown))
    assert numbers, what
    assert [
        number for number in numbers if not any(rounds_to(f, number) for f in figures(name))
    ] == [], what
