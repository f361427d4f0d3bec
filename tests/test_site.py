"""Tests of the site that `make site` builds: it is whole, works offline, reads well aloud and on a phone."""

import subprocess
import sys
from functools import cache
from urllib.parse import unquote, urldefrag, urlparse

import pages
import pytest
from addresses import home
from lab import CHROMIUM
from run_notebooks import ROOT, lessons

pytest.importorskip(
    "myst_nb", reason="the site is built by `make site`, which installs sphinx and myst-nb"
)

from bs4 import BeautifulSoup  # noqa: E402  (it comes with the site's theme)

LESSONS = lessons()
PAGES = [
    "docs/index.html",
    "docs/cheat-sheet.html",
    "docs/symptoms.html",
    "docs/teaching.html",
    "docs/contributing.html",
    "docs/many-machines.html",
    "docs/changelog.html",
    "docs/set-up.html",
    "docs/class-day.html",
    *(f"notebooks/{path.stem}.html" for path in LESSONS),
]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
each_page = pytest.mark.parametrize("name", PAGES)


@pytest.fixture(scope="module")
def site():
    """Build the pages into build/site, every warning an error."""
    target = ROOT / "build" / "site"
    options = "-m sphinx -q -W --keep-going -E -c docs .".split()
    command = [sys.executable, *options, str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return target


@cache
def parsed(path):
    return BeautifulSoup(path.read_text("utf-8"), "html.parser")


def links(path):
    return [link["href"] for link in parsed(path).select("a[href]")]


def loaded(path):
    """What a page loads beside itself."""
    tags = parsed(path).select("[src], link[rel~=stylesheet], link[rel~=preload], link[rel~=icon]")
    sources = [tag.get("src") or tag["href"] for tag in tags]
    return [source for source in sources if not source.startswith("data:")]


@each_page
def test_every_internal_link_leads_somewhere(site, name):
    path = site / name
    broken = []
    for link in links(path):
        address, anchor = urldefrag(link)
        if urlparse(link).scheme:
            continue
        target = (path.parent / unquote(address)).resolve() if address else path
        if not target.is_file():
            broken.append(link)
        elif anchor and target.suffix == ".html":
            named = f'[id="{unquote(anchor)}"], [name="{unquote(anchor)}"]'
            broken += [link] * (not parsed(target).select(named))
    assert broken == []


@each_page
def test_nothing_is_loaded_from_elsewhere_and_all_is_there(site, name):
    files = loaded(site / name)
    folder = (site / name).parent
    assert len(files) > 3
    assert [one for one in files if not (folder / one.partition("?")[0]).is_file()] == []


@each_page
def test_headings_go_down_by_one_and_every_picture_of_a_lesson_has_its_text(site, name):
    headings = [int(tag.name[1]) for tag in parsed(site / name).select("article :is(h1,h2,h3,h4)")]
    steps = zip(headings, headings[1:], strict=False)
    assert headings[0] == 1 == headings.count(1)
    assert all(later <= before + 1 for before, later in steps)
    images = parsed(site / name).select("img")
    assert [image["src"][:60] for image in images if not image.has_attr("alt")] == []
    if name.startswith("notebooks/"):
        assert any(image["src"].startswith("data:") and len(image["alt"]) > 20 for image in images)


def test_the_bare_address_leads_to_the_first_page_and_each_lesson_is_in_the_menu(site):
    assert "url=docs/index.html" in (site / "index.html").read_text("utf-8")
    lessons = {f"../notebooks/{path.stem}.html" for path in LESSONS}
    assert lessons <= {*links(site / "docs/index.html")}


def test_the_launch_links_are_those_of_the_course(site):
    found = " ".join(links(site / "notebooks" / f"{LESSONS[0].stem}.html"))
    lesson, branch = LESSONS[0].name, home().branch
    assert f"blob/{branch}/notebooks/{lesson}" in found
    assert f"urlpath=lab/tree/notebooks/{lesson}" in found


def test_the_first_page_has_a_card_for_each_lesson_and_the_sheet_a_number_of_most(site):
    for number, title, stem, question, minutes in pages.lessons():
        cards = parsed(site / "docs/index.html").select(f'a[href="../notebooks/{stem}.html"]')
        expected = f"{number} {title} {question.replace('`', '')} {minutes} minutes".split()
        assert expected in [card.get_text(" ").split() for card in cards]
        assert f"<h1>{number} {title}" in (site / "notebooks" / f"{stem}.html").read_text("utf-8")
    sheet = (site / "docs/cheat-sheet.html").read_text(encoding="utf-8")
    assert "75 images: <b>25.3%</b> is right, and the usual loop prints <b>19.8%</b>" in sheet


def test_the_first_page_is_light(site):
    path = site / "docs/index.html"
    files = {path, *((path.parent / urlparse(one).path).resolve() for one in loaded(path))}
    files |= {*(site / "_static/vendor/fontawesome/webfonts").glob("fa-[sb]*.woff2")}  # its icons
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


@pytest.fixture
def tab(browser):
    page = browser.new_page(viewport=DESK)
    yield page
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("screen", [PHONE, DESK], ids=["phone", "desk"])
@each_page
def test_no_page_scrolls_sideways(site, tab, name, screen):
    tab.set_viewport_size(screen)
    tab.goto((site / name).as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= screen["width"]


@pytest.mark.browser
def test_nothing_moves_while_the_first_page_loads(site, tab):
    tab.goto((site / "docs/index.html").as_uri(), wait_until="load")
    moved = """new Promise(done => { let sum = 0;
      new PerformanceObserver(list => list.getEntries().forEach(shift => { sum += shift.value; }))
        .observe({type: "layout-shift", buffered: true});
      setTimeout(() => done(sum), 500); })"""
    assert tab.evaluate(moved) < 0.1  # what web.dev calls good


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@each_page
def test_the_accessibility_checker_finds_no_serious_fault(site, tab, name, theme):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    tab.emulate_media(color_scheme=theme)
    tab.goto((site / name).as_uri())
    assert tab.evaluate("document.documentElement.dataset.theme") == theme
    faults = axe.Axe().run(tab).response["violations"]
    serious = [fault for fault in faults if fault["impact"] in ("serious", "critical")]
    assert [(fault["id"], fault["nodes"][0]["html"]) for fault in serious] == []
