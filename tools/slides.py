"""Write six slides for the first minutes of a class, from what the lessons show: a page that needs no network, a PDF.

python tools/slides.py [FOLDER]    by default build/slides; the PDF takes playwright and Chromium
"""

import re
import shutil
import sys
from html import escape
from pathlib import Path

from shown import ROOT, cells, code, lessons

# What a slide says, what it asks the class, and the cells whose output it shows; `*` is the cell's list of points.
SLIDES = [
    (
        "Same model, same 75 images. 25.3 % or 19.8 %?",
        "What could change an accuracy, if not the model and not the images?",
        ["03 show-images"],  # the picture of all batch sizes would answer what lesson 03 asks
    ),
    (
        "Three numbers, and none of them is “the size”",
        "Which of them do you choose, and which one follows?",
        ["02 three-names"],
    ),
    (
        "The last batch takes what is left",
        "What if the loop needs all batches to be full?",
        ["02 rows-small", "02 draw-last"],
    ),
    (
        "A mean of means counts batches, not images",
        "In which batch does one image count most?",
        ["03 by-batch", "03 draw-shuffled"],
    ),
    ("What we saw", "Which one will you look for in your own code tonight?", ["02 *", "03 *"]),
    ("And now?", "Lesson 00 at home, then a question a week.", []),
]
STYLE = """
html { scroll-snap-type: y mandatory; }
body { margin: 0; font: 26px/1.4 system-ui, sans-serif; color: #1f2430; background: #fff; }
section { box-sizing: border-box; min-height: 100vh; padding: 4vh 6vw; display: flex; flex-direction: column;
  justify-content: center; gap: 2vh; break-after: page; scroll-snap-align: start; border-bottom: 1px solid #d0d5dd; }
h2 { font-size: 48px; line-height: 1.15; margin: 0; } p { margin: 0; } li { margin: .3em 0; }
.ask { color: #005a8d; font-weight: 600; }
.shown { display: flex; gap: 3vw; align-items: center; justify-content: space-around; }
.shown img { width: auto; flex: 1 1 0; min-width: 0; max-width: 52vw; max-height: 56vh; object-fit: contain; }
.two { columns: 2; font-size: 21px; margin: 0; } .next { font-size: 20px; list-style: none; }
pre { margin: 0; font-size: 30px; white-space: pre-wrap; }
table { font-size: 26px; } code { background: #eef1f5; padding: 0 .2em; }
@page { size: 1280px 720px; margin: 0; } @media print { section { height: 720px; min-height: 0; border: 0; } }
"""


def shown(place: str) -> str:
    """Return what a cell shows, as HTML; for "NN *" the points of a lesson's last section."""
    lesson, name = place.split()
    if name == "*":
        texts = ["".join(cell["source"]) for cell in cells(lesson).values()]
        [saw] = [text for text in texts if text.startswith("## What we saw")]
        points = re.findall(r"(?ms)^\* (.+?)(?=\n\* |\n\n|\Z)", saw)
        return "".join(f"<li>{code(point)}</li>" for point in points)
    [output, *_] = cells(lesson)[name]["outputs"]
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "text/html" in data:
        return "".join(data["text/html"])
    return f"<pre>{escape(''.join(data['text/plain']).strip(chr(39)))}</pre>"


def page() -> str:
    """Return all slides as one page."""
    sections = ""
    for title, question, places in SLIDES:
        parts = "".join(map(shown, places)) or following()
        listed = parts.startswith("<li")
        parts = f"<ul class='two'>{parts}</ul>" if listed else f"<div class='shown'>{parts}</div>"
        sections += f"<section><h2>{escape(title)}</h2>{parts}"
        sections += f"<p class='ask'>{escape(question)}</p></section>"
    head = f"<meta charset='utf-8'><title>Batches, Epochs, Memory</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{sections}</body></html>"


def following() -> str:
    """Return the lessons and their questions, from the README's table."""
    return "".join(
        f"<li class='next'><b>{number} {title}</b> {code(question)}</li>"
        for number, title, _, question, _ in lessons()
    )


def main(folder: Path) -> None:
    """Write slides.html, and slides.pdf where a browser is."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "slides.html"
    target.write_text(page(), encoding="utf-8")
    print(target)
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        browser = None
    if browser is None:
        print(
            "No PDF: it takes playwright and Chromium. Or print the page from your browser, to a file"
        )
        return
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = started.new_page()
        tab.goto(target.resolve().as_uri())
        tab.pdf(path=folder / "slides.pdf", prefer_css_page_size=True, print_background=True)
        started.close()
    print(folder / "slides.pdf")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "build" / "slides")
