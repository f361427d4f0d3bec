"""How `make site` turns the lessons, with their stored outputs, into static pages; nothing is run or fetched."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from addresses import GITHUB, home

HOME = home()
project = author = "Batches, Epochs, Memory"
root_doc = "docs/index"
include_patterns = ["docs/*.md", "notebooks/*.ipynb"]
extensions = ["myst_nb"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_mime_priority_overrides = [
    ("html", "application/vnd.jupyter.widget-view+json", None)
]  # its picture instead
html_theme = "sphinx_book_theme"
html_title = project
html_sourcelink_suffix = ""
html_static_path = ["static"]
html_css_files = ["course.css"]
html_theme_options = {
    "repository_url": f"{GITHUB}{HOME.repository}",
    "repository_branch": HOME.branch,
    "path_to_docs": "",
    "use_repository_button": True,
    "launch_buttons": {
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
        "notebook_interface": "jupyterlab",
    },
}


def setup(app):
    """Let the bare address of the site lead to its first page."""
    app.connect("build-finished", _first_page)


def _first_page(app, error):
    if error is None:
        page = '<!doctype html><html lang="en"><head><title>Batches, Epochs, Memory</title>'
        page += '<meta http-equiv="refresh" content="0; url=docs/index.html"></head>'
        page += '<body><a href="docs/index.html">Batches, Epochs, Memory</a></body></html>'
        Path(app.outdir, "index.html").write_text(page, encoding="utf-8")
