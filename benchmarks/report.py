"""What each benchmark prints and keeps: machine, versions, medians with quartiles, figures to reach, JSON, a picture.

A benchmark makes one `Report`, adds panels of measured values and figures to reach, and saves it to results/NAME.json
and results/NAME.png. With --quick, which tries a script and measures nothing worth keeping, both go to build/.
"""

import argparse
import gc
import json
import os
import platform
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import torch
from drawing import draw

from dlhelpers.machine import cores, human_bytes, pick_device

Arm = Callable[[int], float]  # takes the number of the round, and returns what it measured
CPU = Path("/proc/cpuinfo")  # where Linux names the chip
ROOT = Path(__file__).resolve().parent


def options(text: str | None) -> argparse.ArgumentParser:
    """Return a parser that shows a script's docstring and knows --quick."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="a small run that only tries the script"
    )
    return parser


def take_turns(arms: Mapping[str, Arm], rounds: int) -> dict[str, list[float]]:
    """Run all arms round by round, forwards and backwards in turn; round 0 warms up and is not kept."""
    found: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name in list(arms) if number % 2 else reversed(list(arms)):
            gc.collect()
            value = arms[name](number)
            found[name] += [value] if number else []
    return found


def paired(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Return the ratio of each round's two values: drifts of the machine, which both share, cancel."""
    return [value / one for value, one in zip(values, base, strict=True)]


def middle(values: Sequence[float]) -> float:
    """Return the median."""
    return float(np.median(values))


def git(*words: str) -> str:
    """Return what git prints in the course's folder; CalledProcessError where it fails."""
    command = ["git", "-C", ROOT.parent, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def commit() -> str:
    """Return the commit that is measured, with "-dirty" where a file differs, results aside; "" without git."""
    with suppress(subprocess.CalledProcessError):
        differs = git("status", "--porcelain", "-uno", "--", ".", ":!benchmarks/results")
        return git("rev-parse", "--short", "HEAD").strip() + ("-dirty" if differs else "")
    return ""


class Report:
    """Panels and figures to reach of one benchmark, printed as they come.

    packages   whose versions are told; one that is not installed is told to be left out
    """

    def __init__(
        self, name: str, question: str, packages: Sequence[str] = (), *, quick: bool = False
    ):
        told = CPU.read_text().splitlines() if CPU.is_file() else []
        chip = [line.split(":")[1].strip() for line in told if line.startswith("model name")]
        load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
        self.machine = {
            "chip": (chip or [platform.processor() or platform.machine()])[0],
            "cores": cores(),
            "memory": human_bytes(psutil.virtual_memory().total),
            "system": f"{platform.system()} {platform.release()}",
            "device": str(pick_device()),
            "torch threads": torch.get_num_threads(),
            "load before the start": load,
        }
        self.name, self.question, self.quick = name, question, quick
        self.panels: list[dict] = []
        self.goals: list[dict] = []
        self.missing = [package for package in packages if not installed(package)]
        there = ["torch", "numpy", *(p for p in packages if p not in self.missing)]
        self.versions = {"python": platform.python_version()} | {
            package: version(package) for package in there
        }
        print(question, *(f"{key}: {value}" for key, value in self.machine.items()), sep="\n")
        print(", ".join(f"{name} {number}" for name, number in self.versions.items()))
        for name in self.missing:
            print(f"left out: {name} is not installed, the extra `bench` has it")

    def panel(
        self,
        title: str,
        unit: str,
        rows: Mapping[str, Sequence[float]],
        *,
        ours: Collection[str] = (),
    ) -> None:
        """Print and keep values by name, each with its median and quartiles; `ours` are drawn in another colour."""
        kept = {}
        width = max(len(name) for name in rows) + 2
        print(f"\n{title} ({unit})\n{'':{width}}{'median':>12}{'quartiles':>26}{'values':>8}")
        for name, values in rows.items():
            low, median, high = (float(part) for part in np.percentile(values, [25, 50, 75]))
            kept[name] = {
                "median": median,
                "low": low,
                "high": high,
                "values": [float(value) for value in values],
            }
            print(
                f"{name:{width}}{median:12.4g}{f'{low:.4g} to {high:.4g}':>26}{len(values):8}",
                flush=True,
            )
        self.panels.append({"title": title, "unit": unit, "ours": [*ours], "rows": kept})

    def goal(self, what: str, figure: float, relation: str, bound: float) -> None:
        """Print and keep whether a figure is as asked: `relation` is ">=" or "<="."""
        reached = bool(figure >= bound if relation == ">=" else figure <= bound)
        asked = f"{relation} {bound:g}"
        kept = {"what": what, "figure": float(figure), "asked": asked, "reached": reached}
        self.goals.append(kept)
        words = "reached" if reached else "MISSED"
        print(f"{words:8}{figure:10.4g}   (asked {asked})   {what}", flush=True)

    def save(self) -> None:
        """Write JSON and picture."""
        folder = ROOT.parent / "build/benchmarks" if self.quick else ROOT / "results"
        folder.mkdir(parents=True, exist_ok=True)
        kept = {
            "benchmark": self.name,
            "question": self.question,
            "date": date.today().isoformat(),
            "commit": commit(),
            "machine": self.machine,
            "versions": self.versions,
            "missing": self.missing,
            "panels": self.panels,
            "goals": self.goals,
        }
        text = json.dumps(kept, indent=1)
        (folder / f"{self.name}.json").write_text(text + "\n", encoding="utf-8")
        draw(kept, folder / f"{self.name}.png")
        print(
            f"\nwritten to {(folder / self.name).relative_to(ROOT.parent).as_posix()}.json and .png"
        )


def installed(package: str) -> bool:
    """Say whether a package can be imported, without importing it."""
    module = {"pytorch-ignite": "ignite", "pillow": "PIL"}.get(package, package)
    return find_spec(module) is not None
