"""The guide's two recipes as they stand there, but for their names: several machines, and shards in an object store.

Two launchers with a rank each stand for two machines, and a file server on this one for the store.
"""

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice

import nbformat
import pytest
from long_cases import only_full
from PIL import Image
from rank_pool import free_port
from run_notebooks import ROOT

CELLS = {
    cell.id: cell
    for cell in nbformat.read(ROOT / "notebooks/13_leave_one_machine.ipynb", as_version=4).cells
}
GUIDE = (ROOT / "docs/many-machines.md").read_text("utf-8")
SAMPLES = [3, 3, 3, 3, 2]  # in each shard


def recipe(language, **names):
    """Return the guide's code in a language, with other names in place of its own, each of which must be there."""
    (found,) = re.findall(rf"(?s)```{language}\n(.*?)```", GUIDE)
    for old, new in names.values():
        assert old in found, old
        found = found.replace(old, new)
    return found.replace("\\\n", " ")  # lines that go on


@only_full
def test_two_launchers_make_one_world(tmp_path):
    space = {}
    exec(CELLS["launch"].source, space)
    cells = [CELLS[name].source for name in ("copies", "train", "launch")]
    (tmp_path / "train.py").write_text("\n\n".join([space["HEADER"], *cells, "report()"]))
    command = shlex.split(
        recipe(
            "sh",
            launcher=("torchrun", f"{shlex.quote(sys.executable)} -m torch.distributed.run"),
            ranks=("=8", "=1"),
            place=("node1.example.org:29400", f"localhost:{free_port()}"),
        )
    )
    surroundings = os.environ | {"OMP_NUM_THREADS": "1"}
    options = {"cwd": tmp_path, "env": surroundings, "text": True, "stdout": subprocess.PIPE}
    machines = [subprocess.Popen(command, **options) for _ in range(2)]
    try:
        said = "".join(machine.communicate(timeout=120)[0] for machine in machines)
    finally:
        for machine in machines:
            machine.kill()
    assert [machine.returncode for machine in machines] == [0, 0]
    printed = [line for line in said.splitlines() if not line.startswith("[Gloo] ")]  # torch 2.10's
    (ranks,) = [json.loads(line) for line in printed]
    assert [(one["rank"], one["world"], one["steps"]) for one in ranks] == [(0, 2, 23), (1, 2, 23)]
    assert ranks[0]["weights"] == ranks[1]["weights"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Say nothing of each request."""


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The address of a folder of tar shards on a server of this machine; a sample's class is its number."""
    numbers = iter(range(sum(SAMPLES)))
    for shard, samples in enumerate(SAMPLES):
        with tarfile.open(tmp_path / f"digits-{shard:02}.tar", "w") as tar:
            for number in islice(numbers, samples):
                png = io.BytesIO()
                Image.new("L", (8, 8), number).save(png, "png")
                for ending, data in (("png", png.getvalue()), ("cls", str(number).encode())):
                    member = tarfile.TarInfo(f"{number:06}.{ending}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.skipif(
    shutil.which("curl") is None, reason="webdataset fetches addresses with curl, which is not here"
)
def test_two_ranks_read_each_sample_of_a_store_once(store, monkeypatch):
    pytest.importorskip("webdataset", reason="the recipe is for webdataset, which is not here")
    code = recipe("python", store=("https://store.example.org/digits", store))
    monkeypatch.setenv("WORLD_SIZE", "2")
    seen = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        space = {}
        exec(code, space)
        batches = list(space["loader"])
        assert all(images.shape[1:] == (3, 8, 8) for images, _ in batches)
        for images, labels in batches:
            assert (images[:, 0, 0, 0] * 255).round().int().tolist() == labels.tolist()
        seen.append([int(label) for _, labels in batches for label in labels])
    assert len(seen[0]) == 8 and len(seen[1]) == 6, "whole shards, so not the same number"
    assert sorted(seen[0] + seen[1]) == list(range(14))
