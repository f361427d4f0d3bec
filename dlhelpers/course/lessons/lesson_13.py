"""What lesson 13, Leave one machine, asks."""

from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Leave one machine"

unsplit = Prediction(
    "lesson_13.unsplit",
    "A script makes a `DataLoader` over 1,438 images, with `shuffle=True` and nothing else. It is started in two"
    " processes, and each goes through its loader once. How many images are handed out in all?",
    answer=2876,
    because="The loader knows nothing of other processes, so each hands out the whole dataset.",
    wrong={
        1438: "Nobody has told the loader that there are others: it goes through all it has.",
        719: "That would be one process's half, and nobody has split the images.",
        90: "That is the number of batches in both.",
    },
    hints=[
        "What does a loader know of the other process?",
        "Each of the two goes through a whole dataset.",
    ],
)

steps = Prediction(
    "lesson_13.steps",
    "1,438 images are split between two ranks, each image goes to one of them, and each has a loader with a batch size"
    " of 32. One process alone takes 45 optimizer steps an epoch. How many does the model take now?",
    answer=23,
    because="Each rank has 719 images, which are 23 batches, and the model takes one step for both ranks' batches.",
    wrong={
        45: "Each rank has half of the images, and so about half of the batches.",
        46: "There are 46 batches in all, but two of them, one of each rank, make one step.",
        90: "That would be two runs side by side, each on all images.",
        22: "719 / 32 is more than 22: the ragged last batch is a step as well.",
        22.5: "The images come in whole batches: halve the images, then round up.",
    },
    hints=[
        "How many images has each rank?",
        "How many batches of 32 are these? Both ranks step at the same time.",
    ],
)

padded_twice = Prediction(
    "lesson_13.padded_twice",
    '1,438 images, 64 ranks, and the policy "pad": all ranks get the same number of images. How many images come'
    " twice?",
    answer=34,
    because="Each rank gets 23, which makes 1,472 places for 1,438 images.",
    wrong={
        30: 'That is the remainder, which "drop" leaves out. What is missing to the next full round?',
        0: "64 does not divide 1,438, so some have to fill the last round.",
        64: "A whole round more would be 64. Some of the last round is there already.",
        23: "That is the number of images on each rank.",
    },
    hints=[
        "How many images does each rank get, rounded up?",
        "How many places is that on 64 ranks?",
    ],
)

mean_of_ranks = Prediction(
    "lesson_13.mean_of_ranks",
    "Ten images, not shuffled, on four ranks, as in the row exact: rank 0 has the images 0, 4 and 8, and so on. The"
    " model is wrong on images 0 and 1, so it is right on 8 of 10. Each rank computes its own accuracy, and the four"
    " are averaged. What comes out, to three decimal places?",
    answer=0.833,
    within=0.0006,
    because="Two ranks have 2 of 3 right and two have 2 of 2: the larger ranks, with the errors, weigh too little.",
    wrong={
        0.8: "That is the truth. But a mean of means weighs ranks, not images.",
        0.667: "That is the accuracy of the two ranks that have an image the model gets wrong.",
        0.75: "That would be so if the ranks with two images had one error each. Which ranks have the images 0 and 1?",
    },
    hints=["Rank 0 has the images 0, 4 and 8. What is its accuracy?", "(2/3 + 2/3 + 1 + 1) / 4"],
)

steps_in_all = Prediction(
    "lesson_13.steps_in_all",
    "A run of several ranks takes two epochs of 23 optimizer steps each, with a checkpoint after each epoch. After"
    " step 31 one of the ranks dies. The launcher starts all of them again, and the script goes on from the checkpoint."
    " How many steps has the run taken when both epochs are finished?",
    answer=54,
    because="31 up to the death, and then the whole second epoch from its start, 23.",
    wrong={
        46: "The steps taken since the checkpoint are lost: they have to be taken again.",
        77: "That would be a start from nothing. The first epoch is in the checkpoint.",
        31: "The second epoch was not finished then.",
        8: "That is how many are taken twice. How many are there in all?",
        69: "The epoch that broke off had taken 8 steps, not 23.",
    },
    hints=[
        "What is in the checkpoint, and what is not?",
        "31 steps were taken, and 23 of them are in the checkpoint.",
    ],
)

fewer_ranks = Question(
    "lesson_13.fewer_ranks",
    "A run used 4 ranks with a batch size of 64 on each. Tomorrow you have 2 ranks, and want to go on from its"
    " checkpoint with the same optimizer steps on the same images. What do you change?",
    [
        Choice(
            "Nothing",
            "the effective batch would fall from 256 to 128, and each epoch take twice as many steps.",
        ),
        Choice(
            "A batch size of 128 on each rank",
            "2 x 128 is 256 as before. So the steps of an epoch, the learning rate and a scheduler's plan stay"
            " right, and each step sees the images it would have seen. If memory is too small, `micro_batch_size`"
            " (lesson 08) divides the batch again.",
            right=True,
        ),
        Choice(
            "Half the learning rate",
            "it may learn well, but with batches of 128 the steps are not the same.",
        ),
        Choice(
            "Twice the epochs",
            "each step would still see 128 images, and the run see every image more often.",
        ),
    ],
    hints=["How many images went into a step?", "Ranks times batch size should stay what it was."],
)

steps_an_epoch = Exercise(
    "lesson_13.steps_an_epoch",
    """
    Write `steps_an_epoch(samples, batch_size, world)`: the optimizer steps of an epoch on `world` ranks, where each
    sample goes to one rank (policy "exact"), each rank has a loader with this batch size, and the step counts for all
    ranks. The largest rank decides.
    """,
    minutes=5,
    cases=[
        ((1_438, 32, 1), 45),
        ((1_438, 32, 2), 23),
        ((10, 2, 4), 2),
        ((64, 8, 8), 1),
        ((65, 8, 8), 2),
    ],
    wrong=[
        (
            lambda n, b, w: -(-n // b),
            "these are the steps of one process: its share is smaller with more ranks.",
        ),
        (lambda n, b, w: -(-n // b) * w, "more ranks take fewer steps an epoch, not more."),
        (
            lambda n, b, w: n // (b * w),
            "this leaves out the last step, in which the batches are smaller.",
        ),
        (
            lambda n, b, w: -(-(n // w) // b),
            "this is the smallest rank's count. Round the largest share up, too.",
        ),
        (lambda n, b, w: n / (b * w), "steps are whole: round up."),
        (
            lambda n, b, w: -(-n // b) // w,
            "this leaves out the last step, which not all ranks have: round up.",
        ),
    ],
    hints=[
        "First the samples of the largest rank, then its batches.",
        "To round up, write `-(-a // b)`.",
    ],
    code="""
    def steps_an_epoch(samples, batch_size, world):
        share = -(-samples // world)
        return -(-share // batch_size)
    """,
)

padded = Exercise(
    "lesson_13.padded",
    """
    Write `padded(samples, rank, world)`: the list of positions that a rank takes under the policy "pad". It takes
    `rank`, then every `world`-th, and all ranks take equally many; what goes beyond the last position begins again
    at 0, more than once if there are more ranks than samples.
    """,
    minutes=5,
    cases=[
        ((10, 0, 4), [0, 4, 8]),
        ((10, 2, 4), [2, 6, 0]),
        ((10, 3, 4), [3, 7, 1]),
        ((8, 1, 2), [1, 3, 5, 7]),
        ((2, 4, 5), [0]),
    ],
    wrong=[
        (
            lambda n, r, w: (list(range(n)) + list(range(n))[: -n % w])[r::w],
            "with more ranks than samples one more round is not enough: begin again as often as needed.",
        ),
        (
            lambda n, r, w: [p - n * (p >= n) for p in range(r, -(-n // w) * w, w)],
            "begin again as often as needed.",
        ),
        (
            lambda n, r, w: list(range(r, n, w)),
            'this is "exact": the last ranks may have one fewer. Go round.',
        ),
        (
            lambda n, r, w: [r + k * w for k in range(-(-n // w))],
            "beyond the last position begin again at 0.",
        ),
        (
            lambda n, r, w: [r + k * w for k in range(n // w)],
            'this is "drop": what does not fill a round is lost.',
        ),
        (
            lambda n, r, w: [(r + k * w) % n for k in range(n // w + 1)],
            "where the ranks divide the samples, nothing is to be filled up.",
        ),
        (
            lambda n, r, w: [(r * -(-n // w) + k) % n for k in range(-(-n // w))],
            "these are neighbours. A rank takes every `world`-th position.",
        ),
        (
            lambda n, r, w: [min(r + k * w, n - 1) for k in range(-(-n // w))],
            "this fills up with the last position. It is to begin again at 0.",
        ),
    ],
    hints=[
        "How many positions does each rank take? Round up.",
        "`position % samples` begins again at 0.",
    ],
    code="""
    def padded(samples, rank, world):
        count = -(-samples // world)
        return [(rank + k * world) % samples for k in range(count)]
    """,
)

accuracy_of_all = Exercise(
    "lesson_13.accuracy_of_all",
    """
    Each rank sends a pair: its accuracy, and how many samples it has measured. Write `accuracy_of_all(pairs)`: the
    accuracy over all samples. Do not round.
    """,
    minutes=5,
    cases=[
        (([(2 / 3, 3), (2 / 3, 3), (1.0, 2), (1.0, 2)],), 0.8),
        (([(0.5, 100), (1.0, 1)],), 51 / 101),
        (([(0.25, 4)],), 0.25),
        (([(0.5, 2), (0.0, 0)],), 0.5),
    ],
    wrong=[
        (
            lambda pairs: sum(a for a, n in pairs) / len(pairs),
            "this is the mean of means: a rank with one sample weighs as much as one with a hundred.",
        ),
        (
            lambda pairs: sum(a * n for a, n in pairs) / len(pairs),
            "divide by the samples, not by the ranks.",
        ),
        (lambda pairs: sum(a * n for a, n in pairs), "this is how many are right. Of how many?"),
        (
            lambda pairs: sum(a for a, n in pairs) / sum(n for a, n in pairs),
            "these are accuracies divided by samples: an accuracy times its samples says how many are right.",
        ),
        (
            lambda pairs: max(pairs, key=lambda pair: pair[1])[0],
            "this is the accuracy of the largest rank alone.",
        ),
    ],
    hints=[
        "How many samples did each rank get right?",
        "All that are right, divided by all samples.",
    ],
    code="""
    def accuracy_of_all(pairs):
        right = sum(accuracy * samples for accuracy, samples in pairs)
        return right / sum(samples for accuracy, samples in pairs)
    """,
)
