"""The package on the command line: `python -m dlhelpers COMMAND`, with --help for each command.

Exit codes: 0 all is well, 1 a fault was found or the command failed, which one line on standard error says, 2 the
command line is wrong.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command (by default the one this process was started with) and return its exit code.

    Raises SystemExit with code 2 for a wrong command line, and with 0 after --help.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
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
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(run: Callable[[argparse.Namespace], int], about: str, more: str = "") -> Callable:
        """Add a command by the name of its function; return what adds an argument to it."""
        name = run.__name__.strip("_")
        added = commands.add_parser(name, help=about, description=more or about)
        added.set_defaults(run=run)
        return added.add_argument

    about = (
        "Say what a training will count, with the formula beside each number. Bytes are known with --shape. The exit"
        " code is 1 where there is no batch."
    )
    add = command(_plan, "count batches, steps and bytes of a training before it runs", about)
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
    add("--shape", help="of the inputs of one sample, as 3,32,32 (default: bytes stay unknown)")
    kinds = ("float32", "float16", "bfloat16", "uint8", "int64")
    add("--dtype", choices=kinds, default="float32", help="of the inputs (default: float32)")
    add("--json", action="store_true", help="the same as one JSON object")

    about = (
        "Decode each image of FOLDER/CLASS once: sizes, damaged files, classes, and whether to hold the dataset in"
        " memory, map it or stream it. The exit code is 1 where an image is damaged."
    )
    add = command(_inspect, "look through a folder of images before you train on it", about)
    add("folder", help="holds one folder of images for each class")

    about = (
        "Write images as one file that can be mapped. An interrupted pack is finished by the same command, with the"
        " same bytes. With --size the shorter side is scaled to N pixels and the centre cut out. All images become"
        " upright RGB; transparency is dropped, and of 16 bits the upper 8 are kept."
    )
    add = command(_pack, "write a folder of images as one file", about)
    add("source", help="a folder of class folders with images")
    add("target", type=Path, help="the folder to write")
    add("--size", type=int, help="side of the images in pixels")
    add("--seed", type=int, default=0, help="of the order (default: 0)")
    add("--skip-bad", action="store_true", help="leave out what cannot be decoded, and list it")
    add("--overwrite", action="store_true", help="replace a dataset, once the new one is finished")

    add = command(_verify, "say whether every byte of a packed dataset is as it was written")
    add("target", type=Path, help="the folder that holds the dataset")

    command(_doctor, "say what would go wrong in a lesson on this machine, and the remedy")

    add = command(_prefetch, "fetch datasets beforehand, into a folder that can be copied")
    add("names", nargs="+", help="cifar10, fashion_mnist")
    add("--folder", default="data", help="where to (default: data)")

    add = command(_classroom, "pool the progress files of a class into one table")
    add("folder", help="holds the JSON file of each learner")

    add = command(_export, "write what was answered here to a file, to hand to a teacher")
    add("file", help="a new JSON file")
    return parser


def _plan(options: argparse.Namespace) -> int:
    import torch

    from dlhelpers.measure import plan

    ours = ("run", "parser", "json", "dtype")
    given = {
        name: value
        for name, value in vars(options).items()
        if value is not None and name not in ours
    }
    if options.shape:
        given["shape"] = [int(side) for side in options.shape.split(",")]
    result = plan(**given, dtype=getattr(torch, options.dtype))
    print(json.dumps(vars(result)) if options.json else result)
    return int(not result.batches)


def _inspect(options: argparse.Namespace) -> int:
    from dlhelpers.measure import inspect_folder

    report = inspect_folder(options.folder)
    print(report)
    return int(bool(report.damaged))


def _doctor(options: argparse.Namespace) -> int:
    from dlhelpers.course.doctor import report

    return report()


def _prefetch(options: argparse.Namespace) -> int:
    from dlhelpers.course.prefetch import prefetch

    prefetch(options.names, options.folder)
    return 0


def _classroom(options: argparse.Namespace) -> int:
    from dlhelpers.course.classroom import pool

    print(pool(options.folder))
    return 0


def _export(options: argparse.Namespace) -> int:
    from dlhelpers.course.records import progress

    print(f"{progress.export(options.file)} is written")
    return 0


def _pack(options: argparse.Namespace) -> int:
    from dlhelpers.packed.packing import pack_folder

    report = pack_folder(
        options.source,
        options.target,
        size=options.size,
        on_error="skip" if options.skip_bad else "raise",
        shuffle_seed=options.seed,
        overwrite=options.overwrite,
    )
    print(f"{report}\n{options.target} is whole")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from dlhelpers.packed.verifying import verify

    report = verify(options.target)
    print(report)
    print(f"{options.target} is {'as it was written' if report.ok else 'damaged'}")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
