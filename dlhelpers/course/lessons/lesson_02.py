"""What lesson 02, Count your batches, asks."""

from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Count your batches"

small_loader = Prediction(
    "lesson_02.small_loader",
    "Ten images, in batches of four. What is `len(loader)`?",
    belief="The loader's size is its batch size: the usual forum answer on dataset length and loader size.",
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

batch_of = Exercise(
    "lesson_02.batch_of",
    """
    Write `batch_of(index, batch_size)`: the batch in which a sample lands without shuffling. Count samples and batches
    from 0, as `enumerate(loader)` does.
    """,
    minutes=3,
    cases=[((0, 4), 0), ((3, 4), 0), ((4, 4), 1), ((9, 4), 2), ((9_999, 32), 312)],
    wrong=[
        (
            lambda index, batch_size: index % batch_size,
            "that is the place inside the batch. The batch itself is how many full batches lie before the sample.",
        ),
        (
            lambda index, batch_size: index / batch_size,
            "index 9 gives 2.25, and no batch has that number. Which batch is it in?",
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

independent = Question(
    "lesson_02.independent",
    'A much-read forum answer says: "The length of the dataset and the size of the loader are independent." What do'
    " you reply?",
    [
        Choice(
            "True: the length belongs to the data, and the size is set by you",
            'that holds for `batch_size`. `len(loader)` is nothing you set: it changes with the length. "Size" hides'
            " which of the two is meant.",
        ),
        Choice(
            "The batch size is free, and the number of batches follows from it and from the length",
            "you choose one number, and the other comes out of a division. A word that means both hides that.",
            right=True,
        ),
        Choice(
            "False: both are the number of samples",
            "only with a batch size of 1 is `len(loader)` the number of samples.",
        ),
        Choice(
            "True once `shuffle=True` is set",
            "shuffling changes the order. It adds no batch and takes none away.",
        ),
    ],
    hints=["Which of the three numbers in the table can you pass to `DataLoader(...)`?"],
)

last_batch_size = Exercise(
    "lesson_02.last_batch_size",
    """
    Write `last_batch_size(samples, batch_size)`: the number of samples in the last batch of an epoch. Both numbers are
    at least 1. One of our cases is an epoch in which all batches are full.
    """,
    minutes=4,
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
            lambda samples, batch_size: samples / batch_size % 1,
            "that is the filled part of a batch: half, for 10 samples in batches of 4. How many samples is that?",
        ),
        (
            lambda samples, batch_size: (samples - 1) % batch_size,
            "that is the place of the last sample in its batch, counted from 0.",
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


def _cut(starts, stop=lambda start, samples, batch_size: start + batch_size):
    """A cut_into_batches that begins its batches at `starts(samples, batch_size)` and ends them at `stop`."""
    return lambda samples, batch_size: [
        list(range(start, stop(start, samples, batch_size)))
        for start in starts(samples, batch_size)
    ]


def _in_reach(start, samples, batch_size):
    return min(start + batch_size, samples)


def _rest_in_the_last(samples, batch_size):
    full = max(samples // batch_size, 1)
    cut = [list(range(k * batch_size, (k + 1) * batch_size)) for k in range(full)]
    return [*cut[:-1], list(range((full - 1) * batch_size, samples))]


cut_into_batches = Exercise(
    "lesson_02.cut_into_batches",
    """
    This is a loader by hand: it cuts the indices 0, 1, 2, ... into batches. It runs, and it loses images. Repair it, so
    that each index comes once, and only the last batch may be short.
    """,
    minutes=5,
    given="""
    def cut_into_batches(samples, batch_size):
        batches = []
        for k in range(samples // batch_size):
            start = k * batch_size
            stop = start + batch_size
            batches.append(list(range(start, stop)))
        return batches
    """,
    cases=[
        ((10, 4), [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]),
        ((8, 4), [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ((3, 4), [[0, 1, 2]]),
        ((7, 3), [[0, 1, 2], [3, 4, 5], [6]]),
    ],
    wrong=[
        (
            _cut(lambda n, b: range(0, n // b * b, b)),
            "the images after the last full batch are still lost: 10 samples in batches of 4 are two batches, and 8 and"
            " 9 are in neither.",
        ),
        (
            _cut(lambda n, b: range(0, (n // b + 1) * b, b)),
            "one round more is right where a rest is left. But that batch is filled with indices that do not exist"
            " (10 and 11), and 8 samples in batches of 4 get a third batch.",
        ),
        (
            _cut(lambda n, b: range(0, (n // b + 1) * b, b), _in_reach),
            "8 samples in batches of 4 end with an empty batch: one round more is right only where a rest is left.",
        ),
        (
            _cut(lambda n, b: range(0, n, b)),
            "the number of batches is right now. The last one still has `batch_size` indices, and some of them do not"
            " exist: where does it have to stop?",
        ),
        (
            _rest_in_the_last,
            "the rest has gone into the batch before it, which is now larger than `batch_size`. It makes a batch of its"
            " own.",
        ),
    ],
    praise="each index comes once, and only the last batch may be short. A `DataLoader` does the same.",
    hints=[
        "Run it for 10 and 4 and look for images 8 and 9. Then run it for 8 and 4: that has to stay as it is.",
        "Two things have to change: how many rounds there are, and where the last batch stops.",
        "`range(0, samples, batch_size)` gives the start of every batch, and `min` keeps a batch inside the dataset.",
    ],
    code="""
    def cut_into_batches(samples, batch_size):
        batches = []
        for start in range(0, samples, batch_size):
            stop = min(start + batch_size, samples)
            batches.append(list(range(start, stop)))
        return batches
    """,
)

two_epochs = Prediction(
    "lesson_02.two_epochs",
    "Two epochs of 10,000 images in batches of 32: the recipe gives 20,000 / 32 = 625. How many iterations does a loop"
    " over two epochs make?",
    belief="Iterations are epochs x samples / batch size: recipes for schedulers, and papers that state steps.",
    answer=626,
    because="Each epoch ends with its own short batch, so two epochs are twice 313.",
    wrong={
        625: "That would be so if the next epoch filled up the last batch. A loader starts each epoch anew.",
        624: "That drops the short batch of each epoch. Nobody asked for it.",
        313: "That is one epoch.",
        627: "Each epoch has one batch that is not full, so there are two of them, and 2 x 312 full ones.",
    },
    hints=["How many iterations does one epoch have? What happens to its last 16 images?"],
)

never_seen = Prediction(
    "lesson_02.never_seen",
    "10,000 images, batches of 32, `drop_last=True` and `shuffle=True`. After ten epochs, how many of the 10,000 images"
    " has the model never seen?",
    belief="drop_last=True loses those samples for good: forum answers that advise against it in training.",
    answer=0,
    because="Each epoch leaves out 16 images at random, and hardly ever the same ones.",
    wrong={
        16: "It would be the same 16 without shuffling. With it, each epoch draws its order anew, and so its rest.",
        160: "160 times an image was left out of an epoch. The other nine epochs made up for it.",
        9984: "That is how many images one epoch uses.",
    },
    hints=["What does shuffle do at the start of each epoch, and which 16 images then come last?"],
)

too_few = Prediction(
    "lesson_02.too_few",
    "Twenty images, `batch_size=32` and `drop_last=True`. What do you get from `loss_of_epoch`:"
    ' "an error", "the loss of 20 images" or "a loss of 0.0"?',
    belief="A loader that cannot fill a batch raises an error, or gives what it has: tabnet's issue 537.",
    answer="a loss of 0.0",
    choices=("an error", "the loss of 20 images", "a loss of 0.0"),
    because="The only batch is not full, so it is dropped, and the loop body never runs. Yet 0.0 looks like"
    " a perfect model.",
    wrong={
        "an error": "A loop over nothing is no error in Python, and PyTorch says nothing either.",
        "the loss of 20 images": "That is what you get without drop_last.",
    },
    hints=["How many full batches of 32 do 20 images make?", "What does a `for` do with nothing?"],
)
