"""Tests of the site that `make site` builds: it is whole, works offline, reads well aloud and on a phone."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest
from addresses import home
from lab import CHROMIUM

pytest.importorskip(
    "myst_nb", reason="the site is built by `make site`, which installs sphinx and myst-nb"
)
pages = pytest.importorskip("pages", reason="it needs what `make site` installs")

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [
    "docs/index.html",
    "docs/cheat-sheet.html",
    "docs/symptoms.html",
    "docs/teaching.html",
    "docs/contributing.html",
    "docs/many-machines.html",
    "docs/changelog.html",
    *(f"notebooks/{path.stem}.html" for path in LESSONS),
]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
each_page = pytest.mark.parametrize("name", PAGES)


@pytest.fixture(scope="module")
def site():
    """Build the pages into build/site, every warning an error."""
    target = ROOT / "build" / "site"
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-E",
        "-c",
        "docs",
        ".",
        str(target),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return target


class Page(HTMLParser):
    """The links, what the page loads, anchors, and images of one page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.ids, self.images, self.headings = [], [], set(), [], []
        self.in_article = False  # the theme repeats the title outside it, for paper only
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids |= {values[key] for key in ("id", "name") if values.get(key)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in ("script", "img") and values.get("src"):
            self.loaded.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "preload", "icon"):
            self.loaded.append(values["href"])
        if tag == "img":
            self.images.append(values)
        self.in_article |= tag == "article"
        if self.in_article and tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(int(tag[1]))


@each_page
def test_every_internal_link_leads_somewhere(site, name):
    path = site / name
    broken = []
    for link in Page(path).links:
        address, anchor = urldefrag(link)
        if urlparse(link).scheme:
            continue
        target = (path.parent / unquote(address)).resolve() if address else path
        if not target.is_file() or (
            anchor and target.suffix == ".html" and unquote(anchor) not in Page(target).ids
        ):
            broken.append(link)
    assert broken == []


@each_page
def test_nothing_is_loaded_from_elsewhere_and_all_is_there(site, name):
    loaded = Page(site / name).loaded
    assert len(loaded) > 3
    assert [source for source in loaded if urlparse(source).scheme not in ("", "data")] == []
    files = [source for source in loaded if not source.startswith("data:")]
    assert [
        source for source in files if not ((site / name).parent / urlparse(source).path).is_file()
    ] == []


@each_page
def test_headings_go_down_by_one_and_every_picture_of_a_lesson_has_its_text(site, name):
    page = Page(site / name)
    steps = zip(page.headings, page.headings[1:], strict=False)
    assert page.headings.count(1) == 1 and all(later <= before + 1 for before, later in steps)
    assert [image["src"][:60] for image in page.images if "alt" not in image] == []
    if name.startswith("notebooks/"):
        assert any(
            image["src"].startswith("data:") and len(image["alt"]) > 20 for image in page.images
        )


def test_the_bare_address_leads_to_the_first_page_and_each_lesson_is_in_the_menu(site):
    assert "url=docs/index.html" in (site / "index.html").read_text(encoding="utf-8")
    links = Page(site / "docs/index.html").links
    assert [path.stem for path in LESSONS if f"../notebooks/{path.stem}.html" not in links] == []


def test_the_launch_links_are_those_of_the_course(site):
    links = " ".join(Page(site / "notebooks" / f"{LESSONS[0].stem}.html").links)
    lesson, branch = LESSONS[0].name, home().branch
    assert f"blob/{branch}/notebooks/{lesson}" in links
    assert f"urlpath=lab/tree/notebooks/{lesson}" in links


def test_the_first_page_has_a_card_for_each_lesson_and_the_sheet_a_number_of_most(site):
    first = (site / "docs/index.html").read_text(encoding="utf-8")
    for number, title, stem, question, minutes in pages.lessons():
        card = first.partition(f"<a href='../notebooks/{stem}.html'>")[2].partition("</a>")[0]
        told = re.sub("<.+?>", " ", card).split()
        expected = f"{number} {title} {question.replace('`', '')} {minutes} minutes".split()
        assert [word for word in told if word] == expected
        page = Page(site / "notebooks" / f"{stem}.html")
        assert f"<h1>{number} {title}" in (site / "notebooks" / f"{stem}.html").read_text("utf-8")
        assert page.headings[0] == 1
    sheet = (site / "docs/cheat-sheet.html").read_text(encoding="utf-8")
    assert "75 images: <b>25.3%</b> is right, and the usual loop prints <b>19.8%</b>" in sheet


def test_a_number_of_the_sheet_that_no_lesson_prints_stops_the_build():
    assert pages.printed("02", "reveal-small", r"Result: (\d+)") == ["3"]
    assert pages.printed("02", "reveal-small", "no such text") == []


def test_the_first_page_is_light(site):
    path = site / "docs/index.html"
    loaded = [source for source in Page(path).loaded if not source.startswith("data:")]
    files = [path, *((path.parent / urlparse(source).path) for source in loaded)]
    assert sum(file.stat().st_size for file in files) < 1_000_000


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()


@pytest.mark.browser
@pytest.mark.parametrize("screen", [PHONE, DESK], ids=["phone", "desk"])
@each_page
def test_no_page_scrolls_sideways(site, browser, name, screen):
    page = browser.new_page(viewport=screen)
    page.goto((site / name).as_uri())
    width = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert width <= screen["width"]


@pytest.mark.browser
def test_nothing_moves_while_the_first_page_loads(site, browser):
    page = browser.new_page(viewport=DESK)
    page.goto((site / "docs/index.html").as_uri(), wait_until="load")
    moved = """new Promise(done => { let sum = 0;
      new PerformanceObserver(list => list.getEntries().forEach(shift => { sum += shift.value; }))
        .observe({type: "layout-shift", buffered: true});
      setTimeout(() => done(sum), 500); })"""
    assert page.evaluate(moved) < 0.1  # what web.dev calls good
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@each_page
def test_the_accessibility_checker_finds_no_serious_fault(site, browser, name, theme):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    page = browser.new_page(viewport=DESK, color_scheme=theme)
    page.goto((site / name).as_uri())
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    faults = axe.Axe().run(page).response["violations"]
    page.close()
    serious = [fault for fault in faults if fault["impact"] in ("serious", "critical")]
    assert [
        (fault["id"], fault["help"], fault["nodes"][0]["html"][:200]) for fault in serious
    ] == []
