"""What Binder would build, and what it would run: every lesson in 2 GB of memory, on two cores, without a network."""

import os
import subprocess
import sys

import pytest
from long_cases import FULL
from memory_group import enter, memory_group
from run_notebooks import ROOT, lessons

LESSONS = lessons()
LIMIT = 2 * 2**30  # bytes, as mybinder.org gives
# A new network of the system has nothing but a loopback that is down; kernels talk over it.
ALONE = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up and running
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_binder_takes_our_environment_and_then_our_script():
    pytest.importorskip("repo2docker", reason="repo2docker comes with `make binder`")
    command = [
        sys.executable,
        "-m",
        "repo2docker",
        "--no-build",
        "--debug",
        "--Repo2Docker.default_buildpack=None",
    ]
    done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-2000:]
    assert text.index("env update") < text.index("RUN ./binder/postBuild")
    assert '--file "binder/environment.yml"' in text


@pytest.fixture(scope="module")
def group():
    if not FULL:
        pytest.skip("takes long: only with DLHELPERS_FULL=1")
    try:
        with memory_group("dlhelpers-binder", LIMIT) as made:
            yield made
    except OSError as error:
        pytest.skip(f"no memory group can be made here: {error}")


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_in_the_memory_of_binder_without_a_network(group, lesson):
    pytest_alone = [
        sys.executable,
        "-c",
        ALONE,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(lesson),
    ]

    def confined():
        enter(group.folder)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])

    done = subprocess.run(
        ["unshare", "--net", *pytest_alone],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=confined,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    print(f"{lesson.stem}: at most {group.peak / 1e9:.2f} GB so far, page cache included")
    assert group.peak <= LIMIT
