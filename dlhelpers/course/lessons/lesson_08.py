"""What lesson 08, Count your steps, asks."""

from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Count your steps"

micro_batches = Prediction(
    "lesson_08.micro_batches",
    "Ten images, batches of four, micro-batches of three. How many micro-batches does an epoch have?",
    answer=5,
    because="A micro-batch never reaches into the next batch: 3 + 1, 3 + 1, and the last batch of 2 is one.",
    wrong={
        4: "That would be so if micro-batches were cut from the whole epoch. They are cut from each batch.",
        3: "That is the number of batches.",
        6: "The last batch holds two images, which fit into one micro-batch.",
    },
    hints=[
        "Cut each batch by itself.",
        "How many parts of at most three does a batch of four make? And one of two?",
    ],
)

updates = Prediction(
    "lesson_08.updates",
    "10,000 images in batches of 32 make 313 iterations. The loop takes an optimizer step after every 8th batch, and"
    " after the last one. How many optimizer steps does the epoch have?",
    answer=40,
    because="39 groups of 8 batches take 312 iterations, and the last batch makes one more step alone.",
    wrong={
        313: "That is the number of iterations. Seven of eight of them only add to the gradient.",
        39: "One batch remains after 39 groups of eight, and this loop takes a step for it.",
        39.125: "An optimizer step is taken or it is not: the rest makes one more.",
        2504: "Dividing, not multiplying: the steps are fewer than the iterations.",
    },
    hints=["How many whole groups of 8 are in 313?", "What happens to the batch that remains?"],
)

tail_factor = Prediction(
    "lesson_08.tail_factor",
    "A loader gives 72 images in batches of 8. The loop divides each loss by 4, and takes a step after every 4th batch"
    " and after the last. Measured by its `norm()`, the gradient of the last step is how many times what it should be?",
    answer=0.25,
    within=0.001,
    because="Nine batches are 4, 4 and 1: the last group holds one, and it is divided by four all the same.",
    wrong={
        1: "It would be 1 if the last group were full. How many batches does it hold?",
        4: "It is the other way round: the gradient is divided too often, so it is too small.",
        0.111: "The nine batches of the epoch do not matter, only those of the last group.",
        0.125: "The eight images are averaged rightly. Look at the number of batches.",
    },
    hints=[
        "How many batches are in the last group?",
        "Its loss is divided by 4. By what should it be divided?",
    ],
)

rate_left = Prediction(
    "lesson_08.rate_left",
    "The learning rate starts at 0.1 and is to fall in a straight line to 0 over 1,800 calls. Training makes 450 calls."
    " What is the learning rate at the end?",
    answer=0.075,
    within=0.0005,
    because="450 of 1,800 calls are a quarter of the way, so three quarters of the learning rate are left.",
    wrong={
        0: "It reaches 0 at call 1,800, which never comes.",
        0.025: "A quarter of the way is gone, and so is a quarter of the learning rate. What is left?",
        0.75: "That is the share that is left. The question asks for the learning rate.",
        0.1: "It does fall, at each of the 450 calls.",
    },
    hints=["Which share of the way is gone after 450 of 1,800 calls?", "0.1 * (1 - 450 / 1800)"],
)

steps_that_learn = Prediction(
    "lesson_08.steps_that_learn",
    "The same line from 0.1 to 0. Now somebody thinks in epochs: the line is to reach 0 after 10 calls. But the loop"
    " calls `scheduler.step()` after each of its 450 optimizer steps. How many have a learning rate above 0?",
    answer=10,
    because="The tenth call ends the line, within the first epoch, and no weight changes from then on.",
    wrong={
        450: "The scheduler does not know that 10 meant epochs. It counts calls.",
        45: "That is the number of steps in an epoch. The scheduler counts calls, and there is one at each step.",
        9: "The first step is taken with the full 0.1, before any call.",
        11: "After the tenth call the rate is 0.",
        0: "The line begins at 0.1 and takes some calls to reach 0.",
    },
    hints=["What does the scheduler count?", "After how many calls is the line at 0?"],
)

sixty_epochs = Prediction(
    "lesson_08.sixty_epochs",
    "The model learns from the same 100 images for 60 epochs, and after each epoch we measure its loss on the"
    ' validation images. At the end, is this loss "near" the lowest of all epochs, or more than a tenth "above" it?',
    answer="above",
    choices=("near", "above"),
    because="The model goes on learning its 100 images by heart, and grows surer of its mistakes on others.",
    wrong={
        "near": "So it would be if what is learned late from the 100 images were true of others as well."
    },
    hints=["What can the fiftieth look at the same 100 images still teach?"],
)

resumed = Prediction(
    "lesson_08.resumed",
    "One model trains for four epochs. Another trains for two; its weights, its optimizer's memory and its history are"
    " saved, loaded into a new model and a new optimizer, and it trains for two more. All calls of `fit` get `seed=0`:"
    " the order of an epoch then follows from the seed and the number of the epoch. In the end, are the weights of the"
    ' two the "same" in every bit, "close", or "different"?',
    answer="same",
    choices=("same", "close", "different"),
    because="Whatever the next step depends on was in the file, or follows from the seed and the number of the epoch.",
    wrong={
        "close": "A save in full precision loses no bit, and the same operations on the same bits give the same bits.",
        "different": "The order follows from the seed and the epoch's number; all else that a step needs was saved.",
    },
    hints=["What does the next optimizer step depend on, and is all of it saved?"],
)

not_the_same = Question(
    "lesson_08.not_the_same",
    "A batch of 32 is trained whole, and in micro-batches of 8 weighed by their samples. For which model may the two"
    " optimizer steps differ by more than rounding?",
    [
        Choice(
            "One with convolutions",
            "a convolution looks at one image at a time, however many come together.",
        ),
        Choice(
            "One with BatchNorm",
            "in training mode it takes mean and variance from what passes through it together: from 8 images in place"
            " of 32. The weights n_i / n repair the loss, and cannot repair this.",
            right=True,
        ),
        Choice(
            "Any model, when the last micro-batch is smaller",
            "with the weights n_i / n that is no special case.",
        ),
        Choice("No model", "it holds for models that treat each sample by itself. Not all do."),
    ],
    hints=["Lesson 03 has a layer whose outputs depend on the other samples."],
)

optimizer_steps = Exercise(
    "lesson_08.optimizer_steps",
    """
    Write `optimizer_steps(samples, batch_size, epochs)`: how many optimizer steps `fit` takes in all, with one step a
    batch and without `drop_last`.
    """,
    minutes=5,
    cases=[
        ((1_438, 32, 1), 45),
        ((1_438, 32, 10), 450),
        ((10, 4, 2), 6),
        ((64, 32, 3), 6),
        ((20, 32, 5), 5),
    ],
    wrong=[
        (
            lambda n, b, e: e * (n // b),
            "this leaves out the last, smaller batch, as `drop_last=True` would.",
        ),
        (
            lambda n, b, e: -(-n * e // b),
            "this lets batches run on from one epoch into the next. Each epoch ends one.",
        ),
        (
            lambda n, b, e: n * e // b,
            "this runs on from epoch to epoch, and drops what remains in the end.",
        ),
        (lambda n, b, e: e * n / b, "steps are whole: the rest of an epoch makes one more batch."),
        (lambda n, b, e: -(-n // b), "these are the steps of one epoch."),
        (
            lambda n, b, e: e * (n // b + 1),
            "where the batch size divides the samples, nothing remains for one more batch: 64 in batches of 32 make 2.",
        ),
    ],
    hints=[
        "First the batches of one epoch: `batches_per_epoch` is allowed.",
        "To round up, write `-(-a // b)`.",
    ],
    code="""
    def optimizer_steps(samples, batch_size, epochs):
        return epochs * -(-samples // batch_size)
    """,
)

micro_weights = Exercise(
    "lesson_08.micro_weights",
    """
    Write `micro_weights(samples, micro_batch_size)`: the list of weights by which the mean losses of a batch's
    micro-batches are multiplied. The batch has `samples` samples, and only its last micro-batch may be smaller. Do not
    round.
    """,
    minutes=5,
    cases=[
        ((30, 8), [8 / 30] * 3 + [6 / 30]),
        ((32, 8), [0.25] * 4),
        ((10, 4), [0.4, 0.4, 0.2]),
        ((5, 8), [1.0]),
    ],
    wrong=[
        (
            lambda n, size: [1 / -(-n // size)] * -(-n // size),
            "this divides by the number of micro-batches, so the last, smaller one weighs as much as the others.",
        ),
        (
            lambda n, size: [size / n] * -(-n // size),
            "these add up to more than 1 where the last micro-batch holds fewer samples.",
        ),
        (
            lambda n, size: [size / n] * (n // size),
            "the samples that do not fill a micro-batch are missing: they make one more, smaller one.",
        ),
        (
            lambda n, size: [min(size, n - start) / n for start in range(0, n + 1, size)],
            "where the samples fill all micro-batches this adds one more, of no samples and weight 0.",
        ),
        (
            lambda n, size: [1 / n] * -(-n // size),
            "this is the weight of a single sample. A micro-batch weighs as much as all of its samples together.",
        ),
        (
            lambda n, size: [min(size, n - start) for start in range(0, n, size)],
            "these are the numbers of samples. As weights they have to add up to 1.",
        ),
    ],
    hints=[
        "`range(0, samples, micro_batch_size)` gives the place where each micro-batch begins.",
        "A micro-batch that begins at `start` holds what remains, but not more than micro_batch_size.",
    ],
    code="""
    def micro_weights(samples, micro_batch_size):
        starts = range(0, samples, micro_batch_size)
        return [min(micro_batch_size, samples - start) / samples for start in starts]
    """,
)

scheduler_steps = Exercise(
    "lesson_08.scheduler_steps",
    """
    A loop of the usual kind takes an optimizer step after every `accumulate` batches and after the last batch of each
    epoch, and moves the scheduler on after each optimizer step. Write `scheduler_steps(batches, accumulate, epochs)`:
    the number of calls to tell the scheduler, where `batches` is `len(loader)`.
    """,
    minutes=5,
    cases=[
        ((313, 8, 1), 40),
        ((180, 4, 10), 450),
        ((9, 4, 2), 6),
        ((45, 1, 10), 450),
        ((3, 8, 2), 2),
    ],
    wrong=[
        (
            lambda n, k, e: n * e,
            "these are the iterations. There are fewer optimizer steps, and those move it on.",
        ),
        (
            lambda n, k, e: n // k * e,
            "this forgets the step for what fills no group at the end of an epoch.",
        ),
        (
            lambda n, k, e: -(-n * e // k),
            "this lets groups run on into the next epoch. Here each epoch ends one.",
        ),
        (
            lambda n, k, e: (n // k + 1) * e,
            "where the batches fill all groups no batch is left, and no step for it.",
        ),
        (
            lambda n, k, e: n * k * e,
            "with more batches in each optimizer step there are fewer steps, not more.",
        ),
        (lambda n, k, e: e, "that would be so if it moved on after each epoch."),
    ],
    hints=[
        "How many groups does an epoch have, the last, smaller one included?",
        "Then: how many epochs are there?",
    ],
    code="""
    def scheduler_steps(batches, accumulate, epochs):
        return epochs * -(-batches // accumulate)
    """,
)
