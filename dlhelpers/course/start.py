"""What each lesson's set-up cell asks: do helpers and lessons belong together, and on Colab, which device is this?"""

import sys

import dlhelpers

_said = set()


def begin(version: str) -> None:
    """Check that the helpers fit the lessons, written for dlhelpers `version`; where all is well, print nothing.

    On Colab, switch widgets on and say once which device this is. Raises RuntimeError for helpers of another version.
    """
    if dlhelpers.__version__ != version:
        raise RuntimeError(
            f"this lesson is for dlhelpers {version}, but {sys.executable} has {dlhelpers.__version__}."
            " Take lessons and helpers from one copy of the course: in its folder, run `pip install -e .`"
        )
    if "google.colab" in sys.modules:
        import torch  # here, so that `doctor` can tell of a torch that is broken
        from google.colab import output

        output.enable_custom_widget_manager()
        found = torch.accelerator.current_accelerator(check_available=True)
        advice = "For a GPU: Runtime, Change runtime type, T4 GPU, and run this cell again."
        say_once(f"This runtime computes on: {found or f'cpu. {advice}'}")


def say_once(text: str) -> None:
    """Print a text, unless it was printed already: a cell may be run twice."""
    if text not in _said:
        _said.add(text)
        print(text)
