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


def test_it_draws_on_axes_that_it_is_given():
    _, axes = plt.subplots(1, 2, sharey=True)
    assert plot_runs(RUNS, xlabel="steps", ylabel="loss", ax=axes[1]) is axes[1]
    assert not axes[0].lines and len(axes[1].lines) == 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "'16' has no runs: expected at least one pair of x and y"),
        (
            [([0, 1], [1.0, 0.5]), ([0, 1], [1.0])],
            "run 1 of '16' has 2 places and 1 values: expected as many, not 0",
        ),
        ([([], [])], "run 0 of '16' has 0 places and 0 values: expected as many, not 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(lines, message):
    with pytest.raises(ValueError, match=message):
        plot_runs({"16": lines}, xlabel="steps", ylabel="loss")
