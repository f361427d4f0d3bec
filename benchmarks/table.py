"""Write the table of benchmarks/README.md, and chart and figures of README.md, from what the benchmarks kept.

    python benchmarks/table.py

A figure whose code has changed since it was measured gets a star: what is compared is the parsed code, so that a
comment changes nothing. A figure that was measured on no known commit has one, too.
"""

import ast
import json
import re
import subprocess
from math import inf
from pathlib import Path

from drawing import draw_bars
from report import git

ROOT = Path(__file__).resolve().parent.parent
CODE = {  # what each benchmark measures, below dlhelpers
    "ddp": ("train", "data"),
    "loop_overhead": ("train",),
    "out_of_core": ("packed", "train", "data"),
    "packed": ("packed", "data"),
    "packing": ("packed", "data"),
    "study": ("measure", "machine"),
}
CHART = ROOT / "docs/images/measured.png"
IMAGE = "![{}](docs/images/measured.png)"
ROWS = (  # what, benchmark, place of its panel, and our row
    ("a training loop, times the bare loop", "loop_overhead", 0, "fit"),
    ("a shuffled epoch of 32 x 32 images, thousand a second", "packed", 0, "packed, shuffle=True"),
    ("the same in batches of arrays, from blocks", "packed", 0, "packed, batches of arrays"),
    (
        "a shuffled epoch of 224 x 224 images, thousand a second",
        "packed",
        1,
        "packed, shuffle=True",
    ),
    ("packing JPEG files, images a second", "packing", 0, "packing, 2 processes"),
    ("two processes, samples a second", "ddp", 0, "fit, 2 processes"),
    ("largest batch size found under a cap of 400 MB", "study", 2, "study_batch_sizes"),
    ("the same where a watcher kills above 500 MB (0: killed)", "study", 4, "study_batch_sizes"),
)
REFERENCES = (
    "bare loop against",
    "bare loop, 1 process",
    "plain gather",
    "the true limit",
)  # no peers
NAMES = {"datasets": "Arrow", "pytorch-ignite": "ignite"}


def kept(name: str) -> dict:
    """Return what a benchmark kept."""
    return json.loads((ROOT / "benchmarks/results" / f"{name}.json").read_text(encoding="utf-8"))


def changed(name: str) -> bool:
    """Say whether the code that a benchmark measures is another one by now, or of a commit that nobody knows."""
    commit = kept(name).get("commit", "none")
    places = [f"dlhelpers/{folder}" for folder in CODE[name]]
    try:
        paths = git("diff", "--name-only", commit, "--", *places).split()
        return any(
            parsed(git("show", f"{commit}:{path}")) != parsed((ROOT / path).read_text("utf-8"))
            for path in paths
        )
    except (subprocess.CalledProcessError, FileNotFoundError):  # also a file that is new, or gone
        return True


def parsed(text: str) -> str:
    """Return what a file of Python does: comments, layout and docstrings left out."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str()) as docstring):
                docstring.value = ""
    return ast.dump(tree)


def shown(value: float) -> str:
    """Return a number with three digits, or a larger one whole."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def compared() -> list[tuple[str, str, float, float, str, float]]:
    """Return for each row: what, benchmark, our median, the best peer's median and name, and their ratio."""
    found = []
    for what, name, number, ours in ROWS:
        panel = kept(name)["panels"][number]
        rows = panel["rows"]
        peers = [row for row in rows if row not in panel["ours"] and not row.startswith(REFERENCES)]
        less = panel["unit"].startswith("times")  # is better
        best = (min if less else max)(peers, key=lambda peer: rows[peer]["median"])
        medians = rows[ours]["median"], rows[best]["median"]
        ratio = medians[0] / medians[1] if medians[1] else inf  # a peer that was killed found 0
        peer = re.sub(r" [\d.]+$", "", best)  # without its version
        found.append((what, name, *medians, NAMES.get(peer, peer), ratio))
    return found


def table() -> str:
    """Return the table in Markdown, with a star at what was measured on other code than today's."""
    lines = ["| | ours | best peer | ratio | by | commit |", "|---|---|---|---|---|---|"]
    for what, name, ours, best, peer, ratio in compared():
        commit = f"{kept(name).get('commit', 'unknown')}{'*' * changed(name)}"
        times = "" if ratio == inf else f"{ratio:.2f}"
        line = (what, shown(ours), f"{shown(best)} ({peer})", times, f"`{name}.py`", commit)
        lines.append(f"| {' | '.join(line)} |")
    for name in CODE:
        for goal in kept(name)["goals"]:
            if not goal["reached"]:
                asked = f"{goal['figure']:.2f}, asked {goal['asked']}"
                lines.append(f"\nNot reached: {goal['what']} ({asked}; `{name}.py`).")
    return "\n".join(lines)


def chart() -> dict[str, float]:
    """Return the bars of the chart, by what they say: our speed as a multiple of the best peer's."""
    bars = {}
    for what, name, _, _, peer, ratio in compared():
        if name in ("loop_overhead", "packed"):
            words = f"{what.partition(',')[0]}, against {peer}{'*' * changed(name)}"
            bars[words] = 1 / ratio if name == "loop_overhead" else ratio
    return bars


def sentence() -> str:
    """Return the chart in words."""
    bars = "; ".join(f"{words}: {times:.1f}" for words, times in chart().items())
    return f"Times the speed of the best peer: {bars}"


def main() -> None:
    """Write both pages and the chart."""
    draw_bars(chart(), "times the speed of the best peer", sentence(), CHART)
    pages = (
        ("README.md", r"!\[.*\]\(docs/images/measured.png\)", IMAGE.format(sentence())),
        ("benchmarks/README.md", r"(?s)\| \| ours .*?(?=\n\n[^N])", table()),
    )
    for name, old, new in pages:
        path = ROOT / name
        text = re.sub(old, lambda _, new=new: new, path.read_text(encoding="utf-8"))
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
