"""What lesson 12, Stream your data, asks."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from dlhelpers.course.judges import OWN_NUMBERS
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Stream your data"

WORKERS = [None, *(SimpleNamespace(id=w, num_workers=of) for w, of in ((1, 2), (0, 2), (2, 3)))]
EXPECTED = [list("abcdefghi"), list("bdfh"), list("acegi"), list("cfi")]
UNSHARED = [  # known ways to share nine samples wrongly: between workers, and in the main process
    (
        lambda samples, w, of: samples,
        lambda samples: samples,
        "that's the whole stream for each worker: two of them give each sample twice.",
    ),
    (
        lambda samples, w, of: samples[w:],
        lambda samples: samples,
        "worker 1 leaves out the first sample and takes all others: where is the step?",
    ),
    (
        lambda samples, w, of: samples[w:of],
        lambda samples: samples,
        "the third argument of `islice` is where it stops: write `islice(samples, start, None, step)`.",
    ),
    (
        lambda samples, w, of: samples[w + 1 :: of],
        lambda samples: samples,
        "nobody takes the first sample: positions and workers both count from 0.",
    ),
    (
        lambda samples, w, of: samples[w :: w + 1],
        lambda samples: samples,
        "the step is the number of workers, not this worker's number.",
    ),
    (
        lambda samples, w, of: samples[w::of],
        lambda samples: (),
        "in the main process nothing comes. There `worker` is None, and all samples are wanted. (Where a function has a"
        " `yield`, `return samples` hands out nothing: write `yield from samples`.)",
    ),
    (
        lambda samples, w, of: range(w, 9, of),
        lambda samples: range(9),
        "these are the positions. Hand out the samples themselves.",
    ),
    (
        lambda samples, w, of: samples[9 // of * w :][: 9 // of],
        lambda samples: samples,
        "cutting into blocks needs the length, which a stream doesn't have, and here it loses the rest. Take every W-th"
        " sample, from your own place on.",
    ),
]
SAID = [  # what an error says, and what it means here
    (
        "NoneType",
        "in the main process `get_worker_info()` gives None, which has no `id`: all samples are wanted then, and"
        " nothing after them, so that part ends with a `return`.",
    ),
    (
        "islice()",
        "worker 0 would take steps of 0: in `islice(samples, start, None, step)` the start is a worker's own id, and"
        " the step is the number of workers.",
    ),
    ("subscriptable", "a stream has no index: loop over it, or use `islice`."),
    ("has no len", "a stream has no length: loop over it, or use `islice`."),
]


ONE_BY_ONE = (
    "it handed out something that isn't a sample: `yield` one sample at a time. To hand out a whole list, or another"
    " generator, use `yield from`."
)


def _one_by_one(answer: Callable, *arguments: object) -> bool:
    """Say whether what a learner's generator hands out of some numbers are numbers."""
    try:
        return all(isinstance(k, int) for k in islice(answer(iter(range(5)), *arguments), 20))
    except (TypeError, ValueError):  # for the judge
        return True


def judge_checked(answer: Callable) -> str | None:
    """Say what is wrong with a learner's checked, or return None."""
    try:
        return _checked(answer) if _one_by_one(answer, 5) else ONE_BY_ONE
    except UnboundLocalError:
        return "with an empty stream the loop never runs, so your count has no value: set it to 0 before the loop."
    except AssertionError:
        return "it raised an AssertionError: write `raise ValueError(...)`, which stays when Python runs with `-O`."


def judge_shuffle_buffer(answer: Callable) -> str | None:
    """Say what is wrong with a learner's shuffle_buffer, or return None."""
    if not _one_by_one(answer, 2, Random(0)):
        return ONE_BY_ONE
    try:
        return _buffered(answer)
    except TypeError as error:
        if "'NoneType' object is not iterable" in str(error):
            return "`random.shuffle` returns nothing: it shuffles the list you give it."
        raise


def _buffered(answer: Callable[[Iterable[int], int, Random], Iterable[int]]) -> str | None:
    """What is wrong with the samples that a shuffle_buffer hands out, their order and what it holds, or None."""
    if problem := _no_stream(answer(range(3), 2, Random(0))):
        return problem
    runs = [_pass_through(answer, 10, 4, seed) for seed in range(60)]
    orders, held = [order for order, _ in runs], max(most for _, most in runs)
    for order in orders:
        if sorted(order) != list(range(10)):
            return (
                f"of the samples 0 to 9 came {order}: each is expected once. At the end, what's left in the"
                " buffer has to come out too. Before that, put in every sample, and `pop` one when the buffer of 4 is"
                " full."
            )
    if held > 5:  # one more than the buffer: the sample that is about to take the place of another
        return f"with a buffer of 4, {held} samples were held at once: hand one out as soon as it is full."
    early = max(sample - place for order in orders for place, sample in enumerate(order))
    if early > 3:
        return (
            f"with a buffer of 4, a sample came {early} places early, and 3 is the most: pick one as soon as the list"
            " holds 4, before you add the next."
        )
    if runs[0] != _pass_through(answer, 10, 4, 0):
        return OWN_NUMBERS
    if len(firsts := {order[0] for order in orders}) < 4:
        return f"the first one out of a buffer of 4 is always among {sorted(firsts)}: fill it, then take any."
    if all(set(order[:4]) == {0, 1, 2, 3} for order in orders):
        return "this mixes four samples, then the next four. Take one out, and let the next one in at once."
    if len({tuple(_pass_through(answer, 4, 6, seed)[0]) for seed in range(60)}) < 12:
        return "what is left in the buffer when the stream ends comes out in order: shuffle it."
    return None


def _checked(answer: Callable[[Iterable[int], int], Iterable[int]]) -> str | None:
    """What is wrong with the samples that a checked passes on, and with what it raises, or None."""
    if problem := _no_stream(answer(range(3), 3)):
        return problem
    for length, promised in ((5, 5), (3, 5), (7, 5), (0, 5), (0, 0)):
        came, taken, refusal = [], [], ""
        try:
            for sample in islice(answer(_noting(length, taken), promised), 20):
                came.append(sample)
                if len(taken) > len(came) + 1:
                    return f"it had read {len(taken)} samples before it gave the first: pass each on at once."
        except ValueError as error:
            refusal = repr(error)
        if length and taken == list(range(length)) and not came:
            return "it had read the stream before it gave the first, and a stream can be read once: count on the way."
        if came != list(range(length)):
            return f"of {length} samples it passed on {came}: each is expected once, in order; compare after the loop."
        named = str(length) in refusal and str(promised) in refusal
        if bool(refusal) != (length != promised) or refusal and not named:
            return (
                f"{length} samples came, {promised} were promised, and it raised {refusal or 'nothing'}: a ValueError"
                " that names both numbers is expected where they differ, and none where they do not."
            )
    return None


def _noting(length: int, taken: list[int]) -> Iterator[int]:
    """The numbers 0, 1, 2, ... as a stream that notes what has been taken from it."""
    for k in range(length):
        taken.append(k)
        yield k


def _no_stream(result: object) -> str | None:
    """What is wrong with what an answer returned, if no loop can take samples from it one by one."""
    if isinstance(result, (list, tuple)):
        return f"it returned a {type(result).__name__}: it read everything before giving the first. Use `yield`."
    if not isinstance(result, Iterable):
        return (
            f"it returned {result!r}, which you can't loop over: hand the samples out with `yield`."
        )
    return None


def _pass_through(answer: Callable, length: int, size: int, seed: int) -> tuple[list[int], int]:
    """The order that a buffer makes of 0, 1, 2, ..., and the most samples it had read and not given."""
    taken, order, most = [], [], 0
    # cut off, or an endless answer would not come back
    for sample in islice(answer(_noting(length, taken), size, Random(seed)), 3 * length):
        most = max(most, len(taken) - len(order))
        order.append(sample)
    return order, most


def judge_share(answer: Callable[[Iterable[str], Any], Iterable[str]]) -> str | None:
    """Say what is wrong with a learner's share, or return None."""
    got, taken = [], []
    for worker, expected in zip(WORKERS, EXPECTED, strict=True):
        who = f"worker {worker.id} of {worker.num_workers}" if worker else "the main process"
        try:
            if (result := answer(iter("abcdefghi"), worker)) is None:
                return f"for {who} it returned None: is a `return` or a `yield` missing?"
            got.append((who, list(result), expected))
        except (AttributeError, TypeError, ValueError) as error:
            if meant := next((meant for sign, meant in SAID if sign in str(error)), ""):
                return meant
            raise
    if not _one_by_one(answer, WORKERS[2]):
        return ONE_BY_ONE
    for between, alone, message in UNSHARED:
        known = [
            list(between("abcdefghi", w.id, w.num_workers) if w else alone("abcdefghi"))
            for w in WORKERS
        ]
        if [result for _, result, _ in got] == known:
            return message
    for who, result, expected in got:
        if result != expected:
            return f"of the samples a to i it gave {who} {result!r:.70}; {expected} is expected."
    next(iter(answer((taken.append(k) or k for k in range(9)), WORKERS[2])))
    if len(taken) > 2:
        return (
            f"the shares are right, but it had read {len(taken)} samples when it gave its first. A stream may never"
            " end: hand one out before you read on."
        )
    return None


def judge_epoch_order(answer: Callable[[list[str], int, int], list[str]]) -> str | None:
    """Say what is wrong with a learner's epoch_order, or return None."""
    names = [f"shard {k}" for k in range(10)]

    def order(epoch: int, seed: int = 0) -> list[str]:
        return answer(list(names), epoch, seed)

    try:
        first, given = order(0), list(names)
    except TypeError as error:
        if "seed" not in str(error):
            raise
        return "`Random` takes no tuple or list as its seed: make one text of both."
    if first is None:
        return "it returned None: is a `return` missing? `random.shuffle` returns nothing, it shuffles the list itself."
    if not isinstance(first, list) or sorted(first) != names:
        return f"of 10 shards it gave {first!r:.60}: each is expected once, in a list."
    if (again := order(1, 5)) != order(1, 5):
        return "the same seed and epoch gave a different order the second time: seed your own `Random`."
    with patch("builtins.hash", lambda value, real=hash: real(value) + isinstance(value, str)):
        if order(1, 5) != again:
            return (
                "`hash` of a text is different in each process: give the text itself to `Random`."
            )
    answer(given, 0, 0)
    if given != names:
        return (
            "it changed the order of the list it was given, and the next call starts from there. So epoch 3"
            " depends on how many epochs came before it in this process. Shuffle a copy."
        )
    if any(order(0, seed) == order(1, seed) for seed in (0, 1)):
        where = "" if order(0, 1) == order(1, 1) else " with seed 0"
        return f"epochs 0 and 1 have the same order{where}: the epoch has to go into the seed."
    if order(2, 0) == order(2, 1):
        return "seeds 0 and 1 give the same order: now the seed is ignored."
    return None


warnings_given = Prediction(
    "lesson_12.warnings_given",
    "The stream promises 10 samples and delivers 30. We call `len(loader)`, then iterate in batches of 4. How many"
    " warnings does PyTorch give?",
    belief="PyTorch warns when a stream's `__len__` is wrong, so a wrong one will be noticed; met in forum answers that"
    " add a `__len__` to a stream to please a progress bar",
    answer=0,
    because="It compares the number of batches, 8, with the number of samples promised, 10. And 8 is not more than 10.",
    wrong={
        20: "That would be one for each extra sample. Samples aren't what it counts.",
        5: "That would be one for each batch beyond the three that were promised. It doesn't compare with three.",
        8: "That's how many batches come. Which of them would be too many?",
        1: "One would be enough for the whole stream. But first it has to notice.",
    },
    hints=[
        "How many batches come? PyTorch counts those.",
        "What does it compare them with: the length of the loader, or that of the dataset?",
    ],
)

checked = Exercise(
    "lesson_12.checked",
    """
    Write `checked(samples, promised)`: a generator that passes each sample on as it comes, counts them, and raises a
    `ValueError` at the end unless exactly `promised` samples came. The message should name both numbers.
    """,
    minutes=3,
    judge=judge_checked,
    praise="now a stream can't end early, or go on for too long, without a word.",
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

two_workers = Prediction(
    "lesson_12.two_workers",
    "We read the stream of 12 images in batches of 4, now with `num_workers=2`. How many samples do we get in an"
    " epoch?",
    belief="num_workers divides the work, whatever the dataset; the usual answer says it 'enhances efficiency'",
    answer=24,
    because="Each of the two workers has a copy of the stream, and reads all of it.",
    wrong={
        12: "That's what a map-style dataset gives: its indices are dealt out to the workers. A stream has none.",
        6: "That's the share each worker should have.",
    },
    hints=["What does a worker get: a part of the stream, or a copy of it?"],
)

share = Exercise(
    "lesson_12.share",
    """
    Write `share(samples, worker)`: hand out this worker's share of a stream. `worker` is what `get_worker_info()`
    returned. Of W workers, worker w takes samples w, w + W, w + 2W and so on; in the main process, hand out all of
    them.
    """,
    minutes=3,
    judge=judge_share,
    praise="each sample once, however many workers there are, and all of them without any.",
    hints=[
        "Two cases: `worker` is None, or it has an `id` and `num_workers`.",
        "In a generator, `yield from` hands out all of another one; a plain function can return an `islice`.",
    ],
    code="""
    from itertools import islice

    def share(samples, worker):
        if worker is None:
            return samples
        return islice(samples, worker.id, None, worker.num_workers)
    """,
)

shuffle_buffer = Exercise(
    "lesson_12.shuffle_buffer",
    """
    Write `shuffle_buffer(samples, size, random)`, a generator that does what the text above says. Draw with the
    `random` it's given.
    """,
    minutes=5,
    judge=judge_shuffle_buffer,
    praise="each sample comes once, and none earlier than the buffer allows.",
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

classes_in_batch = Prediction(
    "lesson_12.classes_in_batch",
    "10,000 samples, sorted by their 10 classes, pass through a buffer of 1,000. On average, how many different"
    " classes are in a batch of 50? Give the nearest: 1, 2, 4 or 9.",
    belief="a buffer of 1,000, a default of streaming libraries, shuffles well enough; met in their quick starts, which"
    " name the size and not what it is compared with",
    answer=4,
    within=0.5,
    because="The buffer holds a tenth of the data, most of it from the last two or three classes that came by, plus a"
    " few stragglers from each class before.",
    wrong={
        9: "A shuffle of all samples comes near that. The buffer hasn't seen the later classes yet.",
        1: "That's the stream without a buffer: each class fills 20 batches by itself.",
        2: "The buffer holds more than two classes: some samples stay while two or three other classes pass.",
        10: "For that, every batch would need samples that haven't been read yet.",
    },
    hints=[
        "A class has 1,000 samples. How long does a sample stay in the buffer, at least and at most?",
        "On average 1,000 others pass while it waits; some wait three times as long.",
    ],
)

shard_orders = Prediction(
    "lesson_12.shard_orders",
    "`WebDataset(shards, shardshuffle=10, seed=0)` shuffles our 10 shards. We create it once and read it for three"
    " epochs. How many different orders of the shards do we see?",
    belief="with a seed the orders can be repeated and still change from epoch to epoch, as with shuffle=True in a"
    " DataLoader; met wherever a recipe says `shardshuffle=` and `seed=`",
    answer=1,
    because="`WebDataset` starts its random numbers again in each epoch, from the same seed. (Without `seed=` it draws"
    " one when it's created, and keeps it.)",
    wrong={
        3: "That's what you'd want, and what `shuffle=True` does with a map-style dataset.",
        2: "There is no special first epoch: all three start alike.",
        10: "In three epochs there can be at most three.",
    },
    hints=["When does it start its random numbers: once, or at the start of each epoch?"],
)

epoch_order = Exercise(
    "lesson_12.epoch_order",
    """
    Repair `epoch_order`: the order must depend only on the shards, the seed and the epoch, and every epoch must have
    its own.
    """,
    minutes=3,
    given="""
    def epoch_order(shards, epoch, seed=0):
        random = Random(seed)
        random.shuffle(shards)
        return shards
    """,
    judge=judge_epoch_order,
    praise="no matter which process asks, or when: epoch 3 has one order.",
    hints=[
        "Call it twice for the same epoch with the same list. Then for two epochs, with a fresh list each time.",
        "`Random` takes a whole number or a text as its seed. `random.sample` leaves its list alone and returns a new"
        " one.",
    ],
    code="""
    from random import Random

    def epoch_order(shards, epoch, seed=0):
        random = Random(f"{seed}, {epoch}")
        return random.sample(shards, k=len(shards))
    """,
)

cut_shard = Prediction(
    "lesson_12.cut_shard",
    "Four copies of a shard of 150 samples were cut short: after sample 60; in the header of image 61;"
    " in image 61; and between image 61 and its label. We read each to its end with Python's `tarfile`. How many of the"
    " four raise an error?",
    belief="a file that is cut short can't be read without an error; met in pipelines that copy shards and check only"
    " that the copy can be opened",
    answer=1,
    because="Only the cut in the image raises one. A tar file ends with a mark, at least 1,024 bytes of zeros, but this"
    " reader doesn't insist on it: it takes a missing header for the end of the archive, and a cut one too.",
    wrong={
        4: "The mark at the end is missing from all of them, so a reader could complain. This one doesn't.",
        3: "After a whole sample it can't know, true. But does it know any more after a whole file, or half a header?",
        2: "In the middle of the image, bytes are missing that its header promised. At the other three places, nothing"
        " has been promised yet.",
        0: "A header says how many bytes follow. In the middle of the image, they run out.",
    },
    hints=["At which of the four places does the reader know that more has to come?"],
)

what_to_save = Question(
    "lesson_12.what_to_save",
    "You train on these shards with two workers, in the order of `epoch_order`, and the run may be stopped at any"
    " moment. Besides model and optimizer, what goes into the checkpoint, so that no sample is repeated or lost?",
    [
        Choice(
            "How many samples the stream has handed out",
            "workers run ahead (lesson 09): what they had fetched and nobody trained on would be lost.",
        ),
        Choice(
            "The epoch, and how many batches were trained on",
            "seed and epoch give you the order again, and the batch count says where you are in it. (With the same"
            " number of workers, that is.)",
            right=True,
        ),
        Choice(
            "The name of the last shard",
            "it was half read: its samples would come again, or never.",
        ),
        Choice(
            "The state of Python's random numbers",
            "it doesn't say where in the epoch you are. (Nor does it bring augmentation back: workers have their own"
            " seeds.)",
        ),
    ],
    hints=[
        "The order can be drawn again. What else do you need, and who knows it without running ahead?"
    ],
)
