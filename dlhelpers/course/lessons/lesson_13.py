"""What lesson 13, Leave one machine, asks."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import nn

from dlhelpers.course.judges import same
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Leave one machine"


def judge_average(answer: Callable[[list[nn.Module]], None]) -> str | None:
    """Say what is wrong with a learner's average_gradients, or return None.

    Copy k of n has the gradient 10 ** k everywhere.
    """
    for copies in (2, 3):
        models = [nn.Linear(2, 1) for _ in range(copies)]
        before = [[weight.detach().clone() for weight in model.parameters()] for model in models]
        for k, model in enumerate(models):
            for weight in model.parameters():
                weight.grad = torch.full_like(weight, 10.0**k)
        try:
            returned = answer(models)
        except RuntimeError as error:
            if "attempting to assign a gradient" not in str(error):
                raise
            return "a `.grad` was set to a mean of a different shape. Average each parameter separately."
        if not all(
            torch.equal(old, new)
            for kept, model in zip(before, models, strict=True)
            for old, new in zip(kept, model.parameters(), strict=True)
        ):
            return "it changed the weights. Average the gradients, `weight.grad`: the optimizer moves the weights."
        grads = [[weight.grad for weight in model.parameters()] for model in models]
        if any(grad is None for own in grads for grad in own):
            return "a copy has lost its gradient: `.grad` is None. Each copy needs the mean."
        own, total = [10.0**k for k in range(copies)], sum(10.0**k for k in range(copies))
        found = [[grad.mean().item() for grad in part] for part in grads]
        if problem := _averaged(found, own, total, returned):
            return problem
    return None


def _averaged(
    found: list[list[float]], own: list[float], total: float, returned: object
) -> str | None:
    """What is wrong with the gradients that a learner's function has left: for each copy, weight and bias."""
    copies, first = len(found), [part[0] for part in found]
    mean = total / copies
    if same(found, [[mean] * 2] * copies):
        return None
    if same(found, [[k] * 2 for k in own]):
        if returned is None:
            return "every copy still has its own gradient: write the mean into each copy's `.grad`."
        return (
            "it returned something, but every copy still has its own gradient. The optimizer looks at `.grad`:"
            " write the mean there."
        )
    if not all(same(*part) for part in found):
        return "some parameters have the mean, and others don't. Each has to get it: weights and biases."
    if same(first, [total] * copies):
        return "that's the sum, so the step would be too long: three times with three copies. Divide by their number."
    if copies > 2 and same(first, [total / 2] * copies):
        return "three copies came, and the sum was divided by 2: divide by their number."
    if same(first, [k / copies for k in own]):
        return "each copy has a fraction of its own gradient: add the gradients up over the copies first."
    if same(first, [mean, *own[1:]]):
        return "only the first copy has the mean. The others would follow their own gradients and drift away from it."
    if same(first[0], mean):
        return (
            "the first copy has the mean, and a later one has averaged a gradient that was already replaced: compute"
            " the mean once, then write it into all."
        )
    return (
        f"{copies} copies had the gradients {own}, and now have {[round(value, 3) for value in first]}: {mean:g} is"
        " expected in each."
    )


class _Asked(BaseException):
    """What a rank has sent, and waits for an answer; no `except Exception` of a learner's catches it."""


class _Rehearsed:
    """A rank of several that are called one after the other: it knows the exchanges so far, and stops at the next."""

    def __init__(self, rank: int, world: int, known: Sequence[list]):
        self.rank, self.world, self._known = rank, world, iter(known)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def sums(self, *numbers: float) -> list[float]:
        return [sum(column) for column in zip(*self.gather(numbers), strict=True)]

    def gather(self, value: object) -> list[Any]:
        for answer in self._known:
            return answer
        raise _Asked(value)


def _rehearse(answer: Callable, parts: list[list[int]]) -> list | str:
    """Return what a learner's function returns on each rank, or a sentence where one would wait for ever.

    Rank k is right on the images of parts[k] that are 1; they come in batches of two.
    """
    exchanges: list[list] = []
    while True:
        waiting, done = {}, {}
        for rank, hits in enumerate(parts):
            place = _Rehearsed(rank, len(parts), exchanges)
            scores = torch.eye(2)[torch.tensor(hits, dtype=torch.int64)]
            batches = [(some, torch.ones(len(some), dtype=torch.int64)) for some in scores.split(2)]
            loader = batches if hits else []
            try:
                done[rank] = answer(place, lambda images: images, loader)
            except _Asked as asked:
                waiting[rank] = asked.args[0]
        if not waiting:
            return [done[rank] for rank in range(len(parts))]
        if done:
            return (
                f"rank {min(waiting)} waits in an exchange, and rank {min(done)} has returned: that hangs. Every rank"
                " has to call `ranks.sums` the same number of times, so call it once on each, after the loop."
            )
        exchanges.append([waiting[rank] for rank in range(len(parts))])


def judge_shared_accuracy(answer: Callable) -> str | None:
    """Say what is wrong with a learner's shared_accuracy, or return None."""
    for parts in ([[1, 0, 0, 0, 1, 1, 0], [1, 1]], [[0, 1, 1], [0, 1, 1], [1, 1], [1, 1]]):
        if problem := _one_run(answer, parts):
            return problem
    empty = "a rank may get no images at all, as with 2 images on 3 ranks:"
    try:
        problem = _one_run(answer, [[1], [0], []])
    except ZeroDivisionError:
        return f"{empty} there you divided by 0. Divide once, after summing over all ranks."
    return f"{empty} {problem}" if problem else None


def _one_run(answer: Callable, parts: list[list[int]]) -> str | None:
    """What is wrong with a learner's shared_accuracy on ranks that are right on the 1s of their part."""
    try:
        results = _rehearse(answer, parts)
    except (TypeError, ValueError) as error:
        if "list" not in str(error) and "unpack" not in str(error):
            raise
        return f"{error}: `ranks.sums` returns a list, with one sum for each number you give it: unpack it."
    if isinstance(results, str):
        return results
    if all(result is None for result in results):
        return "it returned None: is a `return` missing?"
    rights, counts = [sum(part) for part in parts], [len(part) for part in parts]
    right, samples, world = sum(rights), sum(counts), len(parts)
    own = [r / n if n else 0 for r, n in zip(rights, counts, strict=True)]
    in_batches = [[part[k : k + 2] for k in range(0, len(part), 2)] for part in parts]
    means = [fmean(map(fmean, batches)) if batches else 0 for batches in in_batches]
    seen = f"With {' and '.join(f'{r} of {n}' for r, n in zip(rights, counts, strict=True))} right,"
    known = [
        (
            [sum(own) / world] * world,
            "that's still the mean of the ranks' accuracies, in which an image on a small rank counts for more.",
        ),
        (
            own,
            "each rank returns the accuracy of its own part: they have to exchange their counts, and use the sums.",
        ),
        (
            [sum(means) / world] * world,
            "those are means of batch means, and then of ranks: count right answers and images, as in lesson 03.",
        ),
        ([sum(own)] * world, "that's the sum of the accuracies, which can pass 1."),
        (
            [right / world**2] * world,
            "the right answers are divided by ranks, not by images: the second number to add up is `samples`.",
        ),
        ([right // samples] * world, "`//` rounds down to a whole number: divide with `/`."),
        ([right] * world, "that's how many are right on all ranks. Of how many?"),
        (
            [right / n if n else 0 for n in counts],
            "the right answers of all ranks are divided by one rank's images: add up the images over all ranks, too.",
        ),
        (
            [right / n / world if n else 0 for n in counts],
            "this rank's images times the number of ranks isn't the total: other ranks may have more, or fewer.",
        ),
        (
            [r / samples for r in rights],
            "one rank's right answers are divided by the images of all: add up the right answers, too.",
        ),
        (
            [right / samples / world] * world,
            "the sums are right, and they're divided once more, by the ranks. Once is enough.",
        ),
    ]
    if same(results, [right / samples] * world):
        return None
    for wrong, message in known:
        if same(results, wrong):
            return message
    return f"{seen} the ranks returned {results!r:.80}: {right / samples:g} is expected on each."


shared_step = Prediction(
    "lesson_13.shared_step",
    "Two copies have the same weights. Each computes the mean loss of its own 32 images and calls `backward()`; then"
    " the two gradients are averaged, and both copies take an SGD step with the average. A third copy takes an SGD step"
    " on all 64 images, at the same rate. Divide the length of the averaged step by the length of the third copy's"
    " step. What do you get?",
    belief="averaging over ranks makes the gradient smaller, or two ranks make it twice as large, so something has to"
    " be multiplied to make up for it; met in forum answers that give this as the reason to scale the learning rate",
    answer=1,
    within=0.001,
    because="Each loss is already a mean over 32 images, so the mean of the two is the mean over all 64. The same goes"
    " for the gradients.",
    wrong={
        2: "You'd get 2 if the gradients were summed. They're averaged.",
        0.5: "Averaging halves each gradient, but then it adds the two halves.",
        1.414: "That's the sum of two steps at right angles. Here we take their mean.",
        0.707: "That compares the mean of two arrows at right angles with one of the two. Compare it with the step from"
        " all 64 images.",
    },
    hints=[
        "Write the loss of all 64 images as a mean, then do the same for each half.",
        "What is the mean of two means over 32 images each?",
    ],
)

unsplit = Prediction(
    "lesson_13.unsplit",
    "A script wraps its model in `DistributedDataParallel`. Its loader is `DataLoader(dataset, batch_size=32,"
    " shuffle=True)`, over 1,438 images. torchrun starts the script in two processes, and each goes through its loader"
    " once. How many images do the two loaders hand out in all?",
    belief="DistributedDataParallel or torchrun splits the data between the processes; met in forum questions by"
    " people who come from DataParallel, which did split each batch",
    answer=2876,
    because="The wrapper only averages gradients. The loader knows nothing about other processes, so each one hands out"
    " the whole dataset.",
    wrong={
        1438: "Nobody has told the loaders that there are two of them.",
        719: "That would be one process's half, and nobody has split the images.",
        90: "That's how many batches the two loaders make.",
        2880: "The last batch of each isn't full.",
    },
    hints=[
        "Which line of the script would tell the loader about the other process?",
        "Each of the two goes through the whole dataset.",
    ],
)

ten_epochs = Prediction(
    "lesson_13.ten_epochs",
    "`DistributedSampler(dataset, num_replicas=2, rank=0, shuffle=True)` goes into a loader, and the rest is the loop"
    " you know: `for epoch in range(10)`, and in it `for images, labels in loader`. How many different orders does"
    " rank 0 see in these ten epochs?",
    belief="`shuffle=True` means a new order in each epoch, as for a DataLoader; PyTorch's docs warn of it, and a"
    " forgotten set_epoch is among the most frequent questions on the sampler",
    answer=1,
    because="The sampler works out its order from a seed and the epoch number, and nobody has told it which epoch"
    " it is.",
    wrong={
        10: "A loader with `shuffle=True` draws a new order each time. This sampler may not draw freely: all ranks"
        " need the same order.",
        2: "Is the second epoch different from the first, and the third like the second? What does the sampler know"
        " about them?",
        0: "It does shuffle, once.",
        20: "The question is about one rank, and it goes through its loader ten times.",
    },
    hints=[
        "All ranks need the same order. What could each one work it out from, without asking the"
        " others?"
    ],
)

unchanged = Prediction(
    "lesson_13.unchanged",
    "Now start the same script on eight ranks, without changing a line: 32 images on each, a rate of 0.1, four epochs."
    ' Compared with the accuracy of one process, is theirs "about the same", "a few points less" or'
    ' "about half or less"?',
    belief="more GPUs do the same training faster; met wherever a tutorial changes the number of processes and nothing"
    " else",
    answer="about half or less",
    choices=("about the same", "a few points less", "about half or less"),
    because="An epoch has 6 optimizer steps instead of 45, and none of them is longer than before. The model has hardly"
    " left its starting point.",
    wrong={
        "about the same": "Each image is seen as often as before. But how often do the weights change?",
        "a few points less": "The direction is right, but count the steps of four epochs.",
    },
    hints=[
        "How many optimizer steps does an epoch have, if each takes 8 x 32 images?",
        "How far can the weights get in so few steps, if none is longer?",
    ],
)

mean_of_ranks = Prediction(
    "lesson_13.mean_of_ranks",
    'Ten images are dealt out in order to four ranks, with "exact": ranks 0 and 1 get three images, ranks 2 and 3 get'
    " two. The model is wrong on images 0 and 1, so it's right on 8 of 10. Each rank computes its own accuracy, and the"
    " four are averaged. What comes out, to two decimal places?",
    belief="all-reduce the accuracies and divide by the world size; met in many scripts that print a validation"
    " accuracy from several processes",
    answer=0.833,
    within=0.0035,
    because="Two ranks have 2 of 3 right, and two have 2 of 2. The errors sit on the ranks with more images, and those"
    " count too little.",
    wrong={
        83: "As a percentage, yes. As a fraction it's 0.83.",
        0.8: "That's the true accuracy. But a mean of means counts every rank equally, not every image.",
        0.667: "That's the accuracy of the two ranks that have an image the model gets wrong.",
        0.75: "You'd get that if the ranks with two images had one error each. Which ranks have images 0 and 1?",
    },
    hints=["Rank 0 has the images 0, 4 and 8. What's its accuracy?", "(2/3 + 2/3 + 1 + 1) / 4"],
)

rank_dies = Prediction(
    "lesson_13.rank_dies",
    "Two ranks on CPUs exchange gradients through gloo, the library PyTorch uses for that. Suddenly rank 1's process is"
    ' gone. At the next exchange, does rank 0 "go on" alone, "wait", or "fail"?',
    belief="the other ranks wait until a timeout, or carry on without the dead one; met in threads about hanging jobs,"
    " most of them on GPUs, and in the first edition of this lesson",
    answer="fail",
    choices=("go on", "wait", "fail"),
    because="When the process ends, the connection between the two breaks. gloo notices at once and raises an error.",
    wrong={
        "go on": "A mean over ranks without one of them would be a different step, and nobody has told rank 0 that it's"
        " alone.",
        "wait": "Rank 0 does wait for a rank that's merely slow. But this one is gone.",
    },
    hints=["What becomes of a network connection when the process at one end is gone?"],
)

fewer_ranks = Question(
    "lesson_13.fewer_ranks",
    "A run used 4 ranks with a batch size of 64 on each. Tomorrow you have 2 ranks, and you want to go on from its"
    " checkpoint, with the same optimizer steps on the same images. What do you change?",
    [
        Choice(
            "Nothing: the checkpoint fits any number of ranks",
            "it does load, and nothing complains. But the effective batch falls from 256 to 128, each epoch takes twice"
            " as many steps, and the rate was chosen for the old ones.",
        ),
        Choice(
            "A batch size of 128 on each rank",
            "2 x 128 is 256 as before. So the steps per epoch, the learning rate and any schedule still fit,"
            " and each step sees the images it would have seen. If memory is too small, `micro_batch_size`"
            " (lesson 08) divides the batch again.",
            right=True,
        ),
        Choice(
            "Half the learning rate",
            "it may learn well, but with batches of 128 the steps are not the same.",
        ),
        Choice(
            "Twice the epochs",
            "each step would still see 128 images, and the run would see every image more often.",
        ),
    ],
    hints=["How many images went into a step?", "Ranks times batch size should stay what it was."],
)

average_gradients = Exercise(
    "lesson_13.average_gradients",
    """
    Write `average_gradients(models)`. It gets two or more copies of one model, after `backward()` has run on each. It
    replaces the `.grad` of every parameter, in every copy, with the mean over the copies.
    """,
    minutes=5,
    judge=judge_average,
    praise="each copy has the mean, so each will take the same step.",
    hints=[
        "`zip(*[model.parameters() for model in models])` goes through the copies side by side: each turn gives one"
        " parameter of every copy.",
        "First compute the mean of their `.grad`, with `sum` and `len`. Then write it into each.",
    ],
    code="""
    def average_gradients(models):
        for weights in zip(*[model.parameters() for model in models]):
            mean = sum(weight.grad for weight in weights) / len(weights)
            for weight in weights:
                weight.grad = mean.clone()
    """,
)

batches_of = Exercise(
    "lesson_13.batches_of",
    """
    `order` is a list of indices, the same on all ranks. A rank takes positions `rank`, `rank + world`, and so on.
    Write `batches_of(order, rank, world, batch_size)`. It returns the list of this rank's batches, each a list of
    indices. The last one may be shorter.
    """,
    minutes=3,
    cases=[
        (([9, 11, 1, 5, 6, 3], 0, 2, 3), [[9, 1, 6]]),
        (([9, 11, 1, 5, 6, 3], 1, 2, 2), [[11, 5], [3]]),
        (([4, 0, 3, 1, 2, 6, 5, 7, 9, 8], 1, 4, 2), [[0, 6], [8]]),
        (([4, 0, 3, 1, 2, 6, 5, 7, 9, 8], 3, 4, 2), [[1, 7]]),
        (([2, 0, 1], 0, 1, 2), [[2, 0], [1]]),
        (([1, 0], 2, 3, 4), []),
    ],
    wrong=[
        (
            lambda order, r, w, b: [order[r::w]],
            "this is the rank's part in one piece: cut it into batches.",
        ),
        (
            lambda order, r, w, b: order[r::w][:b],
            "this is only the first batch: collect them all, then return.",
        ),
        (lambda order, r, w, b: order[r::w], "these are the indices, not yet in batches."),
        (
            lambda order, r, w, b: [order[k : k + b] for k in range(0, len(order), b)],
            "this cuts up the whole order, so all ranks would train on the same images.",
        ),
        (
            lambda order, r, w, b: [order[k : k + b] for k in range(r * b, len(order), w * b)],
            "you dealt out whole batches of neighbours. Deal out single positions, then cut into batches.",
        ),
        (
            lambda order, r, w, b: [
                part[k : k + b]
                for part in [order[r * -(-len(order) // w) :][: -(-len(order) // w)]]
                for k in range(0, len(part), b)
            ],
            "this gives each rank one stretch of the order. Deal out the positions in turn.",
        ),
        (
            lambda order, r, w, b: [
                order[r * (len(order) // w) : (r + 1) * (len(order) // w)][k : k + b]
                for k in range(0, len(order) // w, b)
            ],
            "each rank gets one stretch of the order, and the rest is lost. Deal out the positions in turn.",
        ),
        (
            lambda order, r, w, b: [
                list(range(r, len(order), w))[k : k + b]
                for k in range(0, len(range(r, len(order), w)), b)
            ],
            "these are positions. The index of the image is what `order` has there.",
        ),
        (
            lambda order, r, w, b: [
                order[r::w][k : k + b] for k in range(0, len(order[r::w]) // b * b, b)
            ],
            "the last batch is missing when it isn't full.",
        ),
        (
            lambda order, r, w, b: [
                order[w::r][k : k + b] if r else [] for k in range(0, len(order), b)
            ],
            "`order[start::step]`: the start is the rank, and the step is the world size.",
        ),
    ],
    hints=[
        "`order[2::4]` takes positions 2, 6, 10 and so on.",
        "Then cut this rank's part as in lesson 02: `range(0, len(part), batch_size)` gives the starts.",
    ],
    code="""
    def batches_of(order, rank, world, batch_size):
        part = order[rank::world]
        return [part[k : k + batch_size] for k in range(0, len(part), batch_size)]
    """,
)

shared_accuracy = Exercise(
    "lesson_13.shared_accuracy",
    """
    Every rank calls `shared_accuracy` with its own loader. `ranks.sums(a, b)` adds up each number over all ranks and
    returns the two sums as a list, the same on every rank. Only loop over `loader`: in the check it has no `dataset`.
    Repair the function so that it returns the accuracy over all images, however they were dealt out.
    """,
    minutes=4,
    given="""
    def shared_accuracy(ranks, model, loader):
        right = samples = 0
        for images, labels in loader:
            answers = model(images).argmax(dim=1)
            right += (answers == labels).sum().item()
            samples += len(labels)
        (total,) = ranks.sums(right / samples)
        return total / ranks.world
    """,
    judge=judge_shared_accuracy,
    praise="all the right answers over all the images, on every rank, even if one of them has none.",
    hints=[
        "Lesson 03's fix: add up first, divide once.",
        "Which two numbers does every rank have to send?",
    ],
    code="""
    def shared_accuracy(ranks, model, loader):
        right = samples = 0
        for images, labels in loader:
            answers = model(images).argmax(dim=1)
            right += (answers == labels).sum().item()
            samples += len(labels)
        right, samples = ranks.sums(right, samples)
        return right / samples
    """,
)
