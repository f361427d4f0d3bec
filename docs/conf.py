"""How `make site` turns the lessons, with their stored outputs, into static pages; nothing is run or fetched."""

import re
import sys
from html import escape
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import pages
from addresses import GITHUB, home

from dlhelpers import explore

HOME = home()
project = author = "Batches, Epochs, Memory"
root_doc = "docs/index"
include_patterns = ["docs/*.md", "notebooks/*.ipynb"]
extensions = ["myst_nb", "sphinx_copybutton"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_mime_priority_overrides = [
    ("html", "application/vnd.jupyter.widget-view+json", None)
]  # its picture instead
html_theme = "sphinx_book_theme"
html_title = project
html_sourcelink_suffix = ""
html_static_path = ["static"]
html_favicon = "static/favicon.svg"
html_extra_path = [
    "images/sawtooth.png"
]  # by a name that stays, for pages that show links with a picture
copybutton_exclude = ".linenos, .gp, .go"
html_css_files = ["course.css"]
html_js_files = ["frames.js"]
html_theme_options = {
    "repository_url": f"{GITHUB}{HOME.repository}",
    "repository_branch": HOME.branch,
    "path_to_docs": "",
    "navbar_persistent": [],  # the one search is that of the sidebar
    "use_repository_button": True,
    "secondary_sidebar_items": {"**": ["page-toc"], "docs/index": [], "docs/cheat-sheet": []},
    "launch_buttons": {
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
        "notebook_interface": "jupyterlab",
    },
}


FRAMES = 8  # of an explorer, at most 300 kB together
ABOUT = "How data meets the training loop in PyTorch: sixteen lessons in which you predict, then measure."


def setup(app):
    """Draw the first page and the sheet, let the bare address lead there, and let each explorer's main slider move."""
    app.add_directive("lessons", pages.Lessons)
    app.add_directive("sheet", pages.Sheet)
    app.connect("build-finished", _first_page)
    app.connect("html-page-context", _moving)
    app.connect("html-page-context", _named)


def _named(app, page, template, context, doctree):
    """Put a lesson's number before its title, and say what the site is to those who show links."""
    if page.startswith("notebooks/"):
        number = page.removeprefix("notebooks/")[:2]
        context["title"] = f"{number} {context['title']}"
        context["body"] = context["body"].replace("<h1>", f"<h1>{number} ", 1)
    title = escape(context.get("title", project), quote=True)
    tags = (
        f'<meta name="description" content="{ABOUT}"><meta property="og:title" content="{title}">'
    )
    tags += f'<meta property="og:description" content="{ABOUT}">'
    owner, name = HOME.repository.split("/")
    picture = f"https://{owner}.github.io/{name}/sawtooth.png"
    tags += f'<meta property="og:image" content="{picture}">'
    context["metatags"] = context.get("metatags", "") + tags


def _moving(app, page, template, context, doctree):
    """Put a slider through drawn frames in the place of an explorer's still pictures."""
    names = iter(re.findall(r"explore_\w+(?=</span><span class=\"p\">\()", context.get("body", "")))
    pictures = r"(?s)(<div class='dl-explorer'>).*?</details></div>"
    context["body"] = re.sub(
        pictures, lambda found: found[1] + _frames(next(names)) + "</div>", context.get("body", "")
    )


def _frames(name):
    """A range input, and a figure for each of its positions; frames.js shows the one that is chosen."""
    made = getattr(explore, name)()
    which, (label, start, low, high) = next(
        (k, control) for k, control in enumerate(made.controls) if len(control) == 4
    )
    places = sorted({start, *(low + (high - low) * k // (FRAMES - 2) for k in range(FRAMES - 1))})
    values, figures = [control[1] for control in made.controls], ""
    for place in places:
        values[which] = place
        picture = made.draw(*values)
        hidden = "" if place == start else " hidden"
        figures += f"<figure{hidden} data-place='{place}'><p><b>{picture.alt}</b></p>{picture.html}</figure>"
    ends = f"min='0' max='{len(places) - 1}' value='{places.index(start)}'"
    slider = f"<input type='range' {ends}> <output>{start}</output>"
    return f"<label>{escape(label)} {slider}</label><div aria-live='polite'>{figures}</div>"


def _first_page(app, error):
    if error is None:
        page = '<!doctype html><html lang="en"><head><title>Batches, Epochs, Memory</title>'
        page += '<meta http-equiv="refresh" content="0; url=docs/index.html"></head>'
        page += '<body><a href="docs/index.html">Batches, Epochs, Memory</a></body></html>'
        Path(app.outdir, "index.html").write_text(page, encoding="utf-8")
