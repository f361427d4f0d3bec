"""What lesson 10, Outgrow your memory, asks."""

from math import prod

from dlhelpers.course.judges import judge_block_order, judge_write_whole
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Outgrow your memory"

fails_first = Prediction(
    "lesson_10.fails_first",
    'Under a cap of 80 MB, which line of `usual_example` raises the error? Give its first word: "images", "dataset",'
    ' "loader" or "return".',
    answer="images",
    choices=("images", "dataset", "loader", "return"),
    because="`torch.randn` asks for all bytes at once. Dataset, loader and workers are never made.",
    wrong={
        "dataset": "A `TensorDataset` copies nothing: it needs no more than the tensors that it is given.",
        "loader": "A loader is only told how to make batches. It takes memory when it is iterated over.",
        "return": "Here the workers would start and the batches come. It never gets that far.",
    },
    hints=["Which line makes the numbers?"],
)

fails_to_read = Prediction(
    "lesson_10.fails_to_read",
    "We add up the bytes of the whole file twice, each time in a child under the cap: once with `mmap_mode=None`, the"
    ' default, and once with `mmap_mode="r"`. Which of them fails: "default", "r", "both" or "neither"?',
    answer="default",
    choices=("default", "r", "both", "neither"),
    because="The default makes an array of the file's size first. The map makes none, and reads what is asked for.",
    wrong={
        "r": "It is the other way round: a map, opened for reading, takes no private memory for the file.",
        "both": "Both read every byte. Only one of them holds all bytes at the same time, in memory of its own.",
        "neither": "The file is more than three times the cap, and the default copies all of it into memory.",
    },
    hints=["Which of them needs a private copy of the file?"],
)

resident_size = Prediction(
    "lesson_10.resident_size",
    "The child that read the file through the map stayed under its cap of 80 MB. By how much did its resident memory"
    ' grow while it read the 252 MB: by less than 80 MB ("below") or by more ("above")?',
    answer="above",
    choices=("below", "above"),
    because="Pages of the file that are in memory count as resident, though the system may drop them at any time.",
    wrong={
        "below": "So it would be if the cap counted resident memory. It counts what is private."
    },
    hints=["Where are the bytes of the file while they are added up, and who counts them?"],
)

promised_rows = Prediction(
    "lesson_10.promised_rows",
    "The writer of the one file was to write 1,000 images, and was killed after 600. We open the file: how many images"
    " does it say it has?",
    answer=1000,
    because="The length stands in the header, which was written first, and the file was made long enough at once.",
    wrong={
        600: "That is what was written. The header tells what was meant.",
        0: "It opens without an error. Nothing in it says that it is unfinished.",
    },
    hints=["Which of the two does the file's header know: what was meant, or what was done?"],
)

drawn_again = Prediction(
    "lesson_10.drawn_again",
    "The writer of blocks, 651 images each, was killed after 700 of 1,000 images, and starts again with equal settings."
    " How many images does it draw this time?",
    answer=349,
    because="One block was finished and is kept. The 49 images of the second were still in memory.",
    wrong={
        300: "49 of the 700 were waiting for their block to fill, and died with the process.",
        1000: "Finished blocks are kept: their hashes show that they are right.",
    },
    hints=["How many blocks of 651 had been finished?", "An unfinished block is in memory only."],
)

memory_growth = Prediction(
    "lesson_10.memory_growth",
    "Each of the three gets an epoch in a child under the cap. From the smallest to the largest, the dataset grows 16"
    ' times, by 236 MB. How much does the peak of private memory grow: by "most" of that, so that the largest breaks'
    ' the cap, by "little" (less than 32 MB), or by "some" amount in between?',
    answer="little",
    choices=("most", "some", "little"),
    because="Training holds a batch, the model, and the indices of at most eight blocks, however long the dataset is.",
    wrong={
        "most": "That is what loading the dataset would cost.",
        "some": "Nothing keeps part of the images either.",
    },
    hints=["What is held at any one time, and which part of it depends on the length?"],
)

classes_in_batch = Prediction(
    "lesson_10.classes_in_batch",
    "30,000 images of 3 classes lie in one file, sorted by class. An epoch takes blocks of 1,000 neighbours in random"
    " order and shuffles each in itself. How many classes does a batch of 60 hold on average, to the nearest whole"
    " number?",
    answer=1,
    because="Whatever is shuffled inside a block of one class stays one class.",
    wrong={
        3: "A batch comes from one block, or at a border from two, and a block holds one class.",
        2: "Only a batch at the border of two blocks can hold two, and few batches do.",
    },
    hints=["Which classes does one block hold?"],
)

finds_flip = Prediction(
    "lesson_10.finds_flip",
    'One bit of the 252 MB is wrong. Who finds it: "opening", "verify", "both" or "neither"?',
    answer="verify",
    choices=("opening", "verify", "both", "neither"),
    because="The file is as long as before, and its header is right. Only a look at every byte can tell.",
    wrong={
        "opening": "A flipped bit makes no file longer or shorter.",
        "both": "The lengths agree with the manifest.",
        "neither": "`verify` reads every byte and compares its hash with that of what was written.",
    },
    hints=["What has changed about the file, and who would see it?"],
)

which_number = Question(
    "lesson_10.which_number",
    "A training without workers reads a memory map of 50 GB in a container that allows 4 GB. A monitor shows 3.9 GB"
    " resident. Which number says whether the training is about to be killed?",
    [
        Choice(
            "The 3.9 GB: hardly anything is left",
            "most of it may be pages of the file, which can be dropped.",
        ),
        Choice(
            "The 50 GB: it cannot fit",
            "a map reserves addresses, and takes memory for what is being read.",
        ),
        Choice(
            "Its anonymous memory",
            "here only that cannot be dropped. Far below 4 GB, all is well.",
            True,
        ),
        Choice(
            "The free memory of the machine",
            "the container's limit counts here, not what the machine has.",
        ),
    ],
    hints=["Which part of the memory can the system take back without asking?"],
)

shards_needed = Exercise(
    "lesson_10.shards_needed",
    """
    Some formats cut a dataset into several files, *shards* (lesson 12 has some). Write
    `shards_needed(samples, shape, shard_bytes)`: how many shards hold `samples` images of bytes (uint8) of this
    shape, when the images of a shard may take at most `shard_bytes`? Leave labels and headers out. An image is never
    cut in two.
    """,
    minutes=5,
    cases=[
        ((9, (3, 4, 4), 230), 3),
        ((20, (3, 4, 4), 200), 5),
        ((1_000, (3, 224, 224), 64_000_000), 3),
    ],
    wrong=[
        (
            lambda n, shape, size: -(-n * prod(shape) // size),
            "a part of an image is in each of them.",
        ),
        (
            lambda n, shape, size: n // (size // prod(shape)),
            "the last shard may be short. Round up.",
        ),
        (
            lambda n, shape, size: n // (size // prod(shape)) + 1,
            "where the last shard is full, no other follows.",
        ),
        (
            lambda n, shape, size: -(-n // (size // (4 * prod(shape)))),
            "an image of uint8 takes a byte a number.",
        ),
        (
            lambda n, shape, size: -(-n * 4 * prod(shape) // size),
            "an image of uint8 takes a byte a number, not four.",
        ),
    ],
    hints=[
        "How many whole images fit into one shard?",
        "Then it is the question of lesson 02: round up.",
    ],
    code="""
    from math import ceil, prod


    def shards_needed(samples, shape, shard_bytes):
        rows = shard_bytes // prod(shape)
        return ceil(samples / rows)
    """,
)

block_order = Exercise(
    "lesson_10.block_order",
    """
    Write `block_order(samples, block, random)`: a list of the indices 0 to `samples` - 1, in which blocks of `block`
    neighbours come in random order, and each block is shuffled in itself. The last block may be short. `random` is a
    generator of Python's `random` module: `random.shuffle(items)` shuffles a list in place.
    """,
    minutes=10,
    judge=judge_block_order,
    praise="each index once, neighbours together, and both orders drawn at random.",
    hints=[
        "Make a list of blocks first, each a list of indices.",
        "`range(0, samples, block)` gives their starts.",
    ],
    code="""
    def block_order(samples, block, random):
        blocks = [list(range(k, min(k + block, samples))) for k in range(0, samples, block)]
        random.shuffle(blocks)
        for indices in blocks:
            random.shuffle(indices)
        return [index for indices in blocks for index in indices]
    """,
)

write_whole = Exercise(
    "lesson_10.write_whole",
    """
    Write `write_whole(path, parts)`: it writes the pieces of bytes that `parts` yields, one after the other, so that
    `path` (a `Path`) leads to the whole new content or to what was there before, even if the process is killed at any
    moment. What an earlier attempt has left behind must not matter. An error that comes out of `parts` is passed on.
    `os.replace(old, new)` renames a file in one stroke.
    """,
    minutes=10,
    judge=judge_write_whole,
    praise="old or new, and never half of it.",
    hints=[
        "Write under another name in the same folder.",
        "When is it safe to give the file its name?",
    ],
    code="""
    import os


    def write_whole(path, parts):
        partial = path.with_name(path.name + ".partial")
        with open(partial, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())  # on the disk before the name points to it
        os.replace(partial, path)
    """,
)
