"""Run the lessons from the top, tidy what the machine added, and write their outputs back.

    python tests/run_notebooks.py [notebooks/01_count_your_dataset.ipynb ...]

Without names it takes every lesson. It prints the seconds of each, and ends with 1 where a cell failed or a lesson took
too long; how much memory one takes, its test says.
"""

import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = tempfile.TemporaryDirectory(prefix="dlhelpers-")  # removed when this process ends
MAX_SECONDS = 60
MAX_PRIVATE = 1_200_000_000  # bytes, decimal
VIEW = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def lessons() -> list[Path]:
    """Return the course's notebooks in their order."""
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def set_environment() -> None:
    """Give the next kernel the surroundings that all have, and an empty file of progress; before torch is imported."""
    os.environ["TQDM_DISABLE"] = "1"  # a bar's last line holds a rate
    os.environ["DLHELPERS_DEVICE"] = "cpu"
    os.environ["DLHELPERS_PROGRESS"] = str(
        Path(tempfile.mkdtemp(dir=SCRATCH.name)) / "progress.json"
    )
    os.environ.setdefault(
        "OMP_NUM_THREADS", "1"
    )  # the order of additions decides a sum's last digits
    if platform.machine() in (
        "x86_64",
        "AMD64",
    ):  # so do the vector units; these three together make CPUs agree
        os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")
        os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
        os.environ.setdefault("MKL_CBWR", "COMPATIBLE")


def memory_line(pid: int, name: str) -> int:
    """Return a line of /proc/PID/status in bytes: RssAnon is private memory now, VmHWM the peak of all resident.

    Returns 0 where the system has no such file or the process has ended.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next(
        (
            int(line.split()[1]) * 1024
            for line in status.splitlines()
            if line.startswith(name + ":")
        ),
        0,
    )


def tidy(book: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop in place what changes from machine to machine; cells keep ids, counts, tags, reasons and folds."""
    kept = {key: book.metadata[key] for key in ("accelerator",) if key in book.metadata}
    book.metadata = nbformat.from_dict({**METADATA, **kept})
    for cell in book.cells:
        cell.metadata = nbformat.from_dict(
            {k: v for k, v in cell.metadata.items() if k in ("tags", "reason", "jupyter")}
        )
        cell.pop("attachments", None)
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    return book


def _joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Outputs without widget views and metadata, and with each run of prints in one piece, however it arrived."""
    joined: list[nbformat.NotebookNode] = []
    for output in outputs:
        output.get("data", {}).pop(VIEW, None)
        if "metadata" in output:
            output.metadata = nbformat.from_dict({})
        before = joined[-1] if joined else None
        if (
            before
            and output.output_type == before.output_type == "stream"
            and output.name == before.name
        ):
            before.text += output.text
        else:
            joined.append(output)
    return joined


def complaints(path: Path) -> Iterator[str]:
    """Yield what is wrong with a stored notebook: metadata that a machine made."""
    book = nbformat.read(path, as_version=4)
    before = nbformat.writes(book)
    if before != nbformat.writes(tidy(book)):
        yield f"{path.name}: carries machine-made metadata or split prints: run it with this script"


def execute(book: nbformat.NotebookNode, folder: Path) -> float:
    """Run a notebook in place; return the seconds it took."""
    set_environment()
    client = NotebookClient(
        book,
        timeout=MAX_SECONDS,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
    )
    start = time.perf_counter()
    client.execute()
    return time.perf_counter() - start


def renew(path: Path) -> bool:
    """Run one lesson and write it back; return whether it ran and kept the limits. A failed run writes nothing."""
    book = nbformat.read(path, as_version=4)
    try:
        seconds = execute(book, path.parent)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        print(f"{path.name}: not written.\n{error}")
        return False
    nbformat.write(tidy(book), path)
    late = "  OVER" * (seconds > MAX_SECONDS)
    print(f"{path.name}: {seconds:.1f} s{late}")
    return not late


if __name__ == "__main__":
    paths = [Path(name).resolve() for name in sys.argv[1:]] or lessons()
    sys.exit(not all([renew(path) for path in paths]))
