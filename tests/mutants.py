"""Break the helpers on purpose, one slip at a time, and ask whether a lesson and a test notice.

    python tests/mutants.py [NAME ...]

Each slip of `mutations.py` is made in a copy of the tree; there the lessons and tests named beside it run, each until
its first failure. The whole copy has to pass first. Ends with 1 where a slip goes unnoticed, or where lessons notice
fewer than half of them. Nothing is written into the tree itself.
"""

import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
from mutations import MUTATIONS, Mutation
from run_notebooks import ROOT

PARTS = {
    "dlhelpers",
    "tests",
    "notebooks",
    "docs",
    "examples",
    "binder",
    "benchmarks",
    "tools",
    "conftest.py",
    "pyproject.toml",
    "README.md",
    "Makefile",
    "environment.yml",
}
SECONDS = 300  # for the lessons of one slip, and again for its tests
HANG = "hangs"
ASKS = "import dlhelpers; assert dlhelpers.__path__ == ['{}/dlhelpers'], dlhelpers.__path__"
QUICK = """
from hypothesis import Phase, settings

settings.register_profile("quick", phases=[Phase.explicit, Phase.generate])  # a counter-example need not be small
settings.load_profile("quick")
"""


class Outcome(NamedTuple):
    """What became of a slip: the place that noticed it first among lessons and among tests, each "" where none did."""

    mutation: Mutation
    lesson: str
    test: str


def problems(mutation: Mutation, root: Path) -> Iterator[str]:
    """Yield what keeps a mutation from being tried: a text that is not there once, a name that leads nowhere."""
    path = root / "dlhelpers" / mutation.file
    source = path.read_text("utf-8") if path.is_file() else ""
    if source.count(mutation.old) != 1:
        yield f"{mutation.name}: {mutation.file} holds its old text {source.count(mutation.old)} times, not once"
    try:
        compile(source.replace(mutation.old, mutation.new), mutation.file, "exec")
    except SyntaxError as error:
        yield f"{mutation.name}: changed, {mutation.file} is no Python any more ({error})"
    if (
        mutation.old == mutation.new
        or not mutation.why.endswith(".")
        or not mutation.notebooks + mutation.tests
    ):
        yield f"{mutation.name}: it changes nothing, gives no reason, or names nobody who should notice"
    if missing := [
        name for name in mutation.notebooks.split() if len([*_lessons(root, name)]) != 1
    ]:
        yield f"{mutation.name}: there is no lesson {missing[0]}"
    for test in mutation.tests.split():
        file, _, name = test.partition("[")[0].partition("::")
        path = root / "tests" / file
        if not path.is_file() or (name and f"\ndef {name}(" not in path.read_text("utf-8")):
            yield f"{mutation.name}: there is no {test}"


def _lessons(root: Path, names: str) -> Iterator[Path]:
    for name in names.split():
        yield from (root / "notebooks").glob(f"{name}_*.ipynb")


@contextmanager
def copied(mutation: Mutation | None) -> Iterator[Path]:
    """Yield a copy of the tree with the mutation made; CalledProcessError where dlhelpers comes from elsewhere."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        return {*names} - PARTS if folder == str(ROOT) else {"__pycache__"}

    with tempfile.TemporaryDirectory(prefix="mutant-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder).resolve() / "tree"
        shutil.copytree(ROOT, copy, ignore=left_out)
        if mutation is not None:
            file = copy / "dlhelpers" / mutation.file
            source = file.read_text("utf-8")
            file.write_text(source.replace(mutation.old, mutation.new), "utf-8")
        with (copy / "conftest.py").open("a") as conftest:
            conftest.write(QUICK)
        (copy.parent / "tmp").mkdir()
        whose = [sys.executable, "-c", ASKS.format(copy)]
        subprocess.run(whose, cwd=copy, env=_surroundings(copy), check=True)
        yield copy


def _surroundings(copy: Path) -> dict[str, str]:
    path = os.pathsep.join([str(copy), *filter(None, [os.environ.get("PYTHONPATH")])])
    # to load the other plugins takes longer than many a test
    own = {"TMPDIR": str(copy.parent / "tmp"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return os.environ | own | {"PYTHONPATH": path}


def first_failure(copy: Path, targets: Iterable[str]) -> str:
    """Run pytest in a copy on some targets; return what failed first and why, HANG, or "" where all passed.

    RuntimeError where pytest could not run.
    """
    command = [sys.executable, "-m", "pytest", "-p", "nbval.plugin", "-p", "no:cacheprovider"]
    command += ["-x", "-q", "-rfE", "--tb=line", *targets]
    with open(copy.parent / "log", "w+", encoding="utf-8", errors="replace") as log:
        settings = {"cwd": copy, "env": _surroundings(copy), "stdout": log, "stderr": log}
        process = subprocess.Popen(command, **settings)
        try:
            code = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            _end(process)
            return HANG
        log.seek(0)
        text = log.read()
    if code < 0:
        return f"ended by signal {-code}"
    failed = re.findall(r"(?m)^(?:FAILED|ERROR) (.+)$", text)
    if code != bool(failed):
        raise RuntimeError(f"pytest ended with {code} in {copy}:\n{text[-3000:]}")
    return failed[0] if failed else ""


def _end(process: subprocess.Popen) -> None:
    """Kill a process and all below it: the kernels of lessons would go on for a while."""
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


def targets(mutation: Mutation) -> tuple[list[str], list[str]]:
    """Return the lessons and the tests that should notice a mutation, as pytest takes them."""
    lessons = [str(path.relative_to(ROOT)) for path in _lessons(ROOT, mutation.notebooks)]
    return lessons, [f"tests/{test}" for test in mutation.tests.split()]


def attempt(mutation: Mutation) -> Outcome:
    """Make a mutation in a copy, see who notices, and print it."""
    begin = time.perf_counter()
    with copied(mutation) as copy:
        seen = [first_failure(copy, those) if those else "" for those in targets(mutation)]
    told = " | ".join(one.partition(" - ")[0] or "-" for one in seen)
    print(f"{mutation.name}: {told} | {time.perf_counter() - begin:.0f} s", flush=True)
    return Outcome(mutation, *seen)


def sound(mutations: Iterable[Mutation], pool: ThreadPoolExecutor) -> list[str]:
    """Run in unchanged copies all that is to be run; return what fails there, where it would notice nothing."""
    asked: dict[str, set[str]] = defaultdict(set)
    for mutation in mutations:
        for target in itertools.chain(*targets(mutation)):
            asked[target.partition("::")[0]].add(target)

    def run(those: set[str]) -> str:
        with copied(None) as copy:
            return first_failure(copy, those)

    return [failed for failed in pool.map(run, asked.values()) if failed]


def main(names: list[str]) -> int:
    """Try all mutations, or those named; print who noticed each and the counts, and return the exit status."""
    chosen = [mutation for mutation in MUTATIONS if mutation.name in names or not names]
    found = [problem for mutation in chosen for problem in problems(mutation, ROOT)]
    if found or len(chosen) < len(names):
        print(*found, f"there are {len(chosen)} of {len(names)} names", sep="\n")
        return 1
    with ThreadPoolExecutor(2) as pool:
        try:
            if failed := sound(chosen, pool):
                print("without any mutation these fail already:", *failed, sep="\n")
                return 1
            outcomes = list(pool.map(attempt, chosen))
        finally:
            pool.shutdown(cancel_futures=True)
    survivors = [outcome.mutation for outcome in outcomes if not outcome.lesson + outcome.test]
    by_lesson = [outcome for outcome in outcomes if outcome.lesson]
    alone = [outcome.mutation.name for outcome in by_lesson if not outcome.test]
    print(f"{len(outcomes)} mutations, survivors: {len(survivors)}")
    for mutation in survivors:
        print(f"{mutation.name}: {mutation.why}")
    print(f"noticed by a lesson: {len(by_lesson)}; by a lesson alone: {len(alone)}", *alone)
    return int(bool(survivors) or 2 * len(by_lesson) < len(outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
