"""Break the helpers on purpose, one slip at a time, and ask whether a lesson and a test notice.

    python tests/mutants.py [--only NAME ...] [--jobs 2]

Each slip of `mutations.py` is made in a copy of the tree; there the lessons and tests named beside it run, each until
its first failure. The whole copy has to pass first. Ends with 1 where a slip goes unnoticed, or where lessons notice
fewer than half of them. Nothing is written into the tree itself.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import nbformat
import psutil
from mutations import MUTATIONS, Mutation
from nbformat.v4 import new_code_cell
from run_notebooks import ROOT

PARTS = (
    "dlhelpers",
    "tests",
    "docs",
    "examples",
    "binder",
    "benchmarks",
    "conftest.py",
    "pyproject.toml",
    "README.md",
    "Makefile",
    "environment.yml",
)
SECONDS = 300  # for the lessons of one slip, and again for its tests
HANG = "hangs"
PROBE = "tests/test_whose_dlhelpers.py"
ASKS = "import dlhelpers; assert dlhelpers.__path__ == ['{}/dlhelpers'], dlhelpers.__path__"
QUICK = """\
from hypothesis import Phase, settings

settings.register_profile("quick", phases=[Phase.explicit, Phase.generate])  # a counter-example need not be small
settings.load_profile("quick")


"""


class Outcome(NamedTuple):
    """What became of a slip: the place that noticed it first among lessons and among tests, each "" where none did."""

    mutation: Mutation
    lesson: str
    test: str
    seconds: float


def problems(mutation: Mutation, root: Path) -> Iterator[str]:
    """Yield what keeps a mutation from being tried: a text that is not there once, a name that leads nowhere."""
    path = root / "dlhelpers" / mutation.file
    source = path.read_text(encoding="utf-8") if path.is_file() else ""
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
        if not path.is_file() or (
            name and f"\ndef {name}(" not in path.read_text(encoding="utf-8")
        ):
            yield f"{mutation.name}: there is no {test}"


def _lessons(root: Path, names: str) -> Iterator[Path]:
    for name in names.split():
        yield from (root / "notebooks").glob(f"{name}_*.ipynb")


@contextmanager
def copied(tree: Path, mutation: Mutation | None) -> Iterator[Path]:
    """Yield a copy of the tree with the mutation made, and a test, PROBE, of whose dlhelpers is imported there."""
    with tempfile.TemporaryDirectory(prefix="mutant-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder).resolve() / "tree"
        for part in PARTS:
            (copy / part).parent.mkdir(parents=True, exist_ok=True)
            options = (
                {"ignore": shutil.ignore_patterns("__pycache__")} if (tree / part).is_dir() else {}
            )
            (shutil.copytree if options else shutil.copy)(tree / part, copy / part, **options)
        (copy / "notebooks").mkdir()
        for lesson in (tree / "notebooks").glob("*.ipynb"):
            shutil.copy(lesson, copy / "notebooks")
        if mutation is not None:
            file = copy / "dlhelpers" / mutation.file
            source = file.read_text(encoding="utf-8")
            file.write_text(source.replace(mutation.old, mutation.new), encoding="utf-8")
        (copy / PROBE).write_text(f"{QUICK}def test_whose_dlhelpers():\n    {ASKS.format(copy)}\n")
        (copy.parent / "tmp").mkdir()
        yield copy


def first_failure(copy: Path, targets: Iterable[str]) -> str:
    """Run pytest in a copy on some targets; return what failed first and why, HANG, or "" where all passed.

    RuntimeError where pytest could not run, or dlhelpers came from elsewhere.
    """
    paths = [str(copy), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "TMPDIR": str(copy.parent / "tmp"),
    }
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = (
        "1"  # to load the others takes longer than many a test
    )
    command = [sys.executable, "-m", "pytest", "-p", "nbval.plugin", "-p", "no:cacheprovider"]
    command += ["-x", "-q", "-rfE", "--tb=line", *targets]
    with open(copy.parent / "log", "w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(command, cwd=copy, env=environment, stdout=log, stderr=log)
        try:
            code = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            code = None
            _end(process)
        log.seek(0)
        text = log.read()
    failed = re.findall(r"(?m)^(?:FAILED|ERROR) (.+)$", text)
    if code is None:
        return HANG
    if code < 0:
        return f"ended by signal {-code}"
    if code == 0 and not failed:
        return ""
    if (
        code != 1
        or not failed
        or failed[0].startswith((PROBE, *[f"{target}::Cell 0" for target in targets]))
    ):
        raise RuntimeError(
            f"pytest {' '.join(targets)} ended with {code} in {copy}:\n{text[-3000:]}"
        )
    return failed[0]


def _end(process: subprocess.Popen) -> None:
    """Kill a process and all below it: the kernels of lessons would go on for a while."""
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


def failing_cell(copy: Path, names: str) -> str:
    """Return the first cell that fails among some lessons, as "02 drop-table"; their dlhelpers is looked at before."""
    books = {}
    for path in _lessons(copy, names):
        books[f"notebooks/{path.name}"] = book = nbformat.read(path, as_version=4)
        book.cells.insert(
            0, new_code_cell(ASKS.format(copy), id="whose-dlhelpers", execution_count=1)
        )
        nbformat.write(book, path)
    file, _, cell = (first_failure(copy, books) if books else "").partition("::Cell ")
    if not cell:
        return file
    cells = [cell for cell in books[file].cells if cell.cell_type == "code"]
    return f"{Path(file).name[:2]} {cells[int(cell.split()[0])].id}"


def failing_test(copy: Path, tests: str) -> str:
    """Return the first test that fails and why, without its file's folder."""
    targets = [f"tests/{test}" for test in tests.split()]
    return first_failure(copy, [PROBE, *targets]).removeprefix("tests/") if targets else ""


def attempt(mutation: Mutation, tree: Path) -> Outcome:
    """Make a mutation in a copy, and see who notices."""
    begin = time.perf_counter()
    with copied(tree, mutation) as copy:
        lesson, test = failing_cell(copy, mutation.notebooks), failing_test(copy, mutation.tests)
    outcome = Outcome(mutation, lesson, test, time.perf_counter() - begin)
    print(
        f"{mutation.name}: {lesson or '-'} | {test.partition(' - ')[0] or '-'} | {outcome.seconds:.0f} s",
        flush=True,
    )
    return outcome


def sound(mutations: Iterable[Mutation], tree: Path, pool: ThreadPoolExecutor) -> list[str]:
    """Run in unchanged copies all that is to be run; return what fails there, where it would notice nothing."""
    asked = defaultdict(dict)
    for mutation in mutations:
        for lesson in mutation.notebooks.split():
            asked[lesson] = {}
        for test in mutation.tests.split():
            asked[test.partition("::")[0]][test] = None

    def run(name: str) -> str:
        with copied(tree, None) as copy:
            return (
                failing_test(copy, " ".join(asked[name]))
                if asked[name]
                else failing_cell(copy, name)
            )

    return [failed for failed in pool.map(run, sorted(asked)) if failed]


def table(outcomes: Iterable[Outcome]) -> str:
    """Return the outcomes as a table of text, each row with its reason below."""
    lines = [
        f"{'mutation':34} {'noticed by lesson and cell':32} {'noticed by a test of':26} seconds"
    ]
    for mutation, lesson, test, seconds in outcomes:
        lines.append(
            f"{mutation.name:34} {lesson or '-':32} {test.partition('::')[0] or '-':26} {seconds:7.0f}"
        )
        lines += textwrap.wrap(mutation.why, 100, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Try all mutations, or those named; print the table and the counts, and return the exit status."""
    parser = argparse.ArgumentParser(
        description="Break the helpers on purpose and ask who notices."
    )
    parser.add_argument("--only", nargs="*", metavar="NAME", help="the mutations to try, by name")
    parser.add_argument("--jobs", type=int, default=2, help="how many are tried at a time")
    parser.add_argument(
        "--tree", type=Path, default=ROOT, help="the tree to copy, by default this one"
    )
    options = parser.parse_args(arguments)
    chosen = [
        mutation
        for mutation in MUTATIONS
        if mutation.name in (options.only or [m.name for m in MUTATIONS])
    ]
    if unknown := set(options.only or []) - {mutation.name for mutation in chosen}:
        parser.error(f"no mutation {', '.join(sorted(unknown))}")
    if found := [problem for mutation in chosen for problem in problems(mutation, options.tree)]:
        print(*found, sep="\n")
        return 1
    begin = time.perf_counter()
    with ThreadPoolExecutor(options.jobs) as pool:
        try:
            if failed := sound(chosen, options.tree, pool):
                print("without any mutation these fail already:", *failed, sep="\n")
                return 1
            outcomes = list(pool.map(attempt, chosen, [options.tree] * len(chosen)))
        finally:
            pool.shutdown(cancel_futures=True)
    survivors = [outcome.mutation.name for outcome in outcomes if not outcome.lesson + outcome.test]
    by_lesson = [outcome for outcome in outcomes if outcome.lesson]
    alone = [outcome.mutation.name for outcome in by_lesson if not outcome.test]
    print(
        f"\n{table(outcomes)}\n\n{len(outcomes)} mutations in {(time.perf_counter() - begin) / 60:.0f} minutes"
    )
    print(f"survivors: {len(survivors)} {' '.join(survivors)}".rstrip())
    print(
        f"noticed by a lesson: {len(by_lesson)}; by a lesson alone: {len(alone)} {' '.join(alone)}".rstrip()
    )
    return int(bool(survivors) or 2 * len(by_lesson) < len(outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
