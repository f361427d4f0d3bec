"""A notebook in a real JupyterLab in a real browser, for the browser tests and the README's screenshot."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PRIVATE_FOLDERS = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR",
                   "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")  # fmt: skip
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # keeps every cell in the page, seen or not
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},  # no box in the way
}
CELLS = "[...jupyterapp.shell.currentWidget.content.model.cells].filter(cell => cell.type === 'code')"
# An executed cell is idle and has a count; the count alone can be set before the outputs are there.
DONE = f"() => {CELLS}.every(cell => cell.executionState === 'idle' && cell.executionCount !== null)"
OUTPUTS = f"() => {CELLS}.flatMap(cell => cell.outputs.toJSON())"


@contextmanager
def lab(notebooks: list[Path]) -> Iterator[Callable]:
    """Start a JupyterLab of its own on copies of notebooks, outputs removed; yield a function that opens one by path.

    Each page that it returns shows the notebook alone, its kernel ready.
    """
    from playwright.sync_api import sync_playwright

    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        for notebook in notebooks:
            _write(home / "work" / notebook.name, _without_outputs(notebook))
        for name, values in SETTINGS.items():
            _write(home / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / f"{name}.jupyterlab-settings", values)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        token = secrets.token_hex()
        _write(home / "JUPYTER_CONFIG_DIR" / "jupyter_lab_config.json", {
            "ServerApp": {"ip": "127.0.0.1", "port": port, "open_browser": False, "allow_root": True,
                          "root_dir": str(home / "work")},
            "IdentityProvider": {"token": token},
            "LabApp": {"expose_app_in_browser": True},  # gives the page the name jupyterapp
        })  # fmt: skip
        environment = os.environ | {name: str(home / name) for name in PRIVATE_FOLDERS}
        environment["DLHELPERS_PROGRESS"] = str(home / "progress.json")
        environment.pop("TQDM_DISABLE", None)  # a learner sees the bar
        log = stack.enter_context(open(home / "log", "w"))
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab"], env=environment, stdout=log, stderr=log)
        stack.callback(server.wait, 30)
        stack.callback(server.terminate)
        address = f"http://127.0.0.1:{port}"
        _wait_for(f"{address}/api/status?token={token}", server, home / "log")
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        stack.callback(browser.close)
        yield lambda notebook: _open(browser, f"{address}/lab/tree/{notebook.name}?reset&token={token}")


def _open(browser: object, address: str) -> object:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(60_000)
    page.goto(address)
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    # The page says "idle" before the kernel is there, and a run started then does nothing. Ask the kernel itself.
    page.evaluate(
        "async () => { const panel = jupyterapp.shell.currentWidget; await panel.context.ready;"
        " await panel.sessionContext.ready; await panel.sessionContext.session.kernel.info; }"
    )
    return page


def close(page: object) -> None:
    """End the page's kernel, lest the kernels of many lessons add up, and close the page."""
    page.evaluate("async () => { await jupyterapp.shell.currentWidget.sessionContext.shutdown(); }")
    page.close()


def run_all(page: object, timeout: float = 180) -> list[dict]:
    """Run every cell, wait until all are done, and return their outputs."""
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")  # its promise may never settle
    page.wait_for_function(DONE, timeout=timeout * 1000)
    return page.evaluate(OUTPUTS)


def run_cell(page: object, contains: str, source: str) -> None:
    """Replace the source of the first code cell that contains a text, and run this cell."""
    page.evaluate(
        """async ([text, source]) => {
            const notebook = jupyterapp.shell.currentWidget.content;
            const index = notebook.widgets.findIndex(w => w.model.type === 'code'
                                                     && w.model.sharedModel.source.includes(text));
            notebook.activeCellIndex = index;
            notebook.deselectAll();
            notebook.widgets[index].model.sharedModel.source = source;
            await jupyterapp.commands.execute('notebook:run-cell');
        }""",
        [contains, source],
    )


def _without_outputs(notebook: Path) -> dict:
    """The notebook as JSON with empty outputs: stored counts would look like a finished run."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return content


def _write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), urlopen(address, timeout=2):
            return
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start: {log.read_text()[-2000:]}")
