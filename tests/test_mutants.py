"""The list of mutations can be tried as it stands, and the runner sees who notices, who hangs, and whose it is."""

from subprocess import CalledProcessError

import mutants
import pytest
from mutants import copied, first_failure, problems
from mutations import MUTATIONS
from run_notebooks import ROOT


def test_there_are_enough_and_each_has_a_name_of_its_own():
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 40


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_can_be_tried(mutation):
    assert list(problems(mutation, ROOT)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"old": "no such text"}, "0 times"),
        ({"new": "(("}, "is no Python"),
        ({"why": ""}, "gives no reason"),
        ({"notebooks": "", "tests": ""}, "names nobody"),
        ({"notebooks": "99"}, "no lesson 99"),
        ({"tests": "test_batch_counts.py::test_nothing"}, "no test_batch_counts.py::test_nothing"),
    ],
)
def test_a_mutation_that_cannot_be_tried_is_named(change, problem):
    assert any(problem in said for said in problems(MUTATIONS[0]._replace(**change), ROOT))


def test_a_copy_is_changed_what_fails_in_it_is_named_and_a_hang_ended(monkeypatch):
    mutation = MUTATIONS[0]
    file = f"dlhelpers/{mutation.file}"
    before = (ROOT / file).read_text("utf-8")
    with copied(mutation) as copy:
        after = (copy / file).read_text("utf-8")
        test = copy / "tests/test_it.py"
        test.write_text("def test_it():\n    assert not 'why'\n")
        assert first_failure(copy, ["tests/test_it.py"]).startswith(
            "tests/test_it.py::test_it - Assert"
        )
        test.write_text("import time\n\ntime.sleep(60)\n")
        monkeypatch.setattr(mutants, "SECONDS", 2)
        assert first_failure(copy, ["tests/test_it.py"]) == mutants.HANG
    assert after == before.replace(mutation.old, mutation.new) != before
    assert (ROOT / file).read_text("utf-8") == before and not copy.exists()
    monkeypatch.setattr(mutants, "PARTS", {"conftest.py"})
    with pytest.raises(CalledProcessError), copied(None):
        pass
