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


def test_the_variable_of_tqdm_silences_it(monkeypatch, capsys):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    with progress_bar([range(7)], 1, True) as bar:
        bar.update(1)
    assert capsys.readouterr() == ("", "")
