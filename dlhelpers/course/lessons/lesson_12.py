"""What lesson 12, Stream your data, asks."""

from math import ceil

from dlhelpers.course.judges import judge_buffer, judge_checked
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Stream your data"

stream_length = Prediction(
    "lesson_12.stream_length",
    'A loader takes this stream of 12 images in batches of 4. What does `len(loader)` give: "3", "12" or "an error"?',
    answer="an error",
    choices=("3", "12", "an error"),
    because="A loader computes its length from that of the dataset, and a stream has none.",
    wrong={
        "3": "That many batches will come, and nobody knows it before: the stream has no length to divide by 4.",
        "12": "Nothing has counted the images. A stream hands out the next one, and knows no more.",
    },
    hints=["From which two numbers did lesson 02 compute it?"],
)

warnings_given = Prediction(
    "lesson_12.warnings_given",
    "The stream promises 10 samples, and 30 come. We ask for `len(loader)`, and then iterate in batches of 4. How many"
    " warnings does PyTorch give?",
    answer=0,
    because="It compares the number of batches, 8, with the number of samples promised, 10, and 8 is not more than 10.",
    wrong={
        20: "That would be a warning for each sample too many. Samples are not what is counted.",
        5: "That would be a warning for each batch beyond the three that were promised. Three is not what it looks at.",
        1: "One for the whole stream would be enough. It comes with each batch beyond a number, or not at all.",
    },
    hints=[
        "How many batches come? PyTorch counts those.",
        "Which number does it hold the batches against?",
    ],
)

two_workers = Prediction(
    "lesson_12.two_workers",
    "The stream of 12 images, in batches of 4, with `num_workers=2`. How many samples come in an epoch?",
    answer=24,
    because="Each of the two workers has a copy of the stream, and reads all of it.",
    wrong={
        12: "That is what a map-style dataset gives: its indices are dealt out. A stream has no indices to deal out.",
        6: "That is the share that each worker should have.",
    },
    hints=["What does a worker get: a part of the stream, or a copy of it?"],
)

classes_in_batch = Prediction(
    "lesson_12.classes_in_batch",
    "10,000 samples, sorted by their 10 classes, pass through a buffer of 1,000. In a batch of 50, how many different"
    " classes are there on average? Which is nearest: 1, 2, 4 or 9?",
    answer=4,
    because="The buffer holds a tenth of the data, most of it from the last two or three classes that came by, and a"
    " few from each of those before.",
    wrong={
        9: "That is what a shuffle of all samples gives, nearly. The buffer has not seen the later classes yet.",
        1: "That is the stream without a buffer: each class fills 20 batches by itself.",
        2: "The buffer holds samples of more than two classes: some stay while two or three others pass.",
    },
    hints=[
        "A class has 1,000 samples, and a sample leaves the buffer at random: some at once, some after a long time."
    ],
)

shard_orders = Prediction(
    "lesson_12.shard_orders",
    "`WebDataset(shards, shardshuffle=10, seed=0)` shuffles our 10 shards. Is the seed used once, or anew in each"
    " epoch? We read three epochs. How many different orders of the shards do we see?",
    answer=1,
    because="The random numbers start anew in each epoch, from the same seed, as the seed is given.",
    wrong={
        3: "That is what one would wish for, and what `shuffle=True` does in a loader of a map-style dataset."
    },
    hints=["At what time are the random numbers made: once, or at the start of each epoch?"],
)

cut_shard = Prediction(
    "lesson_12.cut_shard",
    "A shard of 150 samples was cut off after the 60th, as by a copy that was broken off. We read it to its end."
    ' What tells us: "an error", or "nothing"?',
    answer="nothing",
    choices=("an error", "nothing"),
    because="A tar file ends with a mark, 1,024 bytes of zeros, and the readers do not insist on it: one that ends"
    " early looks like a short one.",
    wrong={
        "an error": "The mark at the end is missing, so a reader could complain. This one takes the end of the file for"
        " the end of the archive."
    },
    hints=["Does the reader need anything after the last whole file?"],
)

samples_read = Prediction(
    "lesson_12.samples_read",
    "An epoch has 1,000 samples, and training stopped after 800. To hand out the other 200, how many samples does the"
    " stream have to read?",
    answer=1000,
    because="A stream can be entered at its start only: 800 samples are read again and thrown away.",
    wrong={
        200: "That is what a dataset with an index reads. A stream cannot be asked for sample 800.",
        800: "Those are the ones that are read for nothing. The others have to be read too.",
    },
    hints=["Where does a stream begin?"],
)

what_to_save = Question(
    "lesson_12.what_to_save",
    "Training on a map-style dataset, with a `BlockShuffleSampler` and two workers, may be stopped at any moment. What"
    " has to be saved about the data, beside the model and the optimizer, so that no sample is repeated or lost?",
    [
        Choice(
            "How many indices the sampler gave",
            "workers are batches ahead: what nobody trained on would be lost.",
        ),
        Choice(
            "The epoch, and how many samples were trained on",
            "seed and epoch give the order again.",
            right=True,
        ),
        Choice(
            "The index of the last sample",
            "each epoch has it at another place: without the epoch it does not say what came before.",
        ),
        Choice(
            "The state of all random numbers",
            "this gives the augmentations, and not the place in the epoch.",
        ),
    ],
    hints=[
        "The order can be made again. What else do you need, and who knows it without running ahead?"
    ],
)

shuffle_buffer = Exercise(
    "lesson_12.shuffle_buffer",
    """
    Write the buffer: `shuffle_buffer(samples, size, random)` is a generator that does what the text above says. Draw
    with the `random` that it is given.
    """,
    minutes=10,
    judge=judge_buffer,
    praise="each sample comes once, and no more are held than the buffer has places.",
    hints=[
        "`buffer.pop(k)` takes out the sample at place k.",
        "After the loop, the list is not empty yet.",
    ],
    code="""
    def shuffle_buffer(samples, size, random):
        buffer = []
        for sample in samples:
            buffer.append(sample)
            if len(buffer) == size:
                yield buffer.pop(random.randrange(size))
        random.shuffle(buffer)
        yield from buffer
    """,
)

stream_batches = Exercise(
    "lesson_12.stream_batches",
    """
    Write `stream_batches(samples, batch_size, workers)`: how many batches come from a stream that is split by worker as
    `SplitStream` does it, without `drop_last`. With 0 workers the main process reads all of it.
    """,
    minutes=5,
    cases=[
        ((12, 4, 2), 4),
        ((12, 4, 0), 3),
        ((9, 4, 2), 3),
        ((100, 16, 2), 8),
        ((10_000, 32, 4), 316),
        ((2, 4, 3), 2),
    ],
    wrong=[
        (
            lambda n, b, w: sum(ceil(len(range(k, n, w)) / b) for k in range(w)),
            "with 0 workers it counts 0 batches: the main process then reads all of it, as one worker would.",
        ),
        (
            lambda n, b, w: ceil(n / b),
            "that is one process. With workers, each ends with a ragged batch of its own.",
        ),
        (
            lambda n, b, w: (w or 1) * ceil(n / b),
            "here the workers share the stream: each reads a part.",
        ),
        (
            lambda n, b, w: (w or 1) * (n // (w or 1) // b),
            "this counts full batches. Each worker's rest makes one more.",
        ),
        (
            lambda n, b, w: (w or 1) * ceil(n // (w or 1) / b),
            "a remainder is lost: the shares of 9 are 5 and 4.",
        ),
        (
            lambda n, b, w: (w or 1) * ceil(n / (w or 1) / b),
            "the shares differ by one: of 9 samples, 5 and 4.",
        ),
    ],
    hints=[
        "First find each worker's share: the first `samples % workers` workers have one sample more.",
        "`batches_per_epoch` of lesson 02 counts for one worker.",
    ],
    code="""
    from dlhelpers.data.batch_counts import batches_per_epoch


    def stream_batches(samples, batch_size, workers):
        shares = [len(range(w, samples, workers or 1)) for w in range(workers or 1)]
        return sum(batches_per_epoch(share, batch_size) for share in shares)
    """,
)

checked = Exercise(
    "lesson_12.checked",
    """
    Write `checked(samples, promised)`: a generator that passes on each sample as it comes, counts, and raises a
    `ValueError` at the end if not exactly `promised` samples came. The message names both numbers.
    """,
    minutes=5,
    judge=judge_checked,
    praise="a stream with a number to compare with can no longer end early in silence.",
    hints=[
        "`yield` each sample inside the loop, and compare after it.",
        "Start a count at 0 before the loop.",
    ],
    code="""
    def checked(samples, promised):
        came = 0
        for sample in samples:
            yield sample
            came += 1
        if came != promised:
            raise ValueError(f"{came} samples came, {promised} were promised")
    """,
)
