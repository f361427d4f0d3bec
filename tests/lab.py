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
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        (home / "work").mkdir()
        for notebook in notebooks:
            shutil.copy(notebook, home / "work")
        command = [
            sys.executable,
            "-m",
            "jupyterlab",
            "--ServerApp.open_browser=False",
            "--ServerApp.allow_root=True",
            f"--ServerApp.root_dir={home / 'work'}",
        ]
        server, address, token = stack.enter_context(_served(home, command))
        browser = stack.enter_context(_browser())

        def open_notebook(notebook: Path) -> object:
            return _open(browser, f"{address}/lab/tree/{notebook.name}?reset&token={token}")

        open_notebook.server = psutil.Process(server.pid)  # whose memory a test may ask for
        yield open_notebook


@contextmanager
def made_lab(clone: Path) -> Iterator[object]:
    """Type `make lab` in a clone of the course, and yield the page that its first address shows."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        command = ["make", "lab", "PORT={port}"]
        server, address, token = stack.enter_context(_served(home, command, clone, patience=600))
        browser = stack.enter_context(_browser())
        yield _open(
            browser, f"{address}/lab/tree/my-lessons/00_start_here.ipynb?reset&token={token}"
        )


@contextmanager
def _served(
    home: Path, command: list[str], folder: Path | None = None, patience: float = 90
) -> Iterator[tuple[subprocess.Popen, str, str]]:
    """Run a command that starts JupyterLab, its settings in `home`; yield the process, the address and the token."""
    for name, values in SETTINGS.items():
        _write(
            home / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / f"{name}.jupyterlab-settings", values
        )
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
    for name in (
        "TQDM_DISABLE",
        "MAKEFLAGS",
        "MAKELEVEL",
        "PYTHONPATH",
    ):  # a learner sees the bar, and has no make above
        environment.pop(name, None)
    command = [part.format(port=port) for part in command]
    with open(home / "log", "w") as log:
        server = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
        address = f"http://127.0.0.1:{port}"
        try:
            _wait_for(f"{address}/api/status?token={token}", server, home / "log", patience)
            yield server, address, token
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)


@contextmanager
def _browser() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


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
