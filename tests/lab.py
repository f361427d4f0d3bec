"""A notebook in a real JupyterLab in a real browser, for the browser tests and the README's screenshot."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import psutil

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PRIVATE_FOLDERS = (
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_RUNTIME_DIR",
    "IPYTHONDIR",
    "JUPYTERLAB_SETTINGS_DIR",
    "JUPYTERLAB_WORKSPACES_DIR",
)
SETTINGS = {
    "notebook-extension/tracker": {
        "windowingMode": "none"
    },  # keeps every cell in the page, seen or not
    "apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },  # no box in the way
}
CELLS = (
    "[...jupyterapp.shell.currentWidget.content.model.cells].filter(cell => cell.type === 'code')"
)
# An executed cell is idle and has a count; the count alone can be set before the outputs are there.
DONE = (
    f"() => {CELLS}.every(cell => cell.executionState === 'idle' && cell.executionCount !== null)"
)
OUTPUTS = f"() => {CELLS}.flatMap(cell => cell.outputs.toJSON())"


@contextmanager
def lab(notebooks: list[Path]) -> Iterator[Callable]:
    """Start a JupyterLab of its own on copies of notebooks; yield a function that opens one by path.

    Each page that it returns shows the notebook alone, its kernel ready.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as work:
        for notebook in notebooks:
            shutil.copy(notebook, work)
        options = ("open_browser=False", "allow_root=True", f"root_dir={work}")
        command = [sys.executable, "-m", "jupyterlab", *(f"--ServerApp.{one}" for one in options)]
        with _served(command) as (server, open_page):

            def open_notebook(notebook: Path) -> object:
                return open_page(notebook.name)

            open_notebook.server = psutil.Process(server.pid)  # whose memory a test may ask for
            yield open_notebook


@contextmanager
def made_lab(clone: Path) -> Iterator[object]:
    """Type `make lab` in a clone of the course, and yield the page that its first address shows."""
    with _served(["make", "lab", "PORT={port}"], clone, patience=600) as (_, open_page):
        yield open_page("my-lessons/00_start_here.ipynb")


@contextmanager
def _served(
    command: list[str], folder: Path | None = None, patience: float = 90
) -> Iterator[tuple[subprocess.Popen, Callable]]:
    """Run a command that starts JupyterLab, with no settings but ours; yield the process, and what opens a page."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place, ExitStack() as stack:
        home = Path(place)
        for name, values in SETTINGS.items():
            file = home / "JUPYTERLAB_SETTINGS_DIR/@jupyterlab" / f"{name}.jupyterlab-settings"
            _write(file, values)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        token = secrets.token_hex()
        _write(
            home / "JUPYTER_CONFIG_DIR" / "jupyter_lab_config.json",
            {
                "ServerApp": {"ip": "127.0.0.1", "port": port},
                "IdentityProvider": {"token": token},
                "LabApp": {"expose_app_in_browser": True},  # gives the page the name jupyterapp
            },
        )
        environment = os.environ | {name: str(home / name) for name in PRIVATE_FOLDERS}
        environment["DLHELPERS_PROGRESS"] = str(home / "progress.json")
        # a learner sees the bar, and has no make above
        for name in ("TQDM_DISABLE", "MAKEFLAGS", "MAKELEVEL", "PYTHONPATH"):
            environment.pop(name, None)
        log = stack.enter_context(open(home / "log", "w"))
        server = subprocess.Popen(
            [part.format(port=port) for part in command],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        stack.callback(server.wait, 30)
        stack.callback(os.killpg, server.pid, signal.SIGTERM)
        address = f"http://127.0.0.1:{port}"
        _wait_for(f"{address}/api/status?token={token}", server, home / "log", patience)
        arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=CHROMIUM, args=arguments
        )
        stack.callback(browser.close)

        def open_page(path: str) -> object:
            return _open(browser, f"{address}/lab/tree/{path}?reset&token={token}")

        yield server, open_page


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
    # Stored counts would look like a finished run; and the promise of running all may never settle.
    page.evaluate(
        "async () => { await jupyterapp.commands.execute('notebook:clear-all-cell-outputs'); }"
    )
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_function(DONE, timeout=timeout * 1000)
    return page.evaluate(OUTPUTS)


def run_cell(page: object, contains: str, source: str, wait: bool = True) -> None:
    """Replace the source of the first code cell that contains a text, and run this cell, to its end or not."""
    page.evaluate(
        """async ([text, source, wait]) => {
            const notebook = jupyterapp.shell.currentWidget.content;
            const index = notebook.widgets.findIndex(w => w.model.type === 'code'
                                                     && w.model.sharedModel.source.includes(text));
            notebook.activeCellIndex = index;
            notebook.deselectAll();
            notebook.widgets[index].model.sharedModel.source = source;
            const run = jupyterapp.commands.execute('notebook:run-cell');
            if (wait) await run;
        }""",
        [contains, source, wait],
    )


def _write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


def _wait_for(address: str, server: subprocess.Popen, log: Path, patience: float) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), urlopen(address, timeout=2):
            return
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start: {log.read_text()[-2000:]}")
