"""What lesson 15, Put it together, asks: the requirements of one project, each with its own check."""

from functools import partial

from dlhelpers.course.capstone import judge
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Put it together"

whole_epochs = Prediction(
    "lesson_15.whole_epochs",
    "The budget is 60,000 samples seen in training, and there are 12,345 images. How many whole epochs does it allow?",
    answer=4,
    because="Four epochs see 49,380 samples, and a fifth would go beyond the budget.",
    wrong={
        5: "Rounded up, it would see 61,725 samples. A budget rounds down.",
        4.86: "The last is no whole epoch.",
    },
    hints=["How often does 12,345 go into 60,000?", "Round so that the budget is kept."],
)

twice_the_batch = Prediction(
    "lesson_15.twice_the_batch",
    "You double the batch size of your plan (up to 6,000) and keep its epochs. What becomes of the number of optimizer"
    ' steps: "half", "the same" or "twice"? (The ragged last batch may add a step an epoch.)',
    answer="half",
    choices=("half", "the same", "twice"),
    because="Each step takes twice as many samples, and there are as many samples as before.",
    wrong={
        "the same": "The epochs are the same. An epoch has fewer, larger batches.",
        "twice": "It is the other way round: a step for each batch, and there are fewer batches.",
    },
    hints=["How many batches does an epoch have then?"],
)

without_learning = Prediction(
    "lesson_15.without_learning",
    "A model has learned nothing and always answers with the most frequent of the three classes. Of 100 held-out"
    " images, about how many does it get right? (Up to 3 off is right.)",
    answer=35,
    within=3,
    because="Three classes come about equally often, so always the same answer is right on about a third. Put this"
    " beside your result.",
    wrong={
        0: "It is right whenever the image is of that class.",
        50: "That would be so with two classes.",
    },
    hints=["How many classes are there, and how often does each come?"],
)

honest_report = Question(
    "lesson_15.honest_report",
    "Four reports on the same training. Which one lets a reader judge the model best?",
    [
        Choice("It is nearly always right", "of what, and how often?"),
        Choice("It is right on nearly all of 12,345 images", "it has learned from those."),
        Choice(
            "The best of eight plans; its right answers among 1,777 held-out images",
            "these very images chose it.",
        ),
        Choice(
            "One run, the first plan; its right answers among 1,777 held-out images, and those of always the most"
            " frequent class",
            "the reader knows which images, how many, how many tries, and what to compare with.",
            True,
        ),
    ],
    hints=["What could each of them hide?"],
)

WORKED = """
    from math import ceil

    import torch
    from torch import nn
    from torch.utils.data import DataLoader

    from dlhelpers.train.checkpoints import load_checkpoint
    from dlhelpers.train.history import History
    from dlhelpers.train.loop import accuracy, fit
    from dlhelpers.data.sampling import BlockShuffleSampler
    from dlhelpers.packed.reader import PackedDataset
    from dlhelpers.course.capped_examples import every_fourth


    class Project:
        batch_size = 64
        epochs = 2
        dataset_bytes = 12_345 * 3 * 64 * 64
        batches = ceil(12_345 / batch_size)
        last_batch = 12_345 - (batches - 1) * batch_size
        optimizer_steps = batches * epochs

        def train(self, data, checkpoint, epochs):
            torch.manual_seed(0)
            first, middle = nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.Linear(1024, 32)
            model = nn.Sequential(first, nn.ReLU(), nn.Flatten(), middle, nn.ReLU(), nn.Linear(32, 3))
            optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
            done = load_checkpoint(checkpoint, model, optimizer) if checkpoint.exists() else History()
            train = PackedDataset(data / "train", transform=every_fourth)
            sampler = BlockShuffleSampler(len(train), block=256, window=8)
            train_loader = DataLoader(train, batch_size=self.batch_size, sampler=sampler)
            held_out = PackedDataset(data / "held-out", transform=every_fourth)
            valid_loader = DataLoader(held_out, batch_size=250)
            run = {"valid_loader": valid_loader, "metrics": {"accuracy": accuracy}, "seed": 0, "progress": False}
            run |= {"epochs": epochs - done.epochs, "history": done, "checkpoint": checkpoint}
            return fit(model, train_loader, nn.CrossEntropyLoss(), optimizer, **run)
    """

price = Exercise(
    "lesson_15.price",
    """
    Requirement 1, the price. State `dataset_bytes` in your `Project`, before the run: the bytes of the 12,345
    images of 3 x 64 x 64 as they lie in the file (uint8), without labels and without the held-out images.
    """,
    minutes=5,
    judge=partial(judge, "price"),
    seconds=600,
    praise="the dataset is five times as large as the cap.",
    hints=["Lesson 01: shape x bytes of a number x length.", "A number of uint8 takes one byte."],
    code="""
    class Project:
        dataset_bytes = 12_345 * 3 * 64 * 64
    """,
)

counts = Exercise(
    "lesson_15.counts",
    """
    Requirement 2, the counts. Choose `batch_size` and `epochs` within the budget, and state before the run what follows
    from them: `batches` in an epoch, the number of samples in the `last_batch`, and the `optimizer_steps` of the whole
    training.
    """,
    minutes=5,
    judge=partial(judge, "counts"),
    seconds=600,
    praise="the counts follow from your choice. The run will be held to them.",
    hints=["Lesson 02: round up, or down with drop_last.", "A step for each batch of each epoch."],
    code="""
    from math import ceil


    class Project:
        batch_size = 64
        epochs = 2
        batches = ceil(12_345 / batch_size)
        last_batch = 12_345 - (batches - 1) * batch_size
        optimizer_steps = batches * epochs
    """,
)

under_cap = Exercise(
    "lesson_15.under_cap",
    """
    Requirement 3, the memory. Write `train`. This check runs it on all images in a child process that may take 30 MB of
    private memory beyond what it starts with, and 300 seconds. It has to come to its end and return a `History`.
    """,
    minutes=25,
    judge=partial(judge, "memory"),
    seconds=600,
    praise="it came to its end under the cap.",
    hints=[
        "Lesson 10: `PackedDataset` with a transform (`every_fourth` of `course.capped_examples`), and a plain loader.",
        "No tensor may hold all images. If a batch is too large: fewer pixels, fewer images, or `micro_batch_size`.",
    ],
    code=WORKED,
)

as_stated = Exercise(
    "lesson_15.as_stated",
    """
    Requirement 4, the budget. The run of requirement 3 took the batches, the samples and the optimizer steps that
    you stated before it, and saw at most 60,000 samples in training.
    """,
    minutes=5,
    judge=partial(judge, "budget"),
    seconds=600,
    praise="it did what was stated, within the budget.",
    hints=[
        "Is it the loader that differs from what you stated, or the epochs?",
        "Is `self.batch_size` in your loader?",
    ],
    code=WORKED,
)

learned = Exercise(
    "lesson_15.learned",
    """
    Requirement 5, the accuracy. After its last epoch, the run of requirement 3 is right on at least 90 % of the 1,777
    held-out images, each of them counted once. `fit` measures it with `metrics={"accuracy": accuracy}`.
    """,
    minutes=10,
    judge=partial(judge, "accuracy"),
    seconds=600,
    praise="it has learned, and that was measured on every held-out image.",
    hints=[
        "Lesson 04: `fit` takes a valid_loader, and `accuracy` is in `dlhelpers.train.loop`.",
        "If it stays near a third: are the images floats from 0 to 1, and is the learning rate neither tiny nor huge?",
    ],
    code=WORKED,
)

resumes = Exercise(
    "lesson_15.resumes",
    """
    Requirement 6, resuming. `train` writes the file `checkpoint` after each epoch. Where the file is there already, it
    goes on from it, until `epochs` epochs are done in all, and ends with the losses of an unbroken run. (So two runs
    from the start have to be equal: seed before you make the model, too, and plan a schedule for `self.epochs`.) The
    check asks for one epoch, then for two from its checkpoint, and for two at once, on a copy of 1,000 images.
    """,
    minutes=10,
    judge=partial(judge, "resuming"),
    seconds=600,
    praise="stopped and resumed, it gives the losses of an unbroken run.",
    hints=[
        "Lesson 08: `fit` takes a checkpoint and a history. `load_checkpoint` gives the history, with its `epochs`.",
        "The order of an epoch must not depend on the epochs before: give `fit` a seed. The first weights, too.",
    ],
    code=WORKED,
)
