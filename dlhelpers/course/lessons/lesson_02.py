"""What lesson 02, Count your batches, asks."""

from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Count your batches"

small_loader = Prediction(
    "lesson_02.small_loader",
    "Ten images, in batches of four. What is `len(loader)`?",
    answer=3,
    because="Two batches are full, and the two images that remain make a third.",
    wrong={
        2: "That is the floor: it forgets the images that do not fill a batch.",
        2.5: "A loader gives no half batch: the rest makes one more, smaller batch.",
        4: "That is loader.batch_size, the number of samples in a full batch.",
        10: "That is len(dataset), the number of samples.",
    },
    hints=[
        "Fill rows of four boxes with ten images, and count the rows.",
        "The last row need not be full.",
    ],
)

big_last = Prediction(
    "lesson_02.big_last",
    "Now 10,000 images in batches of 32. How many images does the last batch hold?",
    answer=16,
    because="312 full batches take 9,984 images, and 16 remain.",
    wrong={
        32: "It would be 32 only if 32 divided 10,000.",
        0.5: "Half a batch, yes; the question asks for images.",
        0: "Nothing is thrown away unless you ask for drop_last.",
        313: "That is the number of batches.",
    },
    hints=["How many images are in all the full batches together?", "10,000 - 312 x 32"],
)

shuffled_sizes = Prediction(
    "lesson_02.shuffled_sizes",
    "The same ten images and batches of four, now with `shuffle=True`."
    ' What differs between two epochs: the "sizes" of the batches, the "order" in which the images come, "both" or'
    ' "neither"?',
    answer="order",
    choices=("sizes", "order", "both", "neither"),
    because="Shuffling decides who sits where, and never how many seats there are.",
    wrong={
        "both": "The sizes follow from length, batch size and drop_last, and shuffling touches none of them.",
        "sizes": "It is the other way round: the sizes stay, the order changes.",
        "neither": "Each epoch draws a new order.",
    },
    hints=["Which of the two can be computed from the length and the batch size alone?"],
)

too_few = Prediction(
    "lesson_02.too_few",
    "Twenty images, a batch size of 32, and `drop_last=True`. How many iterations does an epoch have?",
    answer=0,
    because="The only batch is not full, so it is dropped, and the loop body never runs.",
    wrong={
        1: "Without drop_last there is one batch of 20. With it, this batch is the last one and is not full.",
        20: "That is the number of samples.",
    },
    hints=["How many full batches of 32 do 20 images make?"],
)

never_seen = Question(
    "lesson_02.never_seen",
    "A loader has 10,000 samples, `batch_size=32`, `shuffle=True` and `drop_last=True`, so 16 samples are left out of"
    " each epoch. After ten epochs, which samples has the model never seen?",
    [
        Choice(
            "The last 16 of the dataset",
            "that would be so without shuffling. With it, the order is drawn anew for each epoch, and so are those"
            " left out.",
        ),
        Choice(
            "Most likely none",
            "each epoch leaves out 16 others at random. To be left out ten times in a row has a chance of"
            " (16 / 10,000) to the tenth power for any one sample.",
            right=True,
        ),
        Choice(
            "160 samples, 16 for each epoch",
            "160 times a sample is left out of an epoch, but the other nine epochs make good for it.",
        ),
        Choice(
            "None, because drop_last fills the last batch up with samples from the start",
            "nothing is filled up: drop_last only drops.",
        ),
    ],
    hints=["What does shuffle do at the start of each epoch?"],
)

cifar_batches = Prediction(
    "lesson_02.cifar_batches",
    "50,000 photographs in batches of 128. How many iterations does an epoch have?",
    answer=391,
    because="390 full batches take 49,920 photographs, and the 80 that remain make one more.",
    wrong={
        390: "That is rounded down, as with drop_last. Nobody asked for it.",
        390.625: "That is the quotient. There is no part of an iteration.",
        80: "That is the size of the last batch.",
        50000: "That is the number of photographs, which no batch size changes.",
    },
    hints=["Divide, and round. Which way?", "50,000 / 128 is 390.625."],
)

last_batch_size = Exercise(
    "lesson_02.last_batch_size",
    """
    Write `last_batch_size(samples, batch_size)`: the number of samples in the last batch of an epoch without
    `drop_last`. Both numbers are at least 1.
    """,
    minutes=5,
    cases=[
        ((10, 4), 2),
        ((10_000, 32), 16),
        ((75, 32), 11),
        ((64, 32), 32),
        ((20, 32), 20),
        ((1, 1), 1),
    ],
    wrong=[
        (
            lambda samples, batch_size: samples % batch_size,
            "where the batch size divides the samples the remainder is 0, but the last batch is full: 64 samples in"
            " batches of 32 end with 32.",
        ),
        (
            lambda samples, batch_size: samples % batch_size if samples > batch_size else samples,
            "where the batch size divides the samples the remainder is 0, but the last batch is full: 64 samples in"
            " batches of 32 end with 32.",
        ),
        (
            lambda samples, batch_size: min(samples, batch_size),
            "that is the size of the first batch. The last one holds what remains.",
        ),
        (
            lambda samples, batch_size: batch_size,
            "that is the size of a full batch. The last one holds what remains.",
        ),
        (
            lambda samples, batch_size: samples // batch_size,
            "that is the number of full batches. What do they leave?",
        ),
        (
            lambda samples, batch_size: batch_size - samples % batch_size,
            "that is how many samples are missing to fill the last batch. How many are in it?",
        ),
    ],
    hints=[
        "The remainder of a division is `samples % batch_size`. When is it not the answer?",
        "A remainder of 0 means that the last batch is full.",
    ],
    code="""
    def last_batch_size(samples, batch_size):
        return samples % batch_size or batch_size
    """,
)

batch_of = Exercise(
    "lesson_02.batch_of",
    """
    Without shuffling, which batch does a sample land in? Write `batch_of(index, batch_size)`, with samples and
    batches both counted from 0 (the drawings count batches from 1).
    """,
    minutes=5,
    cases=[((0, 4), 0), ((3, 4), 0), ((4, 4), 1), ((9, 4), 2), ((9_999, 32), 312)],
    wrong=[
        (
            lambda index, batch_size: index % batch_size,
            "that is the place inside the batch. The batch itself is how many full batches lie before the sample.",
        ),
        (
            lambda index, batch_size: index / batch_size,
            "a batch number is whole: round down with `//`.",
        ),
        (
            lambda index, batch_size: index // batch_size + 1,
            "this counts batches from 1; the task counts from 0.",
        ),
        (
            lambda index, batch_size: -(-index // batch_size),
            "this rounds up, which counts batches. Here count the full batches before the sample: round down.",
        ),
        (
            lambda index, batch_size: (index + 1) // batch_size,
            "index 3 still belongs to the first batch of 4: add nothing, and round down, not to the nearest.",
        ),
    ],
    hints=[
        "How many full batches lie before sample 9 when a batch holds 4?",
        "Whole-number division is `//`.",
    ],
    code="""
    def batch_of(index, batch_size):
        return index // batch_size
    """,
)
