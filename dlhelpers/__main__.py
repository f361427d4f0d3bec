"""The package on the command line: `python -m dlhelpers COMMAND`, with --help for each command.

Exit codes: 0 all is well, 1 a fault was found or the command failed, which one line on standard error says, 2 the
command line is wrong.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from inspect import cleandoc
from pathlib import Path
from typing import Any

from dlhelpers import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command (by default the one this process was started with) and return its exit code.

    Raises SystemExit with code 2 for a wrong command line, and with 0 after --help.
    """
    options = vars(_parser().parse_args(arguments))
    run = options.pop("run")
    try:
        return int(run(**options) or 0)
    except KeyboardInterrupt:
        problem = "interrupted: the same command goes on from here"
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        # an error from a worker ends with its sentence
        problem = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        # options are called as they are here
        problem = problem.replace("overwrite=True", "--overwrite").replace("size=", "--size ")
    # the name of a file could hold what takes over a terminal
    problem = "".join(letter if letter.isprintable() else "?" for letter in problem)
    print(f"dlhelpers: {problem}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    """The commands, each with its arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m dlhelpers",
        description="Plan a training, look at and pack data, prepare a class.",
    )
    parser.add_argument("--version", action="version", version=f"dlhelpers {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(run: Callable[..., int | None]) -> Callable:
        """Add a command by the name and docstring of its function; return what adds an argument to it.

        The function is given what stands on the command line, by name; else its own defaults hold. It returns the exit
        code, or whether it found a fault. The list of commands shows the docstring's first sentence.
        """
        about = cleandoc(run.__doc__)
        added = commands.add_parser(
            run.__name__.strip("_"),
            help=about.partition(".")[0],
            description=about,
            argument_default=argparse.SUPPRESS,
        )
        added.set_defaults(run=run)
        return added.add_argument

    add = command(_plan)
    numbers = {
        "--samples": "in the dataset",
        "--batch-size": "samples in a batch, on each rank",
        "--epochs": "passes over the dataset (default: 1)",
        "--micro-batch-size": "most samples that are on the device at a time",
        "--ranks": "processes that share an epoch (default: 1)",
    }
    for name, about in numbers.items():
        add(name, type=int, help=about)
    add("--drop-last", action="store_true", help="leave out a last batch that is not full")
    add("--policy", help="of what ranks cannot share: drop, pad or exact (default: exact)")
    add("--shape", help="of one sample's float32 inputs, as 3,32,32 (default: bytes stay unknown)")
    add("--json", action="store_true", dest="as_json", help="the same as one JSON object")

    add = command(_inspect)
    add("folder", help="holds one folder of images for each class")

    add = command(_pack)
    add("source", help="a folder of class folders with images")
    add("target", help="the folder to write")
    add("--size", type=int, help="side of the images in pixels")
    add("--seed", type=int, dest="shuffle_seed", help="of the order (default: 0)")
    about = "leave out what cannot be decoded, and list it"
    add("--skip-bad", action="store_const", const="skip", dest="on_error", help=about)
    add("--overwrite", action="store_true", help="replace a dataset, once the new one is finished")

    add = command(_verify)
    add("target", help="the folder that holds the dataset")

    command(_doctor)

    add = command(_prefetch)
    add("names", nargs="+", help="cifar10, fashion_mnist")
    add("--folder", help="where to (default: data)")

    add = command(_classroom)
    add("folder", help="holds the JSON file of each learner")
    add("--json", action="store_const", const="json", dest="form", help="all of it, for a program")
    add(
        "--csv", action="store_const", const="csv", dest="form", help="the tasks, for a spreadsheet"
    )
    add("--picture", metavar="FILE", help="also draw it, without names: a .png, .pdf or .svg")
    add("--watch", action="store_true", help="print it anew when files come, until Ctrl+C")

    add = command(_export)
    add("file", help="a new JSON file")
    return parser


def _plan(shape: str = "", as_json: bool = False, **given: Any) -> bool:
    """Count batches, steps and bytes of a training before it runs.

    Each number stands beside its formula; bytes are known with --shape. The exit code is 1 where there is no batch.
    """
    from dlhelpers.measure import plan

    if shape:
        given["shape"] = [int(side) for side in shape.split(",")]
    result = plan(**given)
    print(json.dumps(vars(result)) if as_json else result)
    return not result.batches


def _inspect(folder: str) -> bool:
    """Look through a folder of images before you train on it.

    Each image of FOLDER/CLASS is decoded once: sizes, damaged files, classes, and whether to hold the dataset in
    memory, map it or stream it. The exit code is 1 where an image is damaged.
    """
    from dlhelpers.measure import inspect_folder

    report = inspect_folder(folder)
    print(report)
    return bool(report.damaged)


def _doctor() -> int:
    """Say what would go wrong in a lesson on this machine, and the remedy."""
    from dlhelpers.course.doctor import report

    return report()


def _prefetch(names: list[str], folder: str = "data") -> None:
    """Fetch datasets beforehand, into a folder that can be copied.

    What is there already is not fetched again, and the same command finishes a download that failed.
    """
    from dlhelpers.data import load

    for name in names:
        images = load(name, root=folder, download=True)
        print(f"{name} is there, {len(images):,} training images")
    use = "Copy the folder anywhere, and let this variable point to it"
    print(f"{use}: DLHELPERS_DATA={Path(folder).resolve()}")


def _classroom(folder: str, **options: Any) -> int:
    """Show from the progress files of a class where its first tries went wrong.

    For each task: the share of right first tries and the commonest mistake; then who is stuck at which task, by the
    name of the file. The exit code is 1 where no learner could be read.
    """
    from dlhelpers.course.classroom import report

    return report(folder, **options)


def _export(file: str) -> None:
    """Write what was answered here to a file, to hand to a teacher."""
    from dlhelpers.course.records import progress

    print(f"{progress.export(file)} is written")


def _pack(source: str, target: str, **options: Any) -> None:
    """Write a folder of images as one file that can be mapped.

    An interrupted pack is finished by the same command, with the same bytes. With --size the shorter side is scaled to
    N pixels and the centre cut out. All images become upright RGB; transparency is dropped, and of 16 bits the upper 8
    are kept.
    """
    from dlhelpers.packed.packing import pack_folder

    print(pack_folder(source, target, **options))
    print(f"{target} is whole")


def _verify(target: str) -> bool:
    """Say whether every byte of a packed dataset is as it was written."""
    from dlhelpers.packed.verifying import verify

    report = verify(target)
    print(report)
    print(f"{target} is {'as it was written' if report.ok else 'damaged'}")
    return not report.ok


if __name__ == "__main__":
    sys.exit(main())
