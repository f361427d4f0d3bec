"""The one progress bar: its total, and where there is none."""

import pytest

from dlhelpers.base.progress_bars import progress_bar


@pytest.fixture(autouse=True)
def wanted(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)


def test_a_bar_counts_all_batches_of_all_epochs():
    with progress_bar([range(7), range(3)], 4, True) as bar:
        assert bar.total == 40


def test_a_loader_without_a_length_leaves_the_bar_without_a_total():
    with progress_bar([range(7), iter([1])], 4, True) as bar:
        assert bar.total is None


@pytest.mark.parametrize(("show", "variable"), [(False, ""), (True, "1")])
def test_where_no_bar_is_wanted_nothing_is_printed(show, variable, monkeypatch, capsys):
    monkeypatch.setenv("TQDM_DISABLE", variable)
    with progress_bar([range(7)], 1, show) as bar:
        bar.update(1)
    assert capsys.readouterr() == ("", "")
