"""The newcomer's first minutes, in a real browser: a fresh clone, one command, a trained model."""

import shutil
import subprocess
from pathlib import Path
from time import monotonic

import pytest
from lab import CHROMIUM, made_lab, run_all
from long_cases import only_full

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.browser,
    only_full,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.skipif(
        not shutil.which("make") or not shutil.which("git"), reason="make or git is not installed"
    ),
]


def test_from_a_fresh_clone_to_the_first_trained_model(tmp_path):
    clone = tmp_path / "course"
    subprocess.run(["git", "clone", "--quiet", Path(__file__).parent.parent, clone], check=True)
    for seconds in (300, 60):  # with a warm package cache, and with everything installed
        began = monotonic()
        with made_lab(clone) as page:
            outputs = run_all(page)
            taken = monotonic() - began
        assert not [o for o in outputs if o["output_type"] == "error"]
        assert "Result: over 90" in str(outputs)
        print(f"lesson 00 was trained through {taken:.0f} s after `make lab`")
        assert taken < seconds
