"""What lesson 03, Weigh your averages, asks."""

from collections.abc import Callable
from itertools import product

from dlhelpers.course.judges import judge_cases
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Weigh your averages"

fraction_right = Exercise(
    "lesson_03.fraction_right",
    """
    Write `fraction_right(scores, labels)`: the accuracy on one batch. `scores` is a tensor with a row per image and a
    column per class; a model's answer is the column with the highest score. `labels` holds the true classes.
    """,
    minutes=4,
    judge=lambda answer: _judge_fraction(answer),
    wrong=[
        (
            lambda scores, labels: (scores.argmax(dim=1) == labels).sum().item(),
            "that is the number of right answers. Divide it by the number of images.",
        ),
        (
            lambda scores, labels: 100 * (scores.argmax(dim=1) == labels).float().mean().item(),
            "that is in percent. Return the fraction, between 0 and 1.",
        ),
        (
            lambda scores, labels: (scores.argmax() == labels).float().mean().item(),
            "`argmax()` looks for one highest score in the whole batch. With `dim=1` it looks in each row.",
        ),
        (
            lambda scores, labels: (scores.max(dim=1).values == labels).float().mean().item(),
            "`max` gives the highest score itself. The answer is its position: `argmax`.",
        ),
        (
            lambda scores, labels: (scores.argmax(dim=1) != labels).float().mean().item(),
            "that is the fraction of wrong answers.",
        ),
        (
            lambda scores, labels: (scores.argmax(dim=1) == labels).sum().item() / scores.shape[1],
            "the right answers are divided by the number of classes. Divide by the number of images.",
        ),
        (
            lambda scores, labels: (scores.argmax(dim=1) == labels).float(),
            "that is one value per image, 1 or 0. Their mean is the accuracy.",
        ),
        (
            lambda scores, labels: (scores.argmax(dim=1) == labels).sum().item() // len(labels),
            "`//` rounds down, to 0 for all but a perfect batch. Divide with `/`.",
        ),
    ],
    hints=[
        "`scores.argmax(dim=1)` gives the answer for each row.",
        "`==` compares two tensors number by number. Of True and False, `.float()` makes 1 and 0.",
        "The mean of ones and zeros is the fraction of ones: `.mean().item()`.",
    ],
    code="""
    def fraction_right(scores, labels):
        right = scores.argmax(dim=1) == labels
        return right.float().mean().item()
    """,
)


def _judge_fraction(answer: Callable) -> str | None:
    import torch  # here, since a table of progress needs none

    scores = torch.eye(3)[[1, 1, 1, 2, 0]] * 2
    few, many = (scores[:2], torch.tensor([1, 0])), (scores, torch.tensor([0, 1, 2, 2, 0]))
    problem = judge_cases(answer, [(few, 0.5), (many, 0.6)], fraction_right.wrong)
    raised = {
        "could not infer output dtype": "PyTorch takes no mean of True and False: make numbers of them first, with"
        " `.float()`, or add them up and divide.",
        "'bool' object": "`scores.max(dim=1)` gives two things, the highest scores and their positions, and a tensor"
        " equals neither. The answer is the position alone: `argmax`.",
        "must match the size": "`labels` has one class per image. Compare it with one answer per image: the position of"
        " the highest score in each row, `scores.argmax(dim=1)`.",
    }
    return next((told for sign, told in raised.items() if problem and sign in problem), problem)


usual_loop = Prediction(
    "lesson_03.usual_loop",
    "The 75 images come in their order, in batches of 32, 32 and 11. The truth is 25.3 %. Does this loop print"
    ' "more", "less" or "the same"?',
    belief="The mean of the batches' accuracies is the accuracy: a popular course divides by len(dataloader).",
    answer="less",
    choices=("more", "less", "the same"),
    because="The last 11 images are all twos. Their accuracy of 0 counts as much as that of 32 images.",
    wrong={
        "more": "It would print more if the short last batch were better than the others.",
        "the same": "It would be the same if all batches were equally long.",
    },
    hints=[
        "25 zeros, 19 ones and 31 twos: what do the last 11 images show, and what does the model say to them?"
    ],
)

sample_weight = Prediction(
    "lesson_03.sample_weight",
    "Each of the three batches gets the same weight in the mean of batch means. How many times as much does one image"
    " in the batch of 11 count as one image in a batch of 32? (To the nearest tenth.)",
    belief="Each image counts once in an average over batches: unspoken in every tutorial that divides by len(loader).",
    answer=2.9,
    within=0.06,
    because="Among 11 images, each has 1/11 of its batch's weight; among 32, each has 1/32. That is 32 to 11.",
    wrong={
        1: "It would be 1 if all batches were equally long. Here 11 images share what elsewhere 32 share.",
        0.344: "It is the other way round: in a small batch each image counts for more.",
        0.3: "It is the other way round: in a small batch each image counts for more.",
        3: "Close, but divide 32 by 11.",
    },
    hints=["One image in a batch of n has 1/n of the batch's weight.", "(1 / 11) / (1 / 32)"],
)


def _divided(add: str, divide: Callable) -> Callable:
    """An accuracy_of with a known mistake: the "sum" or "mean" that it adds up, and what it divides that by."""

    def wrong(model, loader):
        total = 0.0
        for images, labels in loader:
            right = (model(images).argmax(dim=1) == labels).float()
            total += getattr(right, add)().item()
        return total / divide(loader)

    return wrong


accuracy_of = Exercise(
    "lesson_03.accuracy_of",
    """
    This is the usual loop, with one line spelled out. It runs, and it prints 19.8 % for a model that is right on
    25.3 %. Repair it for every loader, also for one that leaves a short last batch out (`drop_last=True`).
    """,
    minutes=5,
    given="""
    def accuracy_of(model, loader):
        total = 0.0
        for images, labels in loader:
            right = model(images).argmax(dim=1) == labels
            total += right.float().mean().item()
        return total / len(loader)
    """,
    judge=lambda answer: _judge_repaired(answer),
    wrong=[
        (
            _divided("mean", len),
            "this is still the mean of batch means: the last 11 images count as much as 32 others.",
        ),
        (
            _divided("sum", len),
            "the right answers of all batches are added up now, and divided by the number of batches. Divide"
            " by the images.",
        ),
        (
            _divided("sum", lambda loader: len(loader.dataset)),
            "with `drop_last=True` only 40 of the 75 images come, and this divides by 75: count the images that come.",
        ),
        (
            _divided("sum", lambda loader: len(loader) * loader.batch_size),
            "this divides as if each batch were full: three batches of 32 would be 96 images, and 75 came.",
        ),
        (
            _divided("mean", lambda loader: len(loader.dataset)),
            "it adds up the batches' means and divides by the images, and a mean has been divided already:"
            " add up right answers.",
        ),
        (
            _divided("sum", lambda loader: 1),
            "that is the number of right answers. Divide it by the images that came.",
        ),
        (
            _divided("sum", lambda loader: 75),
            "this divides by 75 for every loader. Count the images that come.",
        ),
        (
            _divided("sum", lambda loader: len(list(loader)[-1][1])),
            "after the loop, `labels` is the last batch alone. Count the images in the loop, as they come.",
        ),
    ],
    praise="each image that came counts once, at every batch size.",
    hints=[
        "Which number does it add up for a batch, and which would you add up to count images?",
        "Add up right answers, `right.sum().item()`, and images, `len(labels)`, in two variables.",
        "Divide once, after the loop, by the images that came.",
    ],
    code="""
    def accuracy_of(model, loader):
        total = images_seen = 0
        for images, labels in loader:
            right = model(images).argmax(dim=1) == labels
            total += right.sum().item()
            images_seen += len(labels)
        return total / images_seen
    """,
)


def _judge_repaired(answer: Callable) -> str | None:
    """Try an answer on the lesson's 75 labels, with the model that always says 1."""
    import torch
    from torch.utils.data import DataLoader, Subset, TensorDataset

    data = TensorDataset(torch.zeros(75, 1), torch.tensor([0] * 25 + [1] * 19 + [2] * 31))
    loaders = {
        "75 images in batches of 32": DataLoader(data, batch_size=32),
        "the first 44 in batches of 32": DataLoader(Subset(data, range(44)), batch_size=32),
        "75 images in batches of 40, drop_last": DataLoader(data, batch_size=40, drop_last=True),
    }

    def model(images):
        return torch.tensor([[0.0, 1.0, 0.0]] * len(images))

    def on(function):
        def accuracy_of(case):
            return function(model, loaders[case])

        return accuracy_of

    wrong = [(on(function), message) for function, message in accuracy_of.wrong]
    truths = zip(loaders, (19 / 75, 19 / 44, 15 / 40), strict=True)
    return judge_cases(on(answer), [((case,), truth) for case, truth in truths], wrong)


divides = Question(
    "lesson_03.divides",
    "For which batch sizes is the mean of batch means right for every model?",
    [
        Choice(
            "For small ones",
            "a batch size of 1 is safe, but 2 on 75 images already leaves a last batch of 1.",
        ),
        Choice(
            "For those that divide the number of samples",
            "then all batches hold equally many samples, and equal weights are the right weights. A batch size as"
            " large as the dataset, or larger, is the same case with one batch.",
            right=True,
        ),
        Choice(
            "For powers of two", "64 does not divide 75. Powers of two are a habit, and no cure."
        ),
        Choice(
            "For none: only shuffling makes it right",
            "with 25, the loop prints the truth, and nothing was shuffled. What shuffling does comes next.",
        ),
    ],
    hints=["When do all batches deserve the same weight?"],
)

shuffled_runs = Prediction(
    "lesson_03.shuffled_runs",
    "We set `shuffle=True` and let the usual loop evaluate the same model 300 times, in batches of 32. How many of the"
    " 300 print the truth, 25.3 %?",
    belief="Shuffling repairs the average, because the last batch is then like the others: a frequent forum reply.",
    answer=0,
    because="For the truth, 25.3 % of the last 11 images have to be right, which is 2.79. It can be 2 or 3.",
    wrong={
        300: "Shuffling changes which images are in the last batch. They still count 2.9 times as much.",
        150: "Too high or too low by chance, yes. But exactly right?",
        100: "It would take luck to have just the right number of ones in the last batch. Which number is it?",
        3: "It would take luck, and more than that: the last batch cannot hold a part of an image.",
        30: "It would take luck, and more than that: the last batch cannot hold a part of an image.",
    },
    hints=[
        "When does the loop print the truth? When the last batch has the same accuracy as the rest.",
        "How many of 11 images are 25.3 % of them?",
    ],
)

worst_pair = Prediction(
    "lesson_03.worst_pair",
    "257 images in batches of 256. The model is right on the first 256 and wrong on the last one. Which accuracy, in"
    " percent, does the mean of batch means print?",
    belief="One leftover image cannot matter, the error is negligible: the usual forum reply to this bug.",
    answer=50,
    within=0.2,
    because="Two batches, one at 100 % and one at 0 %: a single image counts as much as the other 256 together."
    " It costs the mean 1/2, and it costs the truth 1/257, which leaves 99.6 %.",
    wrong={
        99.6: "That is the truth, and what weighing would print. The mean of batch means has two batches to average.",
        0.5: "That is the fraction; the question asks for percent.",
        0: "The last batch alone has 0 %. It is averaged with the first.",
        100: "One image is wrong, and it has a batch to itself.",
    },
    hints=["How many batches are there, and what is the accuracy of each?"],
)


def _wrong_errors() -> list[tuple[Callable, str]]:
    """Mistakes in largest_error, alone and combined; of several, the message names the first."""
    fraction = "that is a fraction. Percentage points are 100 times as many."
    exchanged = "the two shares are exchanged: a short batch gets more than it deserves, so the difference is positive."
    round_up = "the short batch is a batch, too: round the number of batches up."
    too_many = "64 samples in batches of 32 are two batches, and this counts three: add one only where a rest is left."
    rest = (
        "64 samples in batches of 32 have no error, and this gives 50: where the batch size divides the samples,"
        " the remainder is 0, but the last batch is full."
    )
    as_full = (
        "this counts the last batch as full. Take only the full ones before it from the samples."
    )
    alone = "that is the share which the last batch gets. Subtract the share which it deserves."
    by_batch = "the share that the last batch deserves is its samples, divided by all samples, not by the batch size."
    batches = (
        (lambda n, b: -(-n // b), ""),
        (lambda n, b: n // b, round_up),
        (lambda n, b: n / b, round_up),
        (lambda n, b: n // b + 1, too_many),
    )
    scales = (100, ""), (1, fraction), (-100, exchanged)
    last = (  # of n samples in k batches of b
        (lambda n, b, k: n % b or b, ""),
        (lambda n, b, k: n - (k - 1) * b, ""),
        (lambda n, b, k: n % b, rest),
        (lambda n, b, k: n - k * b, as_full),
        (lambda n, b, k: k * b - n, as_full),
        (lambda n, b, k: b, as_full),
        (lambda n, b, k: 0, alone),
    )
    whole = (lambda n, b: n, ""), (lambda n, b: b, by_batch)

    def wrong(count, scale, short, all_of_it):
        return lambda n, b: scale * (1 / count(n, b) - short(n, b, count(n, b)) / all_of_it(n, b))

    found = []
    for parts in product(batches, scales, last, whole):
        functions, messages = zip(*parts, strict=True)
        if told := [message for message in messages if message]:
            found.append((len(told), wrong(*functions), told[0]))
    return [(answer, message) for _, answer, message in sorted(found, key=lambda one: one[0])]


largest_error = Exercise(
    "lesson_03.largest_error",
    """
    Write `largest_error(samples, batch_size)` in percentage points, so 100 times this difference: the share of the mean
    that the last batch gets (one batch of all batches), minus the share that it deserves (its samples among all
    samples). Both numbers are at least 1.
    """,
    minutes=5,
    cases=[
        ((257, 256), 100 * (1 / 2 - 1 / 257)),
        ((75, 32), 100 * (1 / 3 - 11 / 75)),
        ((10_000, 32), 100 * (1 / 313 - 16 / 10_000)),
        ((64, 32), 0.0),
    ],
    wrong=_wrong_errors(),
    hints=[
        "The number of batches is `batches_per_epoch(samples, batch_size)`; the last batch gets 1 divided by that.",
        "All batches but the last are full. How many samples do they leave for it?",
    ],
    code="""
    def largest_error(samples, batch_size):
        batches = -(-samples // batch_size)
        last = samples - (batches - 1) * batch_size
        return 100 * (1 / batches - last / samples)
    """,
)

quickstart = Question(
    "lesson_03.quickstart",
    "Which of the two averages at the end is a mean over samples?",
    [
        Choice(
            "Both: each is divided by the number of what was added up",
            "one loss per batch was added up, and dividing by the batches gives a mean of batch means.",
        ),
        Choice(
            "The accuracy alone",
            "`.sum()` adds up right images, and they are divided by images. `loss_fn` returns the mean of a batch, and"
            " `num_batches` of these are averaged: the short last one counts as much as a full one.",
            right=True,
        ),
        Choice(
            "The loss alone",
            "it is the other way round. `loss_fn` returns a mean over the batch, and adding means up and dividing by"
            " the number of batches is what went wrong above.",
        ),
        Choice(
            "Neither",
            "the accuracy adds up right images and divides by images. It is as it should be, while the loader hands out"
            " all of them.",
        ),
    ],
    hints=[
        "What does `loss_fn` return for a batch: a sum or a mean? And `.sum().item()` of right answers?"
    ],
)

mean_loss = Exercise(
    "lesson_03.mean_loss",
    """
    Write `mean_loss(losses, sizes)`: the mean over all samples, where the list `losses` holds the mean loss of each
    batch and the list `sizes` the number of its samples. Do not round.
    """,
    minutes=4,
    cases=[
        (([1.0, 3.0], [1, 1]), 2.0),
        (([1.0, 3.0], [3, 1]), 1.5),
        (([0.0, 0.0, 1.0], [32, 32, 11]), 11 / 75),
        (([1.0, 2.0, 6.0], [3, 1, 2]), 17 / 6),
        (([2.5], [7]), 2.5),
    ],
    wrong=[
        (
            lambda losses, sizes: sum(losses) / len(losses),
            "this is the mean of batch means: a batch of 1 counts as much as a batch of 3.",
        ),
        (
            lambda losses, sizes: (
                sum(loss * n for loss, n in zip(losses, sizes, strict=True)) / len(sizes)
            ),
            "the weights are right, but the sum is divided by the number of batches. Divide by the samples.",
        ),
        (
            lambda losses, sizes: sum(loss * n for loss, n in zip(losses, sizes, strict=True)),
            "this is the sum over all samples. Divide it by their number.",
        ),
        (
            lambda losses, sizes: sum(losses) / sum(sizes),
            "the losses are means already: multiply each by its number of samples before you add.",
        ),
    ],
    hints=[
        "A batch's mean times its size is the sum over its samples.",
        "Add those sums (`zip` pairs the two lists), and divide by the number of all samples.",
    ],
    code="""
    def mean_loss(losses, sizes):
        return sum(loss * n for loss, n in zip(losses, sizes)) / sum(sizes)
    """,
)

dropped = Prediction(
    "lesson_03.dropped",
    "In batches of 40, the usual loop prints 24.5 % where the truth is 25.3 %. With `drop_last=True` every batch is"
    ' full, and it has nothing left to weigh. Is its number then "exact", "closer" or "farther"?',
    belief="drop_last=True in validation repairs the average: a textbook's validation loader has it.",
    answer="farther",
    choices=("exact", "closer", "farther"),
    because="It is the exact accuracy of 40 images, and says nothing about the other 35.",
    wrong={
        "exact": "It is exact for the images that came. Which came?",
        "closer": "The loop makes no mistake any more. But it answers a question about fewer images.",
    },
    hints=["How many batches of 40 do 75 images fill, and what do the images in them show?"],
)

f1_scores = Question(
    "lesson_03.f1_scores",
    "The F1 score of the ones is 2 T / (2 T + F). T counts the ones that the model found. F counts the ones that it"
    " missed, plus the other digits that it took for a one. A colleague weighs the F1 score of each batch with the"
    " number of its samples. Is the result the F1 score of the dataset?",
    [
        Choice(
            "Yes, each batch counts by its samples",
            "that repairs a mean over samples, and F1 is none.",
        ),
        Choice(
            "No, because F1 is not a mean over samples",
            "it is a ratio of counts. Add up T and F over all batches, and divide once at the end.",
            right=True,
        ),
        Choice(
            "Only if the last batch is full",
            "even with equal batches, a mean of ratios is not the ratio of sums.",
        ),
    ],
    hints=["Can you write F1 as a sum over samples, divided by their number?"],
)
