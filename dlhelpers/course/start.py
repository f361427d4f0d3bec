"""What each lesson's set-up cell asks: do helpers and lessons belong together, and on Colab, which device is this?"""

import hashlib
import sys
from pathlib import Path

import dlhelpers

_said: set[str] = set()


def begin(version: str, tasks: str = "") -> None:
    """Check that the helpers fit the lessons, written for dlhelpers `version`; where all is well, print nothing.

    `tasks` is the lesson's number and the stamp of its tasks, as `make addresses` wrote them: where they are others,
    say so, since a begun copy of a lesson is still good for what it was. On Colab, switch widgets on and say once which
    device this is. Raises RuntimeError for helpers of another version.
    """
    if dlhelpers.__version__ != version:
        raise RuntimeError(
            f"this lesson is for dlhelpers {version}, but {sys.executable} has {dlhelpers.__version__}."
            " Take lessons and helpers from one copy of the course: in its folder, run `pip install -e .`"
        )
    number, _, stamp = tasks.partition(" ")
    if tasks and stamp != stamp_of(number):
        say_once(
            f"This notebook and the tasks of lesson {number} in {Path(__file__).parent} are of different editions: a"
            " reply may speak of another cell. Take both from one copy of the course (after a pull, the new edition of"
            " the lesson lies beside yours)."
        )
    if "google.colab" in sys.modules:
        import torch  # here, so that `doctor` can tell of a torch that is broken
        from google.colab import output

        output.enable_custom_widget_manager()
        found = torch.accelerator.current_accelerator(check_available=True)
        advice = "For a GPU: Runtime, Change runtime type, T4 GPU, and run this cell again."
        say_once(f"This runtime computes on: {found or f'cpu. {advice}'}")


def stamp_of(number: str) -> str:
    """Return the stamp of a lesson's tasks: the beginning of a hash of their file."""
    path = Path(__file__).parent / "lessons" / f"lesson_{number}.py"
    text = path.read_bytes().replace(b"\r\n", b"\n") if path.is_file() else b""
    return hashlib.sha256(text).hexdigest()[:8]


def say_once(text: str) -> None:
    """Print a text, unless it was printed already: a cell may be run twice."""
    if text not in _said:
        _said.add(text)
        print(text)
