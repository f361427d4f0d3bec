"""What lesson 07, Choose a batch size, asks."""

from collections.abc import Callable

import torch

from dlhelpers.course.judges import judge_cases
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Choose a batch size"


def _bowl(small, large, lowest):
    """A made-up training: its loss by size and rate, least at these rates, with these lowest losses."""

    def loss(size, rate):
        k = (16, 128).index(size)
        return lowest[k] + abs(rate - (small, large)[k])

    return loss


def _lent(loss, rates, owner):
    rate = min(rates, key=lambda rate: loss(owner, rate))
    return loss(16, rate), loss(128, rate)


def _scaled(loss, rates):
    rate = min(rates, key=lambda rate: loss(16, rate))
    return loss(16, rate), loss(128, 8 * rate)


def _shared(loss, rates):
    rate = min(rates, key=lambda rate: loss(16, rate) + loss(128, rate))
    return loss(16, rate), loss(128, rate)


miss = Exercise(
    "lesson_07.miss",
    """
    How far off is a batch? Write `miss(batch, full)` for two gradients, each one long tensor: the length of their
    difference, as a fraction of the length of `full`. A tensor `t` has the length `t.norm()`.
    """,
    minutes=2,
    cases=[
        ((torch.tensor([9.0, 12.0]), torch.tensor([6.0, 8.0])), 0.5),
        ((torch.tensor([16.0, 8.0]), torch.tensor([6.0, 8.0])), 1.0),
        ((torch.tensor([8.0, 6.0]), torch.tensor([6.0, 8.0])), 0.08**0.5),
        ((torch.tensor([6.0, 8.0]), torch.tensor([6.0, 8.0])), 0.0),
    ],
    wrong=[
        (
            lambda batch, full: (batch.norm() - full.norm()) / full.norm(),
            "this compares two lengths. Two arrows of the same length can point apart: subtract first, then take the"
            " length.",
        ),
        (
            lambda batch, full: (batch - full).norm(),
            "that is the distance itself. Say it as a fraction of the full gradient's length.",
        ),
        (
            lambda batch, full: (batch - full).norm() / batch.norm(),
            "you divide by the length of the batch's gradient, so a long wrong one looks better. The truth is the"
            " measure: divide by the length of `full`.",
        ),
        (
            lambda batch, full: ((batch - full).norm() / full.norm()) ** 2,
            "this is squared: half as far off would count as a quarter.",
        ),
        (
            lambda batch, full: ((batch - full) / full).norm(),
            "this divides number by number, so one tiny entry of `full` decides. Take both lengths, then divide.",
        ),
    ],
    hints=[
        "Two lengths, one divided by the other. The first belongs to a difference.",
        "The difference of two tensors is a tensor, and it has a `.norm()` of its own.",
    ],
    code="""
    def miss(batch, full):
        return (batch - full).norm() / full.norm()
    """,
)

batch_of_16 = Prediction(
    "lesson_07.batch_of_16",
    "Take 300 random batches of 16 images. How large is their average miss, as a share of the full gradient's"
    ' length: "about 25 %", "about 75 %" or "about 220 %"?',
    answer="about 220 %",
    choices=("about 25 %", "about 75 %", "about 220 %"),
    because="The miss is twice as long as the gradient it misses, and networks are trained with such batches every"
    " day: most of the miss points sideways, in a different direction for each batch, and many steps average it away.",
    belief="A batch's gradient is a good approximation of the full one, for 16 images off by 1 / sqrt(16): textbooks"
    " and tutorials that call it an estimate and never give its error",
    wrong={
        "about 25 %": "One over the square root of 16 is how much the noise shrinks, and here a single image is off by"
        " several times the gradient's length.",
        "about 75 %": "It takes a far larger batch to come that close.",
    },
    hints=["A single image cares about its own digit only. How much do ten digits agree?"],
)

noise_ratio = Prediction(
    "lesson_07.noise_ratio",
    "From 16 images to 128, the work for one gradient grows 8 times. By which factor does the miss shrink?",
    answer=2.8,
    within=0.25,
    because="Eight times the images divide the miss by the square root of 8, which is 2.83.",
    belief="Eight times the images make the gradient eight times as accurate: the usual reason given in forums for"
    " a large batch ('less noise')",
    wrong={
        8: "The *square* of the miss, its variance, falls by 8. The miss itself falls by the square root.",
        64: "It would be a bargain. Even the square of the miss falls only by 8.",
        1: "More images do average some of the noise away.",
        4: "Half of 8 is not its square root.",
        0.35: "It is divided by this factor, so write a number above 1.",
    },
    hints=[
        "Roll one die, or average four: the mean of four is off by half as much, not by a quarter."
    ],
)

batch_for = Exercise(
    "lesson_07.batch_for",
    """
    A batch of `size` images has a typical miss of `miss`. Write `batch_for(size, miss, wanted)`: the batch size at
    which it would be `wanted`. Do not round.
    """,
    minutes=2,
    cases=[
        ((16, 2.0, 1.0), 64.0),
        ((16, 2.0, 0.5), 256.0),
        ((100, 0.5, 1.0), 25.0),
        ((32, 1.5, 1.5), 32.0),
        ((10, 1.0, 0.8), 15.625),
    ],
    wrong=[
        (
            lambda size, miss, wanted: size * miss / wanted,
            "half the miss does not come from twice the images: it takes four times as many.",
        ),
        (
            lambda size, miss, wanted: size * (miss / wanted) ** 0.5,
            "the root is on the other side: the miss falls with the root of the size, so the size grows with the"
            " square of the miss.",
        ),
        (
            lambda size, miss, wanted: size * (wanted / miss) ** 2,
            "upside down: a smaller miss takes a larger batch.",
        ),
        (
            lambda size, miss, wanted: size * 2 ** (miss / wanted),
            "squared means times itself: `x ** 2`, not `2 ** x`.",
        ),
    ],
    hints=["The miss is to be divided by `miss / wanted`. What does that do to its square?"],
    code="""
    def batch_for(size, miss, wanted):
        return size * (miss / wanted) ** 2
    """,
)


def _judge_look(answer: Callable) -> str | None:
    """Say what is wrong with a reading of a log, and where an IndexError, a KeyError or a None comes from."""
    problem = judge_cases(answer, loss_at.cases, loss_at.wrong)
    for raised, why in (
        (", 72) raised IndexError", "`steps` is no place in the list."),
        (", 500) raised IndexError", "Beyond the end of the log, its last pair counts."),
        (", 0) raised IndexError", "At 0 steps the first pair counts."),
        (", 107) returned None", "No pair has exactly 107 steps: take the last one before."),
        (", 500) returned None", "Beyond the end of the log, its last pair counts."),
        (" raised KeyError", "Not every number of steps has a pair: take the last one before it."),
    ):
        if problem and raised in problem:
            return f"{problem.partition(': is a')[0]}. {why}"
    return problem


loss_at = Exercise(
    "lesson_07.loss_at",
    """
    A run's log is a list of pairs (steps so far, test loss), with steps growing. Write `loss_at(log, steps)`: the loss
    of the last pair with at most `steps` steps. The first pair has 0 steps.
    """,
    minutes=4,
    judge=_judge_look,
    cases=[
        (([(0, 2.3), (36, 1.9), (72, 1.5), (108, 1.6)], 72), 1.5),
        (([(0, 2.3), (36, 1.9), (72, 1.5), (108, 1.6)], 107), 1.5),
        (([(0, 2.3), (36, 1.9), (72, 1.5), (108, 1.6)], 500), 1.6),
        (([(0, 2.3), (36, 1.9), (72, 1.5), (108, 1.6)], 40), 1.9),
        (([(0, 2.3), (36, 1.9), (72, 1.5), (108, 1.6)], 0), 2.3),
        (([(0, 3.0), (10, 2.0), (50, 1.0)], 20), 2.0),
    ],
    wrong=[
        (
            lambda log, steps: min(loss for taken, loss in log if taken <= steps),
            "this takes the *best* look so far. A run is judged where the budget ends, not at its luckiest moment.",
        ),
        (
            lambda log, steps: log[-1][1],
            "this is where the run ended, whatever the budget. Then every comparison is one of whole runs.",
        ),
        (
            lambda log, steps: next((loss for n, loss in log if n >= steps), None),
            "this takes the first look *after* the budget where none falls on it: steps that were not paid for.",
        ),
        (
            lambda log, steps: [loss for n, loss in log if n < steps or n == 0][-1],
            "a look at exactly `steps` steps is within the budget: `<=`.",
        ),
        (
            lambda log, steps: [loss for n, loss in log if n <= steps][0],
            "this is the first look, before any step. A `return` inside the loop leaves at once.",
        ),
        (
            lambda log, steps: min(log, key=lambda look: abs(look[0] - steps))[1],
            "the *nearest* look may lie beyond the budget: 107 steps do not pay for the look at 108.",
        ),
        (
            lambda log, steps: [look for look in log if look[0] <= steps][-1],
            "this is the pair. Return its loss alone.",
        ),
    ],
    hints=[
        "Go through the pairs, and remember the loss as long as the steps are within the budget.",
        "After the loop, the one that you remembered last is the answer.",
    ],
    code="""
    def loss_at(log, steps):
        for taken, loss in log:
            if taken <= steps:
                kept = loss
        return kept
    """,
)

equal_epochs = Prediction(
    "lesson_07.equal_epochs",
    'After 6 epochs both have seen the same images, as often. Which batch size has a clear lead: "16", "128", or "no'
    ' clear lead"?',
    answer="16",
    choices=("16", "128", "no clear lead"),
    because="The epochs are equal and the steps are not. 16 takes 540 noisy steps and 128 takes 72 good ones.",
    belief="A larger batch learns better because its gradient is more accurate, or nothing changes since the same"
    " images were seen: both are common answers in forums to 'how does batch size affect training?'",
    wrong={
        "128": "Its steps are better, and there are far fewer of them.",
        "no clear lead": "The same images were seen, but not the same number of steps taken.",
    },
    hints=["How many optimizer steps does each of them take in 6 epochs?"],
)

equal_steps = Prediction(
    "lesson_07.equal_steps",
    "The same runs after 216 steps each. By then 128 has seen 18 epochs and 16 has seen 2.4. How much lower is the mean"
    ' loss of 128: "under 10 %", "about 40 %" or "over 70 %"?',
    answer="under 10 %",
    choices=("under 10 %", "about 40 %", "over 70 %"),
    because="7.5 times the images, and almost nothing to show for it: at this rate, this early, a step is a step.",
    belief="What a model has learned follows from the number of images it has seen: benchmarks and forum posts that"
    " compare training by samples per second",
    wrong={
        "about 40 %": "The gradients are indeed better, by a factor of 2.8. At a small rate the noise of 16 averages"
        " out over the steps anyway.",
        "over 70 %": "Seeing 7.5 times the images sounds like learning 7.5 times as much. Weights move in steps, not"
        " in images.",
    },
    hints=["Rate and number of steps are equal. What do the additional images buy in each step?"],
)

held_equal = Question(
    "lesson_07.held_equal",
    'A report says: "We trained for 90 epochs with batches of 256, and for 90 epochs with batches of 8,192, at the same'
    ' learning rate. The large batch ended with the worse model." What does it show?',
    [
        Choice(
            "Large batches generalise worse (do worse on new images)",
            "that is how such reports are mostly quoted. But with equal epochs, the large batch took about one step"
            " for every 32, none of them longer: it may not have finished learning.",
        ),
        Choice(
            "The small batch won with about 32 times as many steps",
            "images and rate were equal, steps were not. It does not show that the large batch learns less from as"
            " many steps, nor at a rate of its own.",
            right=True,
        ),
        Choice(
            "The large batch lost in the same time",
            "nothing is said of time. How long 90 epochs take depends on batch size and machine.",
        ),
        Choice(
            "The large batch lost with all else equal",
            "no two batch sizes are equal in everything: with equal epochs the steps differ.",
        ),
    ],
    hints=["How many images does a run of 90 epochs see? How many steps does it take?"],
)

same_seconds = Prediction(
    "lesson_07.same_seconds",
    "On this machine 128 gets through 5.3 times as many images per second as 16. Both get the time of 216 steps of"
    ' 16, at the same rate. Which has a clear lead: "16", "128", or "no clear lead"?',
    answer="16",
    choices=("16", "128", "no clear lead"),
    because="In the time of 216 steps of 16, the larger batch takes 144. At the same rate, steps decide.",
    belief="The batch size with the most samples per second trains fastest: the usual advice 'take the largest that"
    " fits, it uses the GPU best'",
    wrong={
        "128": "More images per second are fewer steps per second here.",
        "no clear lead": "The two were close with equal steps. Now 128 has a third fewer.",
    },
    hints=["Turn seconds into steps for both. What did the last comparison say about steps?"],
)

linear_rule = Prediction(
    "lesson_07.linear_rule",
    "0.24 is a good rate for 16: a loss of 0.12 after 6 epochs. The rule gives 1.92 for 128. After 6 epochs its loss is"
    ' "about the same", "twice as high", or has it "learned nothing"?',
    answer="learned nothing",
    choices=("about the same", "twice as high", "learned nothing"),
    because="The loss ends near ln 10 = 2.30, blind guessing. The rule has no brake, and steps this long"
    " overshoot.",
    belief="Multiply the learning rate by the factor of the batch size and training stays the same: quoted from the"
    " linear scaling paper without its limits, in most multi-GPU tutorials",
    wrong={
        "about the same": "The rule promises that, and keeps it for small rates.",
        "twice as high": "From 0.12 to 0.96 it is a little higher. This one falls off the cliff.",
    },
    hints=["You have seen a rate too high before: the ball of lesson 04 that flew off."],
)

best_losses = Exercise(
    "lesson_07.best_losses",
    """
    `loss(size, rate)` trains once and returns the loss. This comparison of 16 with 128 searched for the rate, and is
    unfair to one of them. Repair it: return the two losses of a fair comparison, first that of 16.
    """,
    minutes=4,
    given="""
    def best_losses(loss, rates):
        rate = min(rates, key=lambda rate: loss(16, rate))
        return loss(16, rate), loss(128, rate)
    """,
    cases=[
        ((_bowl(0.1, 0.4, (1.0, 0.9)), [0.1, 0.2, 0.4, 0.8]), (1.0, 0.9)),
        ((_bowl(0.2, 0.8, (1.0, 1.3)), [0.1, 0.2, 0.4, 0.8]), (1.0, 1.3)),
        ((_bowl(0.8, 0.1, (1.1, 1.0)), [0.1, 0.2, 0.4, 0.8]), (1.1, 1.0)),
    ],
    wrong=[
        (
            lambda loss, rates: _lent(loss, rates, 128),
            "now 128 has its own rate, and 16 has to borrow it. That is the same mistake, for the other side.",
        ),
        (
            _scaled,
            "8 times the rate of 16 is what the linear rule guesses. A rate of its own is searched, not computed.",
        ),
        (
            _shared,
            "this finds one rate that is a compromise for both. Each size needs a search of its own.",
        ),
        (
            lambda loss, rates: tuple(
                sum(loss(size, rate) for rate in rates) / len(rates) for size in (16, 128)
            ),
            "a mean over all rates punishes a size for rates that nobody would use.",
        ),
        (
            lambda loss, rates: tuple(
                min(rates, key=lambda rate: loss(size, rate)) for size in (16, 128)
            ),
            "these are the two best *rates*. What is asked are the losses that they give.",
        ),
        (
            lambda loss, rates: tuple(min(loss(n, rate) for rate in rates) for n in (128, 16)),
            "both searches are right, and the order is not: first 16, then 128.",
        ),
    ],
    hints=[
        "How many searches over `rates` does a fair comparison of two sizes need?",
        "For one size, the lowest loss is a `min` over the losses of all rates.",
    ],
    code="""
    def best_losses(loss, rates):
        return tuple(min(loss(size, rate) for rate in rates) for size in (16, 128))
    """,
)

own_rates = Prediction(
    "lesson_07.own_rates",
    "The machine and the seconds from before, where at the rate 0.1 the loss of 128 was 1.7 times that of 16. Now each"
    ' size has the best of the six rates. Is the loss of 128 "about 1.7 times that of 16", "about the same" or "less'
    ' than half of it"?',
    answer="about the same",
    choices=("about 1.7 times that of 16", "about the same", "less than half of it"),
    because="A better gradient can be trusted with a longer step. 128 takes a third fewer of them, each at about twice"
    " the rate, and keeps up.",
    belief="A comparison at one learning rate says which batch size is better: published comparisons and blog posts"
    " that change the batch size and 'keep all else equal'",
    wrong={
        "about 1.7 times that of 16": "That was at a rate that suits neither of them, and 128 least.",
        "less than half of it": "Its steps are longer and better, and there are fewer of them.",
    },
    hints=["Which of the two can use the higher rate, and what does a higher rate make of a step?"],
)

may_conclude = Question(
    "lesson_07.may_conclude",
    "Two batch sizes, three runs each, every run from a start of its own. The test losses are 0.52, 0.47"
    " and 0.50 for the first, and 0.49, 0.45 and 0.53 for the second. What may you write?",
    [
        Choice(
            "The second is better, since it has the best run",
            "it has the worst one too. Each setting has lucky runs.",
        ),
        Choice(
            "The second is better, since its mean is lower",
            "the means, 0.497 and 0.490, are closer than any two runs of the same setting.",
        ),
        Choice(
            "Both are equally good, since their means hardly differ",
            "noisy runs cannot show that either: a small difference may be there.",
        ),
        Choice(
            "Nothing about which is better, since runs of one size differ by more",
            "and that is a result: if there is a difference, it is small, or it takes more seeds to see.",
            right=True,
        ),
    ],
    hints=["How far apart are runs of the same setting? How far apart are the two means?"],
)

_TRIED = {
    (16, 0.1): [(0, 2.3), (2, 0.9), (4, 0.6)],
    (64, 0.8): [(0, 2.3), (1, 0.5), (4, 1.2)],
    (128, 0.1): [(0, 2.3), (3, 0.8), (6, 0.4)],
    (128, 0.8): [(0, 2.3), (3, 0.7), (6, 0.5)],
}


def _read(log, seconds):
    return [loss for taken, loss in log if taken <= seconds][-1]


def _chosen(tried, read):
    found = {pair: read(log) for pair, log in tried.items()}
    return min(found, key=found.get)


choose = Exercise(
    "lesson_07.choose",
    """
    Now choose. `tried` maps (batch size, rate) to the log of a run, with seconds in place of steps: pairs (seconds so
    far, test loss). Write `choose(tried, seconds)`: the pair (batch size, rate) with the lowest loss in that time, read
    from its log as `loss_at` does.
    """,
    minutes=3,
    cases=[((_TRIED, 4), (16, 0.1)), ((_TRIED, 3.5), (64, 0.8)), ((_TRIED, 6), (128, 0.1))],
    wrong=[
        (
            lambda tried, seconds: _chosen(tried, lambda log: log[-1][1]),
            "this compares where the runs ended. Read each log at `seconds`.",
        ),
        (
            lambda tried, seconds: _chosen(
                tried, lambda log: min(loss for taken, loss in log if taken <= seconds)
            ),
            "this takes the *best* look of each run. One of them is worse again when the time is over.",
        ),
        (
            lambda tried, seconds: min(_read(log, seconds) for log in tried.values()),
            "this is the lowest loss. What is asked is the batch size and the rate that gave it.",
        ),
        (
            lambda tried, seconds: _chosen(tried, lambda log: _read(log, seconds))[0],
            "this is the batch size alone: return the pair, with its rate.",
        ),
        (
            lambda tried, seconds: _chosen(
                tried, lambda log: [loss for taken, loss in log if taken < seconds][-1]
            ),
            "a look at exactly `seconds` is within the time: `<=`.",
        ),
        (
            lambda tried, seconds: _chosen(tried, lambda log: -_read(log, seconds)),
            "this is the worst pair: the lowest loss wins.",
        ),
    ],
    praise="every case holds. Before you rely on it, repeat the best of each size with other seeds.",
    hints=[
        "Which loss does each run have at that time? `loss_at(log, seconds)` says it.",
        "Put these losses into a dictionary under the same keys. `min` has a `key`, as in the repair above.",
    ],
    code="""
    def choose(tried, seconds):
        found = {}
        for pair, log in tried.items():
            found[pair] = [loss for taken, loss in log if taken <= seconds][-1]
        return min(found, key=found.get)
    """,
)
