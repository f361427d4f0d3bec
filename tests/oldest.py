"""Print the oldest versions that pyproject.toml admits, as a list of constraints for pip.

python tests/oldest.py > constraints.txt     `make test-oldest` installs the course with it
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("course", "test")


def oldest() -> list[str]:
    """Return "name==lower bound" for all that the course and its tests need; ValueError where a line has no bound.

    What the package and an extra both name has the extra's bound: it is the higher one.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [
        *project["dependencies"],
        *(line for extra in EXTRAS for line in project["optional-dependencies"][extra]),
    ]
    bounds = [re.fullmatch(r"([\w.-]+)>=([\d.]+),<[\d.]+", line) for line in lines]
    if None in bounds:
        raise ValueError(
            f"{lines[bounds.index(None)]!r} has no lower bound: write it as name>=1.2,<2"
        )
    return [f"{name}=={lower}" for name, lower in dict(bound.groups() for bound in bounds).items()]


if __name__ == "__main__":
    print("\n".join(oldest()))
