"""How the lessons are compared: the same surroundings for every kernel, and what nbval leaves out and why.

It lies here because pytest applies a conftest only below its own folder, and `notebooks/` holds nothing but lessons.
"""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

sys.path[:0] = [str(Path(__file__).parent / name) for name in ("tests", "tools", "docs")]
from run_notebooks import MAX_PRIVATE, memory_line, set_environment  # noqa: E402  (the line above finds it)

set_environment()
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # in a shell's background; children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

SANITIZE = {
    # The bytes of a picture depend on matplotlib's and FreeType's release. Its sentence, the alt text, is compared.
    r"data:image/png;base64,[A-Za-z0-9+/=]+": "IMAGE",
    # Where an object lies in memory differs with every run.
    r"0x[0-9a-fA-F]{6,16}": "0xADDRESS",
}


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Compare what a lesson says, not what the machine adds; no pattern touches a number that a lesson prints."""
    if type(collector).__name__ == "IPyNbFile":
        collector.skip_compare += ("stderr",)  # warnings there name a file of the running kernel
        collector.sanitize_patterns.update(SANITIZE)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before a lesson's first cell, set its progress to nothing: what other tests answered is not its business."""
    if type(item.parent).__name__ == "IPyNbFile" and item.parent.kernel is None:
        set_environment()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """After a lesson's last cell, fail where its kernel and what that started held over 1.2 GB at any time."""
    lesson = item.parent
    if (
        type(lesson).__name__ == "IPyNbFile"
        and lesson.kernel
        and getattr(nextitem, "parent", None) is not lesson
    ):
        # Linux keeps the peak of everything resident; what is file-backed or shared at the end is not private. With
        # the kernel count its children, as the process that `run_limited` keeps.
        pid = lesson.kernel.km.provisioner.pid
        children = psutil.Process(pid).children() if psutil.pid_exists(pid) else []
        peak = sum(
            memory_line(each, "VmHWM")
            - memory_line(each, "RssFile")
            - memory_line(each, "RssShmem")
            for each in (pid, *(child.pid for child in children))
        )
        if peak > MAX_PRIVATE:
            pytest.fail(
                f"{lesson.path.name} held {peak / 1e9:.2f} GB: a lesson may hold 1.2 GB",
                pytrace=False,
            )
    return (yield)
