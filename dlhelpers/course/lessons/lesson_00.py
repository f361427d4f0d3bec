"""What lesson 00, Start here, asks."""

import math

from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Start here"

test_images = Prediction(
    "lesson_00.test_images",
    "There are 1,797 scans. We number them from 0 and keep every fifth one (numbers 4, 9, 14, ...) for testing. How"
    " many test images is that?",
    answer=359,
    because="1,797 holds 359 whole fives, and the two scans that remain are training images.",
    wrong={
        359.4: "An image cannot be split: round to a whole number. Which way?",
        360: "There are two scans after the last whole five, too few to reach another fifth one.",
        1438: "About so many are the training images: 1,438.",
    },
    hints=["How many whole fives are in 1,797?", "1797 // 5"],
)

guessing = Prediction(
    "lesson_00.guessing",
    "Before it has learned anything, a model guesses. There are ten digits, about equally many scans of each in the"
    " whole collection. Its **accuracy** is the fraction of images it gets right. Near how many percent will it"
    " be? (Within five points counts as right.)",
    answer=10,
    within=5,
    because="One guess in ten is right, give or take. A model that has learned something must do clearly better.",
    wrong={
        0.1: "That is the fraction; the question asks for percent.",
        50: "That would be a coin: two classes.",
        0: "Even a guess is right now and then.",
    },
    hints=["What share of guesses is right when ten answers are equally likely?"],
)

after_training = Prediction(
    "lesson_00.after_training",
    "We now show it all training images five times, some seconds of work. Will its accuracy on the test images be"
    ' "under 50", "50 to 90" or "over 90" percent? (Copy one of the three, with its quotes.)',
    answer="over 90",
    choices=("under 50", "50 to 90", "over 90"),
    because="Small, centred scans of ten digits are an easy task, even for a small network.",
    wrong={
        "under 50": "It would be so for a harder task; these scans are small and well centred.",
        "50 to 90": "It passes through that range in the first epoch.",
    },
    hints=["The images have 64 pixels each, and the digits are centred."],
)

unseen = Question(
    "lesson_00.unseen",
    "Why do we measure accuracy on images that were not used in training?",
    [
        Choice(
            "Because the training images are too many to evaluate",
            "they could be evaluated in a moment. The reason is what the number would mean.",
        ),
        Choice(
            "Because a model can learn its training images by heart",
            "a high accuracy on them does not tell whether it will recognise a new image, and new images are what it"
            " is for.",
            right=True,
        ),
        Choice(
            "Because training images are shuffled",
            "the order of images does not matter when nothing is learned from them.",
        ),
    ],
    hints=[
        "Imagine a model that stores every training image with its label. What is its accuracy on them?"
    ],
)

percent_right = Exercise(
    "lesson_00.percent_right",
    "Write `percent_right(right, total)`: the accuracy in percent when `right` of `total` answers are right. Do not"
    " round it.",
    minutes=2,
    cases=[((1, 2), 50.0), ((19, 75), 100 * 19 / 75), ((0, 7), 0.0), ((359, 359), 100.0)],
    wrong=[
        (
            lambda right, total: right / total,
            "this is the fraction. Percent are a hundred times as many.",
        ),
        (
            lambda right, total: right // total * 100,
            "`//` rounds down to 0 before you multiply. Divide with `/`.",
        ),
        (lambda right, total: 100 * (total - right) / total, "this is the share of wrong answers."),
        (
            lambda right, total: round(100 * right / total),
            "do not round: 19 of 75 are a little more than 25 percent.",
        ),
    ],
    hints=["A half is 50 percent.", "Divide, then multiply by 100."],
    code="""
    def percent_right(right, total):
        return 100 * right / total
    """,
)

guessing_loss = Exercise(
    "lesson_00.guessing_loss",
    """
    A **class** is one of the possible labels, here a digit. The cross-entropy loss of a sample is minus the natural
    logarithm of the probability that the model gave to its true class. A model that guesses gives each class the same
    probability. Write `guessing_loss(classes)`: its loss when there are that many classes. You may use `math.log`, and
    need not round.
    """,
    minutes=5,
    cases=[((10,), math.log(10)), ((2,), math.log(2)), ((1,), 0.0)],
    wrong=[
        (
            lambda classes: math.log(1 / classes),
            "this is negative, and a loss is not: which sign has the logarithm of a number below 1?",
        ),
        (
            lambda classes: 1 / classes,
            "this is the probability of the true class. Take minus its logarithm.",
        ),
        (
            lambda classes: math.log10(classes),
            "this is the logarithm to base 10. The natural one is `math.log`.",
        ),
    ],
    hints=[
        "What probability does each of ten equally likely classes get?",
        "Minus the logarithm of 1 / classes is the logarithm of classes.",
    ],
    code="""
    import math


    def guessing_loss(classes):
        return math.log(classes)
    """,
)
