"""The page of symptoms: the code on it raises what it says, and its table names the same messages."""

import os
import re

import pytest
from addresses import ROOT
from pretended_cuda import POSSIBLE

from dlhelpers import train
from dlhelpers.machine import run_limited

PAGE = (ROOT / "docs/symptoms.md").read_text("utf-8")
CASES = re.findall(r"(?s)```python\n(.*?)```\n```text\n(.*?)```", PAGE)
PRETEND = f"""
import sys; sys.path.append({str(ROOT / "tests")!r})
from pretended_cuda import pretended_cuda
pretence = pretended_cuda()
pretence.__enter__()
"""


def pattern(said):
    """What a message on the page may look like elsewhere: other numbers, other releases of Python."""
    said = re.sub(r"\d+", "0", " ".join(said.split()))
    said = re.escape(said).replace("0", r"\d+").replace(r"\ ", r"\s+").replace(r"\.\.\.", ".*?")
    return said.replace("Can't\\s+pickle", "Can't\\s+(pickle|get)")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the workers on the page are forked")
@pytest.mark.parametrize(("code", "said"), CASES, ids=[said[:60].strip() for _, said in CASES])
def test_the_code_on_the_page_raises_the_message(code, said, capsys):
    if code.startswith("# needs a GPU"):
        if "forked" not in said or not POSSIBLE:
            pytest.skip("recorded on the page: needs a GPU, or a PyTorch that can pretend one")
        code = PRETEND + code
    names = {"__name__": "__main__", "train": train}  # imported once, for all of the children
    run = run_limited(exec, code, names, limit=500_000_000, timeout=120)
    told = f"{capsys.readouterr().out}\n{run.traceback}\n{run.error}"
    assert re.search(pattern(said), told, re.DOTALL), told


def test_the_table_names_the_ten_messages():
    headings = re.findall(r"(?m)^## (.+)$", PAGE)
    assert len(headings) == 10
    assert re.findall(r"(?m)^\| (.+?) \| .*\|$", PAGE)[1:] == headings


def test_every_symptom_has_code_and_leads_to_a_lesson():
    for section in PAGE.split("\n## ")[1:]:
        assert "```python" in section, section[:40]
    links = re.findall(r"\]\((\.\./notebooks/[^)]+)\)", PAGE)
    assert len(links) > 15
    assert [link for link in links if not (ROOT / "docs" / link).is_file()] == []
