"""The package on the command line: `python -m dlhelpers COMMAND`, with --help for each command.

Exit codes: 0 all is well, 1 a fault was found or the command failed, 2 the command line is wrong. What went wrong is
one line on standard error. Each command is one function that adds itself to the parser.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. See {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command (by default the one this process was started with) and return its exit code.

    Raises SystemExit with code 2 for a wrong command line, and with 0 after --help.
    """
    parser = _Parser(prog="python -m dlhelpers", description="Pack data, and prepare a class.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_pack, _add_verify, _add_doctor, _add_prefetch, _add_classroom, _add_export):
        add(commands)
    options = parser.parse_args(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: _say(message)
        try:
            return options.run(options)
        except KeyboardInterrupt:
            _say("interrupted: the same command goes on from here")
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            # An error from a worker ends with its sentence; options are called as they are here.
            _say(
                lines[-1]
                .replace("overwrite=True", "--overwrite")
                .replace("download=True", "--download")
            )
    return 1


def _add_pack(commands: Any) -> None:
    about = (
        "Write images as shards. An interrupted pack is finished by the same command, with the same bytes. With --size"
        " the shorter side is scaled to N pixels and the centre cut out. All images become upright RGB; transparency is"
        " dropped, and of 16 bits the upper 8 are kept."
    )
    pack = commands.add_parser(
        "pack", help="write a folder of images, or a named dataset, as shards", description=about
    )
    pack.add_argument(
        "source",
        metavar="SOURCE",
        help="a folder of class folders with images, or a dataset's name:"
        " digits, shapes, cifar10, fashion_mnist (write ./digits for a folder of that name)",
    )
    pack.add_argument("target", metavar="TARGET", type=Path, help="the folder to write")
    pack.add_argument("--size", type=_at_least(1), metavar="N", help="side of the images in pixels")
    pack.add_argument(
        "--rows-per-shard",
        type=_at_least(1),
        metavar="N",
        help="samples in a shard (default: 64 MiB)",
    )
    pack.add_argument(
        "--seed", type=_at_least(0), default=0, metavar="N", help="of the order (default: 0)"
    )
    pack.add_argument(
        "--processes",
        type=_at_least(1),
        metavar="N",
        help="that decode (default: one for each core)",
    )
    pack.add_argument(
        "--split", choices=("train", "test"), help="of a named dataset (default: train)"
    )
    pack.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out images that cannot be decoded, and list them",
    )
    pack.add_argument(
        "--overwrite", action="store_true", help="replace a dataset, once the new one is finished"
    )
    pack.add_argument(
        "--download", action="store_true", help="fetch a named dataset that is not here yet"
    )
    pack.set_defaults(run=_pack, parser=pack)


def _add_verify(commands: Any) -> None:
    verify = commands.add_parser(
        "verify", help="say whether every byte of a dataset in shards is as it was written"
    )
    verify.add_argument(
        "target", metavar="TARGET", type=Path, help="the folder that holds the shards"
    )
    verify.set_defaults(run=_verify)


def _add_doctor(commands: Any) -> None:
    about = "say what would go wrong in a lesson on this machine, and the remedy"
    doctor = commands.add_parser("doctor", help=about)
    doctor.add_argument("--json", action="store_true", help="the same as one JSON list")
    doctor.set_defaults(run=_doctor)


def _add_prefetch(commands: Any) -> None:
    about = "fetch datasets beforehand, into a folder that can be copied"
    prefetch = commands.add_parser("prefetch", help=about)
    prefetch.add_argument("names", metavar="NAME", nargs="+", help="cifar10, fashion_mnist")
    prefetch.add_argument("--folder", type=Path, default="data", help="where to (default: data)")
    prefetch.set_defaults(run=_prefetch)


def _add_classroom(commands: Any) -> None:
    about = "pool the progress files of a class into one table"
    classroom = commands.add_parser("classroom", help=about)
    classroom.add_argument(
        "folder", metavar="FOLDER", type=Path, help="holds the JSON file of each learner"
    )
    classroom.add_argument(
        "--picture", type=Path, metavar="FILE", help="draw it, too, as a PNG file"
    )
    classroom.set_defaults(run=_classroom)


def _add_export(commands: Any) -> None:
    about = "write what was answered on this machine to a file, to hand to a teacher"
    export = commands.add_parser("export", help=about)
    export.add_argument("file", metavar="FILE", type=Path, help="a new JSON file")
    export.set_defaults(run=_export)


def _doctor(options: argparse.Namespace) -> int:
    from dlhelpers.course.doctor import report

    return report(options.json)


def _prefetch(options: argparse.Namespace) -> int:
    from dlhelpers.course.prefetch import prefetch

    print(*prefetch(options.names, options.folder), sep="\n")
    return 0


def _classroom(options: argparse.Namespace) -> int:
    from dlhelpers.course.classroom import pool

    pooled = pool(options.folder)
    print(f"learners: {pooled.learners}\n{pooled.table()}")
    if options.picture:
        pooled.plot().figure.savefig(options.picture, format="png")
    return 0


def _export(options: argparse.Namespace) -> int:
    from dlhelpers.course.records import progress

    print(f"{progress.export(options.file)} is written")
    return 0


def _pack(options: argparse.Namespace) -> int:
    from dlhelpers.data.datasets import NAMES, load
    from dlhelpers.packed.packing import pack_dataset, pack_folder

    names = [name for name in NAMES if name != "folder"]
    shared = {
        "rows_per_shard": options.rows_per_shard,
        "shuffle_seed": options.seed,
        "processes": options.processes,
        "overwrite": options.overwrite,
    }
    if options.source in names:
        if options.skip_bad or options.size and options.source != "shapes":
            options.parser.error(
                f"--size and --skip-bad are for folders, and {options.source} is a named dataset"
            )
        dataset = load(
            options.source, options.split or "train", size=options.size, download=options.download
        )
        report = pack_dataset(dataset, options.target, classes=list(dataset.classes), **shared)
    else:
        if options.download or options.split:
            options.parser.error(
                f"--download and --split are for {', '.join(names)}, and SOURCE is {options.source}"
            )
        if not Path(options.source).is_dir():
            options.parser.error(
                f"SOURCE is {options.source}: expected a folder, or one of {', '.join(names)}"
            )
        on_error = "skip" if options.skip_bad else "raise"
        report = pack_folder(
            options.source, options.target, size=options.size, on_error=on_error, **shared
        )
    print(f"{report}\n{options.target} is whole, after {report.seconds:.1f} s")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from dlhelpers.packed.verifying import verify

    report = verify(options.target)
    print(report)
    print(f"{options.target} is {'as it was written' if report.ok else 'damaged'}")
    return 0 if report.ok else 1


def _at_least(least: int) -> Any:
    """A type for argparse: a whole number that is not below `least`."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, at least {least}")
        return int(text)

    return number


def _say(message: object) -> None:
    print(f"dlhelpers: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
