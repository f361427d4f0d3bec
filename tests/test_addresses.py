"""Tests of `addresses`: one source says where the course lives, and every badge leads to a file that exists."""

import json
import re
import shutil
import subprocess
from urllib.parse import parse_qs, urlparse

import addresses
import pytest
from addresses import BINDER, COLAB, ROOT, Home
from run_notebooks import lessons

ELSEWHERE = Home("someone/fork", "my/trunk", "9.9.9")
LESSONS = lessons()


def test_every_set_up_cell_link_and_badge_agrees_with_pyproject():
    assert [path.name for path in addresses.rewritten(addresses.home())] == []


def links(text):
    return re.findall(rf"((?:{COLAB}|{BINDER})[^)\s\"\\]+)", text)


@pytest.mark.parametrize("path", [*LESSONS, ROOT / "README.md"], ids=lambda path: path.name)
def test_every_launch_link_leads_to_a_file_of_the_course(path):
    found = links(path.read_text("utf-8"))
    assert len(found) >= 2
    for link in found:
        target = link.partition("/blob/")[2].partition("/")[2]
        if link.startswith(BINDER):  # which opens the copies in my-lessons
            (path_there,) = parse_qs(urlparse(link).query)["urlpath"]
            target = path_there.replace("lab/tree/my-lessons", "notebooks")
        assert (ROOT / target).is_file(), link
        assert path.suffix == ".md" or target == f"notebooks/{path.name}"


def test_site_and_readme_list_each_lesson_with_title_and_minutes():
    index, readme = ((ROOT / name).read_text("utf-8") for name in ("docs/index.md", "README.md"))
    for path in LESSONS:
        first = "".join(json.loads(path.read_text("utf-8"))["cells"][0]["source"])
        title = first.splitlines()[0].removeprefix("# ")
        minutes = re.search(r"about\s+(\d+)\s+minutes", first)[1]
        assert f"\n{path.name[:2]} {title} <../notebooks/{path.stem}>\n" in index
        row = rf"\n\| \d\d \| \[{re.escape(title)}\]\(notebooks/{path.name}\) \| [^|]+ \| {minutes} \|"
        assert len(re.findall(row, readme)) == 1, path.name


def test_on_a_package_index_each_picture_and_link_of_the_readme_leads_to_the_repository():
    text = addresses.full((ROOT / "README.md").read_text(encoding="utf-8"), ELSEWHERE)
    assert re.findall(r"\]\((?!https://)", text) == []
    own = re.findall(r"https://github.com/someone/fork/(raw|blob)/my/trunk/([^)]+)\)", text)
    assert ("raw", "docs/images/sawtooth.png") in own and ("blob", "docs/teaching.md") in own
    assert [path for _, path in own if not (ROOT / path).exists()] == []


def test_a_move_reaches_every_file_and_a_second_one_changes_nothing(tmp_path, monkeypatch):
    for name in ("notebooks", "docs", "dlhelpers/course/lessons"):  # stamps are of the tasks
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("README.md", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path)
    here = addresses.home()
    monkeypatch.setattr(addresses, "ROOT", tmp_path)
    changed = addresses.rewritten(ELSEWHERE)
    before = {path: path.read_text("utf-8") for path in changed}
    assert {path.name for path in changed} >= {"README.md", *(path.name for path in LESSONS)}
    for path, text in changed.items():
        path.write_text(text, "utf-8")
        for link in links(text):
            assert "/someone/fork/" in link
            assert ("/blob/my/trunk/" if link.startswith(COLAB) else "/my%2Ftrunk?") in link
        if path.name == "CITATION.cff":
            assert 'github.com/someone/fork"' in text and "version: 9.9.9" in text
        assert path.suffix != ".ipynb" or "someone/fork/archive/refs/heads/my/trunk.zip" in text
    assert addresses.rewritten(ELSEWHERE) == {}
    assert addresses.rewritten(here) == before, "and back"


@pytest.mark.parametrize(
    "origin", ("git@github.com:someone/my.fork.git", "https://github.com/someone/my.fork", "../up")
)
def test_the_address_can_be_that_of_the_clone(tmp_path, monkeypatch, origin):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for command in (["init", "-q", "-b", "a/branch"], ["remote", "add", "origin", origin]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    monkeypatch.setattr(addresses, "ROOT", tmp_path)
    if origin == "../up":
        with pytest.raises(ValueError, match="expected a branch of a clone from GitHub"):
            addresses.take_remote()
        return
    addresses.take_remote()
    moved = addresses.home()
    assert (moved.repository, moved.branch) == ("someone/my.fork", "a/branch")


def test_an_address_that_is_no_repository_is_refused(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nversion="1"\n[project.urls]\nRepository = "https://github.com/x"\n'
    )
    monkeypatch.setattr(addresses, "ROOT", tmp_path)
    with pytest.raises(
        ValueError, match="'https://github.com/x': expected https://github.com/OWNER/NAME"
    ):
        addresses.home()
