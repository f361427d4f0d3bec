"""Install the course into .venv, or see that all of it is there: `make` runs this with any Python.

Where Linux shows no GPU, torch comes as its small build for the CPU (about 0.7 GB in place of 5), if PyTorch's own
index answers. CPU=1 and GPU=1 decide it themselves. Nothing is asked of a network where nothing is missing.
"""

import glob
import os
import subprocess
import sys
import urllib.request

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# NVIDIA, WSL, AMD, Intel and others
GPUS = "/dev/nvidia*", "/dev/dxg", "/dev/kfd", "/dev/dri/renderD*"
NEWS = "@jupyterlab/apputils-extension:announcements"
PYTHON = os.path.join(".venv", "Scripts" if os.name == "nt" else "bin", "python")
# Run in .venv: says whether its packages are what pyproject.toml asks for, and this folder's the helpers.
WHOLE = """
import importlib.metadata as metadata, os, sys, tomllib
from packaging.requirements import Requirement
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
for line in [*project["dependencies"], *extras["course"], *extras["test"]]:
    need = Requirement(line)
    if not need.specifier.contains(metadata.version(need.name), prereleases=True):
        sys.exit(1)
import dlhelpers
here = os.path.dirname(os.path.dirname(os.path.realpath(dlhelpers.__file__)))
sys.exit(here != os.path.realpath(os.getcwd()))
"""


def main() -> None:
    """Do what is missing; end with one line that says what to do where that cannot be done."""
    if sys.version_info < (3, 11):
        came = "{}.{}".format(*sys.version_info[:2])
        sys.exit(
            f"This course needs Python 3.11 or newer, and this is {came}. Try: make PY=python3.12 ..."
        )
    if not os.access(".", os.W_OK):
        sys.exit(
            f"Nothing can be written into {os.getcwd()}: clone the course into a folder of your own"
        )
    if runs("-c", "") and runs("-P", "-c", WHOLE):
        return
    if not runs("-m", "pip", "--version"):  # none yet, or one that was broken off
        subprocess.run([sys.executable, "-m", "venv", "--clear", ".venv"], check=True)
    print(
        "Installing the course into .venv (once; a few minutes, most of them for torch) ...",
        flush=True,
    )
    pip("--upgrade", "pip")
    small, why = small_build(os.environ)
    print(
        f"torch: {'the small build for the CPU' if small else 'the build with GPU support'}, {why}",
        flush=True,
    )
    if small and not pip("torch", "torchvision", "--index-url", CPU_INDEX):
        print(
            f"torch: {CPU_INDEX} has no build for this Python; taking the one with GPU support",
            flush=True,
        )
    if not pip("--editable", ".[course,test]"):
        sys.exit("The install was broken off, see above. The same command goes on from here")
    if not runs("-c", "import torchvision"):  # two mirrors, as in a company, may each give one
        runs(
            "-m", "pip", "uninstall", "--yes", "torch", "torchvision"
        )  # or the next run would take them
        sys.exit(
            "torch and torchvision came from two builds, did not run together, and were removed again. Try"
            f" {'GPU' if small else 'CPU'}=1 make lab"
        )
    # JupyterLab would greet everybody with a box that asks about its news
    runs("-m", "jupyterlab.labextensions", "disable", NEWS)


def small_build(wishes: "os._Environ[str] | dict[str, str]") -> "tuple[bool, str]":
    """Say whether torch for the CPU alone is wanted and can be had, and why."""
    if wishes.get("GPU"):
        return False, "as GPU=1 says"
    if wishes.get("CPU"):
        return True, "as CPU=1 says"
    if sys.platform != "linux":
        return False, "which is the only one here"  # and small: those with CUDA are Linux's
    if any(map(glob.glob, GPUS)):
        return False, "since there is a GPU here (CPU=1 takes the small one)"
    try:
        urllib.request.urlopen(f"{CPU_INDEX}/torch/", timeout=5).close()
    except OSError as error:
        return False, f"since {CPU_INDEX} does not answer ({getattr(error, 'reason', error)})"
    return True, "since no GPU is here (GPU=1 takes the large one)"


def runs(*arguments: str) -> bool:
    """Say whether the Python in .venv is there and ends well with these arguments."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        return subprocess.run([PYTHON, *arguments], **quiet).returncode == 0
    except OSError:
        return False


def pip(*arguments: str) -> bool:
    """Have pip install something into .venv; say whether it did."""
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return subprocess.run([*command, *arguments]).returncode == 0


if __name__ == "__main__":
    main()
