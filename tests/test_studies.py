"""The figure of runs with several seeds draws each of them, and says where they end."""

import matplotlib.pyplot as plt
import pytest

from dlhelpers.show import plot_runs, show

RUNS = {"16": [([0, 10], [2.0, 0.5]), ([0, 12], [2.0, 0.75])], "128": [([0, 5, 9], [2.0, 1.5, 1])]}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_each_run_is_a_line_at_its_own_places():
    ax = plot_runs(RUNS, xlabel="steps", ylabel="loss")
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines]
    assert drawn == [(list(x), list(y)) for lines in RUNS.values() for x, y in lines]
    looks = [(line.get_color(), line.get_linestyle()) for line in ax.lines]
    assert looks[0] == looks[1] and looks[0][0] != looks[2][0] and looks[0][1] != looks[2][1]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["16", "128"]


def test_the_sentence_says_where_the_runs_end():
    expected = "loss against steps. 16: 2 runs, ending between 0.5 and 0.75. 128: 1 run, ending between 1 and 1."
    assert show(plot_runs(RUNS, xlabel="steps", ylabel="loss")).alt == expected
