"""What lesson 07, Choose a batch size, asks."""

from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Choose a batch size"

what_grows = Prediction(
    "lesson_07.what_grows",
    'The batch grows from 1 image to 64. Which of the four grows: the "parameters", the "gradients", the "optimizer'
    ' state" or the "activations"?',
    answer="activations",
    choices=("parameters", "gradients", "optimizer state", "activations"),
    because="Each image has activations of its own. The other three have one entry or a few for each parameter.",
    wrong={
        "parameters": "The model is the same, however many images pass through it.",
        "gradients": "There is one gradient for each parameter: the batch's images are averaged in it.",
        "optimizer state": "Adam keeps two numbers for each parameter, and knows nothing of images.",
    },
    hints=["For each of the four, ask: does every image need its own?"],
)

doubled_memory = Prediction(
    "lesson_07.doubled_memory",
    "Now from 64 images to 128. The four together then take how much memory:"
    ' "less than twice", "twice" or "more than twice" as much?',
    answer="less than twice",
    choices=("less than twice", "twice", "more than twice"),
    because="Only the activations double. What does not depend on the batch is paid once.",
    wrong={
        "twice": "It would be twice if everything belonged to an image.",
        "more than twice": "Nothing grows faster than the number of images.",
    },
    hints=["Write the sum as a part that stays and a part that doubles."],
)

iteration_time = Prediction(
    "lesson_07.iteration_time",
    'One iteration with 128 images, compared with one with 16: is it "shorter", "about equal" or "longer"?',
    answer="longer",
    choices=("shorter", "about equal", "longer"),
    because="More images are more to compute; where a device had idle parts to spare, the time may stay the same.",
    wrong={
        "shorter": "More images in an iteration hardly ever make the iteration shorter; they make iterations fewer.",
        "about equal": "That happens on a large GPU which 16 images leave idle. A CPU has work enough with 16.",
    },
    hints=["Nothing is asked here about an epoch. How much work is in one iteration?"],
)

largest_found = Prediction(
    "lesson_07.largest_found",
    "This device fails above 100 images. The study tries 16, 32, 64, 128, and then one more, half-way."
    " Which batch size does it report as the largest?",
    answer=96,
    because="128 fails, 96 is half-way between 64 and 128, and it runs.",
    wrong={
        100: "100 would fit, but it was never tried, and the study promises nothing untried.",
        64: "That is the last doubling that ran. The study looks once more, half-way to the size that failed.",
        128: "128 is above 100, so it fails.",
    },
    hints=["Which is the first size that fails, and which the last before it?", "(64 + 128) / 2"],
)

noise_ratio = Prediction(
    "lesson_07.noise_ratio",
    "The batch size doubles. By which factor does this variance fall?",
    answer=2,
    within=0.2,
    because="A mean of B independent samples has one B-th of the variance of a single one.",
    wrong={
        1: "More images do average some of the noise away.",
        4: "That would be so if the standard deviation halved. It falls by 1.41, and the variance by its square.",
        1.41: "That is the factor for the standard deviation, the square root of the variance.",
        0.5: "It is divided by this factor, so write a number above 1.",
    },
    hints=["Throw one die, or average two: the variance of the mean of two is half that of one."],
)

equal_epochs = Prediction(
    "lesson_07.equal_epochs",
    'Both batch sizes learn with the rate 0.03, for 6 epochs. By our rule, which has won: "16", "128", or "cannot'
    ' tell"?',
    answer="16",
    choices=("16", "128", "cannot tell"),
    because="The epochs are equal and the steps are not: in its many more steps of the same kind it gets further.",
    wrong={
        "128": "Its gradients are less noisy, but it takes far fewer steps.",
        "cannot tell": "The runs lie far apart here.",
    },
    hints=["How many optimizer steps does each of them take in 6 epochs?"],
)

equal_steps = Prediction(
    "lesson_07.equal_steps",
    'The same runs, now compared after 216 optimizer steps. By our rule, which has won: "16", "128", or "cannot tell"?',
    answer="cannot tell",
    choices=("16", "128", "cannot tell"),
    because="The runs of one lie among those of the other. Seed by seed, one may still be ahead: we look below.",
    wrong={
        "128": "It may be a little ahead, as it has looked at 7.5 times as many images. Our rule does not see it.",
        "16": "Its lead came from more steps, and now the steps are equal.",
    },
    hints=[
        "The rate is the same, and so is the number of steps. What do the additional images buy?"
    ],
)

higher_rate = Prediction(
    "lesson_07.higher_rate",
    'The small batch with the rate 0.24, and with 0.03, after 6 epochs. By our rule, which rate has won: "0.03",'
    ' "0.24", or "cannot tell"?',
    answer="0.24",
    choices=("0.03", "0.24", "cannot tell"),
    because="All five runs with the high rate are below all five with the low one.",
    wrong={
        "0.03": "It would be so if 0.24 were too high for noisy gradients. Here it is not.",
        "cannot tell": "The runs lie far apart here: 540 steps, each at 8 times the rate, lead further.",
    },
    hints=["Nobody has searched for the best rate of the small batch. 0.03 may be too low."],
)

held_equal = Question(
    "lesson_07.held_equal",
    'A report says: "We trained for 90 epochs with batches of 256, and for 90 epochs with batches of 8,192, at the same'
    ' learning rate. The large batch ended with the worse model." What was held equal, and what was not?',
    [
        Choice(
            "Optimizer steps were equal, and images were not",
            "an epoch of larger batches has fewer steps.",
        ),
        Choice(
            "Images were equal, and the small batch had about 32 times the steps",
            "equal epochs are equal images. The report suggests that the large batch learns less from fewer steps of"
            " the same kind. It does not show that it learns less from as many, nor with a rate of its own.",
            right=True,
        ),
        Choice(
            "Seconds were equal, since both had 90 epochs",
            "an epoch takes as long as batch size and machine say.",
        ),
        Choice(
            "Everything was equal but the batch size, so it made the model worse",
            "no two batch sizes are equal in everything: with equal epochs, the steps differ.",
        ),
    ],
    hints=["How many images does a run of 90 epochs look at? How many steps does it take?"],
)

may_conclude = Question(
    "lesson_07.may_conclude",
    "Two batch sizes, three seeds each, all else equal. The test losses are 0.52, 0.47 and 0.50 for the first, and"
    " 0.49, 0.45 and 0.53 for the second. What may you write?",
    [
        Choice(
            "The second is better: it has the best run",
            "it has the worst, too. Each setting has lucky runs.",
        ),
        Choice(
            "The second is better: its mean is lower",
            "the means, 0.497 and 0.490, are closer than any two seeds.",
        ),
        Choice(
            "Both are equally good",
            "noisy runs cannot show that either: a small difference may be there.",
        ),
        Choice(
            "The difference is smaller than the spread, so these runs cannot tell",
            "and this is a result: if there is a difference, it is small, or it takes more seeds to see.",
            right=True,
        ),
    ],
    hints=["How far apart are runs of the same setting? How far apart are the two means?"],
)

peak_at = Exercise(
    "lesson_07.peak_at",
    """
    You have measured the peak at two batch sizes. Write `peak_at(size, small, large)`: the peak to expect at batch size
    `size`, where `small` and `large` are pairs of a batch size and its peak in MB. Do not round.
    """,
    minutes=10,
    cases=[
        ((256, (64, 20.0), (128, 30.0)), 50.0),
        ((1_024, (32, 9.0), (64, 13.0)), 133.0),
        ((96, (64, 20.0), (128, 30.0)), 25.0),
        ((64, (64, 20.0), (128, 30.0)), 20.0),
    ],
    wrong=[
        (
            lambda size, small, large: large[1] * size / large[0],
            "this takes the whole peak in proportion to the batch size. A part of it is constant: two measurements"
            " give the slope.",
        ),
        (
            lambda size, small, large: small[1] * size / small[0],
            "a part of the peak does not grow with the images.",
        ),
        (
            lambda size, small, large: (large[1] - small[1]) / (large[0] - small[0]) * size,
            "the slope is right, and the constant is missing: start from a peak that was measured.",
        ),
        (
            lambda size, small, large: (
                small[1] + (large[1] - small[1]) / (large[0] - small[0]) * size
            ),
            "the peak at `small` holds the activations of its own images. Add the slope only for those beyond them.",
        ),
    ],
    hints=[
        "Which part of the difference of the peaks belongs to one image?",
        "Start from a peak that was measured.",
    ],
    code="""
    def peak_at(size, small, large):
        slope = (large[1] - small[1]) / (large[0] - small[0])
        return small[1] + slope * (size - small[0])
    """,
)

scaled_rate = Exercise(
    "lesson_07.scaled_rate",
    """
    A recipe names a learning rate for a batch size, and you want to use another batch size. Write
    `scaled_rate(rate, size, new_size)`: the learning rate by the linear rule. Do not round.
    """,
    minutes=5,
    cases=[
        ((0.03, 16, 128), 0.24),
        ((0.1, 256, 64), 0.025),
        ((0.5, 100, 150), 0.75),
        ((0.2, 32, 32), 0.2),
    ],
    wrong=[
        (
            lambda rate, size, new_size: rate * size / new_size,
            "the other way round: a larger batch takes fewer steps in an epoch, so each has to be longer.",
        ),
        (
            lambda rate, size, new_size: rate * (new_size / size) ** 0.5,
            "the square-root rule, and not the linear one.",
        ),
        (
            lambda rate, size, new_size: rate * (new_size // size),
            "`//` is whole division: it cuts the quotient, down to 0 for a smaller batch. Use `/`.",
        ),
    ],
    hints=["From 16 to 128 images the batch is 8 times as large. What happens to the rate?"],
    code="""
    def scaled_rate(rate, size, new_size):
        return rate * new_size / size
    """,
)
