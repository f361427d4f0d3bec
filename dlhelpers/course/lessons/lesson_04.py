"""What lesson 04, Write the loop, asks."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question
from dlhelpers.data.datasets import ImageDataset

TITLE = "Write the loop"


def judge_learn(learn: Callable) -> str | None:
    """What is wrong with a learner's learn, or None: it moves one weight twice, on the loss (3 - w)**2."""
    weight, backwards, came = nn.Parameter(torch.ones(1)), [], []
    weight.register_hook(backwards.append)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for _ in range(2):
        try:
            learn((3 - weight).square().sum(), optimizer)
        except TypeError as error:
            if "'Tensor' object is not callable" in str(error):
                return "`step()` takes no loss: it finds the gradients in the weights. Leave its brackets empty."
            raise
        came.append(round(weight.item(), 4))
    if not backwards:
        return "no gradient was computed: call `loss.backward()`, with its brackets."
    if came == [1, 1] and weight.grad is None:
        return "the gradients were cleared before the step could use them."
    if came == [1, 1]:
        return (
            "the gradients are there and no weight has moved: `backward()` only computes them. Call"
            " `optimizer.step()`, with its brackets."
        )
    if came[0] == 1:
        return "the first call moved nothing: `step()` came before there was a gradient. Call `backward()` first."
    if came not in ([1.4, 2.12], [1.4, 1.72]):
        return f"a weight went from 1 to {came[0]:g}, not to 1.4: call `backward()` once and `step()` once."
    return None


learn = Exercise(
    "lesson_04.learn",
    """
    Write `learn(loss, optimizer)`, two lines: compute the gradients of `loss`, then let the optimizer move every weight
    a little against its gradient.
    """,
    minutes=2,
    judge=judge_learn,
    praise="a weight moved from 1 to 1.4, towards the bottom of its loss at 3.",
    hints=[
        "The loss knows how it was computed, the optimizer knows the weights. One call of each.",
        "`backward` and `step`, with their brackets.",
    ],
    code="""
    def learn(loss, optimizer):
        loss.backward()
        optimizer.step()
    """,
)

first_epoch = Prediction(
    "lesson_04.first_epoch",
    "Both loops train the same model on the same batches. After the first epoch, whose gets more of the test images"
    ' right: "ours", "the other" or "about equal"?',
    answer="ours",
    choices=("ours", "the other", "about equal"),
    belief="a broken loop shows at once: met wherever a loss that goes down is taken for a loop that works",
    because="Two lines win the first epoch, and by a lot. Enjoy it.",
    wrong={
        "the other": "It will be, in the end. After one epoch it is far behind.",
        "about equal": "One line makes the two loops very different, and at first in our favour.",
    },
    hints=["Thirty steps of ours learned 32 images by heart. Is that a fast loop or a slow one?"],
)

forgotten_zero = Prediction(
    "lesson_04.forgotten_zero",
    "We call `backward()` for the same batch twice, with the same weights. How many times as large as after the first"
    " call is `.grad` after the second?",
    answer=2,
    belief="backward() puts the new gradient in place of the old one: met as the forum question why one has to call"
    " zero_grad() at all",
    within=0.01,
    because="`backward()` adds to what is there, so the same gradient is in it twice.",
    wrong={
        1: "It would be 1 if `backward()` replaced what is there.",
        0: "Nobody has cleared it.",
    },
    hints=[
        "The weights are the same, so both calls compute the same numbers. What is done with the old ones?"
    ],
)


def _given() -> tuple[nn.Module, Callable, torch.optim.Optimizer, set[str]]:
    """What a learner's loop gets: one weight w at 0, its loss, SGD, and a set where those two note that they were used.

    Towards the label 2 the loss is (2 - w)**2, and the step is (2 - w) / 5.
    """
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.zeros_(model.weight)
    optimizer, used = torch.optim.SGD(model.parameters(), lr=0.1), set()
    optimizer.register_step_post_hook(lambda *_: used.add("optimizer"))

    def loss_fn(outputs: Tensor, labels: Tensor) -> Tensor:
        used.add("loss_fn")
        # swapped, or the images in place of the outputs
        if labels.requires_grad or not outputs.requires_grad:
            raise ValueError(
                "the loss function takes the model's outputs, `model(images)`, and then the labels"
            )
        return nn.functional.mse_loss(outputs, labels)

    return model, loss_fn, optimizer, used


def _unused(used: set[str], moved: bool) -> str | None:
    """Which of the two that were given a learner's loop replaced by one of its own, or None."""
    if "loss_fn" not in used:
        return "`loss_fn` was never called: compute the loss with it, and the gradients from that loss."
    if moved and "optimizer" not in used:
        return "something else moved the weights: let the `optimizer` that was given take the step."
    return None


def judge_train_step(train_step: Callable) -> str | None:
    """What is wrong with a learner's train_step, or None: it is held against three steps of plain SGD."""
    model, loss_fn, optimizer, used = _given()
    images = torch.ones(2, 1, dtype=torch.float64)
    given, weights = [], []
    for _ in range(3):
        given.append(train_step(model, images, 2 * images, loss_fn, optimizer))
        weights.append(round(model.weight.item(), 6))
    if replaced := _unused(used, any(weights)):
        return replaced
    if weights == [0, 0, 0]:
        return (
            "the weights did not move: is a call of `backward()` or `step()` missing, does `step()` come before"
            " `backward()`, or are the gradients cleared between the two?"
        )
    if weights in ([0, 0.4, 0.8], [0, 0.4, 1.2]):
        return "`step()` comes before `backward()`, so each step uses the gradients of the batch before."
    if weights == [0.4, 1.12, 2.016]:
        return "the gradients of the batches before are still in `.grad`: clear them with `zero_grad()`."
    if weights != [0.4, 0.72, 0.976]:
        return f"a weight is {weights[-1]:g}, not 0.976: take one step a batch, for `loss_fn(model(images), labels)`."
    if given[0] is None:
        return "the steps are right, and it returned None: `return` the loss of the batch as well."
    if isinstance(given[0], Tensor):
        return "the loss came back as a tensor, which may keep the record of its forward pass: return it as a number."
    if callable(given[0]):
        return "what came back can still be called: `item` needs its brackets."
    if any(abs(one - other) > 1e-6 for one, other in zip(given, (4.0, 2.56, 1.6384), strict=True)):
        came = [round(float(one), 4) for one in given]
        return (
            f"the losses are {came}, and [4.0, 2.56, 1.6384] are expected: those before each step."
        )


train_step = Exercise(
    "lesson_04.train_step",
    """
    Write `train_step(model, images, labels, loss_fn, optimizer)`: one iteration in five lines, without looking above.
    Then return the loss of the batch before the step, as a number.
    """,
    minutes=5,
    judge=judge_train_step,
    praise="three batches, three steps, and the losses are those of a loop without fault.",
    hints=[
        "Scores, loss, clear, backward, step: five lines, and a last one to give the loss back.",
        "`.item()` makes a number of a tensor that holds one.",
    ],
    code="""
    def train_step(model, images, labels, loss_fn, optimizer):
        loss = loss_fn(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()
    """,
)

silent_lines = Prediction(
    "lesson_04.silent_lines",
    "Five lines: outputs, loss, `zero_grad()`, `backward()`, `step()`. In a fresh session, we take the loop"
    " five times and delete a different line each time. How many of the five loops run to the end without an error?",
    answer=3,
    belief="PyTorch complains when a training loop is incomplete, so a loop that runs is right: met in forum threads"
    " on a loss that stays where it is",
    because="Only a missing name is an error. `zero_grad()`, `backward()` and `step()` are never missed.",
    wrong={
        0: "Two lines make a name that the next line uses: Python stops there.",
        1: "There is more than one: `step()` without gradients is no error, and gradients without a step are none.",
        2: "There is one more: `step()` passes over each weight that has no gradient, and says nothing.",
        4: "Two lines make a name that the next line uses: without it, Python stops.",
        5: "Two lines make a name that the next line uses: without it, Python stops.",
    },
    hints=[
        "Which lines make a name that a later line needs?",
        "What does `step()` do with a weight whose `.grad` is None?",
    ],
)

long_step = Prediction(
    "lesson_04.long_step",
    "The same model, the same batch, one step again, but with a learning rate of 10 in place of 0.1. Compared with the"
    ' loss before the step, the loss of these 32 images "falls much further", "falls a little" or "rises"?',
    answer="rises",
    choices=("falls much further", "falls a little", "rises"),
    belief="a step against the gradient always lowers the loss of the batch that it was computed for: met in most"
    " introductions to gradient descent",
    because="The gradient is the slope where the model stands. A step this long jumps across the valley, and lands"
    " higher.",
    wrong={
        "falls much further": "It would if the slope stayed the same for the whole length of the step.",
        "falls a little": "A step that is somewhat too long does that. This one is a hundred times the first.",
    },
    hints=[
        "You stand on a slope in fog and know how steep it is under your feet. How far does that hold?"
    ],
)


def judge_one_epoch(one_epoch: Callable) -> str | None:
    """What is wrong with a learner's one_epoch, or None: it gets three of five images and then one."""
    images = torch.ones(5, 1, dtype=torch.float64)
    loader = DataLoader(TensorDataset(images, 2 * images), batch_size=3, sampler=range(4))
    model, loss_fn, optimizer, used = _given()
    result = one_epoch(model, loader, loss_fn, optimizer)
    weight = round(model.weight.item(), 6)
    if replaced := _unused(used, weight != 0):
        return replaced
    if weight == 0:
        return "no weight has moved: are `backward()` and `step()` there, in this order, for each batch?"
    if weight == 0.4:
        return "only one step was taken for two batches: is `step()` or `return` at the wrong indentation?"
    if weight == 1.12:
        return "the gradients of the first batch are still in the second step: clear them for each batch."
    if weight != 0.72:
        return f"after both batches a weight is {weight:g}, not 0.72: one step for each batch."
    if result is None:
        return "the steps are right, and it returned None: return the mean loss."
    if isinstance(result, Tensor):
        if result.requires_grad:
            return "the mean came back as a tensor, which keeps a record of every forward pass: use `loss.item()`."
        return "the mean came back as a tensor: return it as a number."
    known = {
        3.28: "that is the mean of the batch means, the bug of lesson 03: multiply each by its samples.",
        6.56: "that is the sum of the batch means: multiply each by its samples, and divide by all samples.",
        1.64: "the batch means were added up as they are: multiply each by the samples of its batch.",
        14.56: "that is the loss of all samples added up: divide it by their number.",
        7.28: "the sum of all losses was divided by the number of batches: divide by that of the samples.",
        2.56: "that is the loss of the last batch alone.",
        2.912: "of the 5 images of the dataset, the loader gave 4, as with `drop_last=True`: count those that come.",
    }
    value = round(float(result), 6)
    if value != 3.64:
        return known.get(
            value,
            f"batches of 3 and 1 samples with losses 4 and 2.56 gave {value:g}, not 3.64: count with `len(labels)`.",
        )
    return None


one_epoch = Exercise(
    "lesson_04.one_epoch",
    """
    Write `one_epoch(model, loader, loss_fn, optimizer)`: one iteration for each batch of the loader. Return the mean
    loss over all samples, as a number, right for a smaller last batch too.
    """,
    minutes=4,
    judge=judge_one_epoch,
    praise="batches of 3 and 1 samples, two steps, and each sample counts once.",
    hints=[
        "A `for` around your five lines, and two sums: of losses, each times its samples, and of samples.",
        "`loss.item()` is the mean of `len(labels)` samples.",
    ],
    code="""
    def one_epoch(model, loader, loss_fn, optimizer):
        total = samples = 0
        for images, labels in loader:
            loss = loss_fn(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
            samples += len(labels)
        return total / samples
    """,
)

differing_weights = Prediction(
    "lesson_04.differing_weights",
    "Our loop and the library's each train the same model for three epochs on the CPU, from the same seed. How many of"
    " the 2,410 weights differ afterwards, even in the last bit?",
    answer=0,
    belief="a library's training loop does something better than the five lines, and floating point never comes out"
    " the same twice: met in every comparison of a trainer with a loop",
    because="The same operations in the same order give the same bits. The library's loop is yours.",
    wrong={
        2410: "They would all differ a little if the library did anything else to the weights, or in another order.",
        1205: "There is no chance in it: the same operations in the same order give the same bits.",
    },
    hints=[
        "Which of the library's lines could change a weight, and would it do so differently from yours?"
    ],
)

sorted_test = Prediction(
    "lesson_04.sorted_test",
    "The same weights, under `torch.no_grad()`, but nobody called `eval()`. The test images are sorted by class, and"
    ' come in batches of 32. What accuracy do we get: "the same", "a few points less" or "below 50 %"?',
    answer="below 50 %",
    choices=("the same", "a few points less", "below 50 %"),
    belief="torch.no_grad() is enough for testing, and eval() is a detail: met in forum answers that offer one in"
    " place of the other",
    because="In a batch of almost nothing but threes, BatchNorm subtracts what threes have in common, and that is what"
    " made them threes.",
    wrong={
        "the same": "The weights are the same, and the layer that looks at the whole batch is not: `no_grad()` only"
        " switches off the record for learning.",
        "a few points less": "That is what shuffled batches cost. Sorted ones are much worse.",
    },
    hints=[
        "From which images does the layer take mean and spread now, and what do these images show?"
    ],
)


class _Noting(nn.Module):
    """A model with BatchNorm that notes for each forward pass: its mode, and the number of images."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 2))
        self.passes: list[tuple[bool, int]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.passes.append((self.training, len(images)))
        return self.layers(images)


def judge_modes(train_and_test: Callable) -> str | None:
    """What is wrong with a learner's train_and_test, or None: which mode the model is in, in each pass of 3 epochs."""
    torch.manual_seed(0)
    train, test = TensorDataset(torch.randn(4, 1), torch.tensor([0, 1, 0, 1])), torch.randn(5, 1)
    model, loss_fn = _Noting(), nn.CrossEntropyLoss()
    before = [weight.detach().clone() for weight in model.parameters()]
    result: Any = train_and_test(
        model,
        DataLoader(train, batch_size=2),
        ImageDataset(test, torch.tensor([0, 1, 0, 1, 1]), ["0", "1"]),
        loss_fn,
        torch.optim.SGD(model.parameters(), lr=0.1),
        3,
    )
    sizes = [size for _, size in model.passes]
    if sizes != [2, 2, 5] * 3:
        return (
            "3 epochs of 2 batches, each epoch with one test of 5 images, were expected, and these numbers of images"
            f" came through the model: {sizes}."
        )
    for k, (training, size) in enumerate(model.passes):
        if size == 5 and training:
            return f"the test of epoch {k // 3 + 1} was in training mode: call `eval()` before it."
    for k, (training, size) in enumerate(model.passes):
        if size == 2 and not training:
            return (
                f"epoch {k // 3 + 1} trained in evaluation mode (batch {k % 3 + 1}): who puts the model back into"
                " training mode, and when?"
            )
    if all(map(torch.equal, model.parameters(), before)):
        return "the modes are right, and no weight has moved: keep the five lines."
    if not isinstance(result, list) or len(result) != 3:
        return "the modes are right: now return the list of accuracies, one for each epoch."
    return None


every_epoch = Exercise(
    "lesson_04.every_epoch",
    """
    A colleague's loop for a model with BatchNorm. It runs without an error, and its first epoch is right. From the
    second one on, something is wrong. Find it, change it, and go on testing in evaluation mode.
    """,
    minutes=4,
    judge=judge_modes,
    praise="three epochs, each one trained in training mode and tested in evaluation mode.",
    hints=[
        "Write down the mode of the model for each line, in the first epoch and in the second.",
        "What `eval()` has switched stays switched.",
    ],
    given="""
    def train_and_test(model, loader, test, loss_fn, optimizer, epochs):
        accuracies = []
        model.train()
        for epoch in range(epochs):
            for images, labels in loader:
                loss = loss_fn(model(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            model.eval()
            right = model(test.images).argmax(dim=1) == test.labels
            accuracies.append(right.float().mean().item())
        return accuracies
    """,
    code="""
    def train_and_test(model, loader, test, loss_fn, optimizer, epochs):
        accuracies = []
        for epoch in range(epochs):
            model.train()
            for images, labels in loader:
                loss = loss_fn(model(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            model.eval()
            right = model(test.images).argmax(dim=1) == test.labels
            accuracies.append(right.float().mean().item())
        return accuracies
    """,
)

next_epoch = Prediction(
    "lesson_04.next_epoch",
    "We call `fit` again with the same history and `epochs=3`, that is, three more epochs. Which number does the next"
    " epoch get?",
    answer=3,
    belief="`epochs` is a total, or whatever was started counts: met with trainers that take max_epochs, and with"
    " notebooks that number their rows by calls",
    because="Two epochs are finished. The third was broken off, so it does not count as one, and a new third follows.",
    wrong={
        1: "It would be 1 without `history=`.",
        4: "It would be 4 if the broken-off epoch counted as finished. Most of its images were never seen.",
    },
    hints=["How many epochs does the table call finished?"],
)

eval_learns = Question(
    "lesson_04.eval_learns",
    "A script calls `model.eval()` once and then trains: forward, loss, clear, backward, step, for ten epochs. The"
    " model has a BatchNorm layer. What happens?",
    [
        Choice(
            "An error: there are no gradients in evaluation mode",
            "that is `torch.no_grad()`. `eval()` switches what layers compute, and gradients are computed as ever.",
        ),
        Choice(
            "No error, and no weight moves",
            "`eval()` freezes no weight. `requires_grad_(False)` does.",
        ),
        Choice(
            "It trains, and BatchNorm's averages stay where they were",
            "the weights learn, around averages that nobody updates. For a model that was trained before, people do"
            " this on purpose: they freeze the averages.",
            right=True,
        ),
    ],
    hints=["Which of the two is about what a layer computes: `eval()` or `no_grad()`?"],
)
