"""What lesson 04, Write the loop, asks."""

from collections.abc import Callable

import torch

from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Write the loop"

one_step = Prediction(
    "lesson_04.one_step",
    'After one step we ask for the loss of the same 32 images again. It "rises", "falls" or "stays"?',
    answer="falls",
    choices=("rises", "falls", "stays"),
    because="The gradient was taken for these very images, and the step was short enough to follow it downhill.",
    wrong={
        "rises": "It can, when the step is far too long. This one is not.",
        "stays": "It would, if the weights had not moved. `step()` has moved them.",
    },
    hints=[
        "The gradient points to where the loss of these images rises, and the step goes the other way."
    ],
)

forgotten_zero = Prediction(
    "lesson_04.forgotten_zero",
    "We call `backward()` for the same batch twice, with the same weights, and clear nothing in between. How many times"
    " as large as after the first call is `weight.grad` after the second?",
    answer=2,
    within=0.01,
    because="`backward()` adds to what is there, so the same gradient is in it twice.",
    wrong={
        1: "It would be 1 if `backward()` replaced what is there. It adds.",
        0: "Nobody has cleared it.",
    },
    hints=[
        "The weights are the same, so both calls compute the same numbers. What is done with the old ones?"
    ],
)

handed_over = Prediction(
    "lesson_04.handed_over",
    "We hand four jobs to the helper thread, and read a clock as soon as the last one is handed over. Which time"
    ' does it show, to the nearest: that of "no job", "one job" or "four jobs"?',
    answer="no job",
    choices=("no job", "one job", "four jobs"),
    because="Handing over takes next to no time. The clock says nothing about the work.",
    wrong={
        "one job": "Not even the first job is waited for: `submit` only puts it into the helper's queue.",
        "four jobs": "So it would be if we waited for the helper, and nobody has asked us to.",
    },
    hints=["Does `submit` wait until the job is done?"],
)

same_reads = Prediction(
    "lesson_04.same_reads",
    "`train_epoch` runs an epoch of 23 iterations and one of 90, and computes loss and accuracy. How many more reads of"
    " the device does the longer epoch make? (No progress bar is shown.)",
    answer=0,
    because="The sums stay on the device while the epoch runs. What is read at its start and end stays the same.",
    wrong={
        67: "So it would be with one read an iteration, as in `plain_epoch`.",
        134: "So it would be with two reads an iteration, one for the loss and one for the accuracy.",
    },
    hints=["An epoch needs one mean at its end. What has to be known before?"],
)

half_sum = Prediction(
    "lesson_04.half_sum",
    "A float16 tensor holds 2048. We add 1 to it. Which number does it hold now?",
    answer=2048,
    because="From 2,048 to 4,096 the numbers of float16 are 2 apart. 2,049 is half-way and goes to the multiple of 4.",
    wrong={
        2049: "That is the sum, and float16 has no such number.",
        2050: "The sum is half-way between 2,048 and 2,050. It goes to the multiple of 4, which is 2,048.",
    },
    hints=[
        "Above 2,048 every second number is there. Between which two is the sum, and which is a multiple of 4?"
    ],
)

next_epoch = Prediction(
    "lesson_04.next_epoch",
    "We call `fit` again with the same history and `epochs=3`, that is, three more epochs. Which number does the next"
    " one get?",
    answer=3,
    because="Two epochs are finished. The third was broken off, so it does not count as one, and a new third follows.",
    wrong={
        1: "It would be 1 without `history=history`.",
        4: "It would be 4 if the broken-off epoch counted as finished. Most of its images were never seen.",
    },
    hints=["How many epochs does the table call finished?"],
)

moved = Question(
    "lesson_04.moved",
    "On a machine with a GPU, a notebook has the lines `model.to(device)` and `images.to(device)`. What is there now?",
    [
        Choice(
            "Both", "`images` is where it was: `to` gave back another tensor, and nobody kept it."
        ),
        Choice(
            "The model alone",
            "a module moves its own weights. A tensor is not changed: write `images = images.to(device)`.",
            right=True,
        ),
        Choice("The images alone", "a tensor stays where it is, and `to` gives back another one."),
        Choice(
            "Neither",
            "a module moves its own weights, also when you do not keep what `to` gives back.",
        ),
    ],
    hints=["One of the two is changed in place, the other gives back something new."],
)

slow_line = Question(
    "lesson_04.slow_line",
    "On a GPU, a clock around each line of a loop says that `total += loss.item()` takes nine tenths of the time. What"
    " does that tell?",
    [
        Choice(
            "Reading one number is slow", "one number is read in next to no time, once it is there."
        ),
        Choice(
            "The work that was queued before ends there",
            "forward, backward and step returned at once, and this line is the first that waits. It pays for all.",
            right=True,
        ),
        Choice(
            "Without this line the loop would be ten times as fast",
            "the work remains, and the next line that waits would pay for it. You gain what the GPU stood idle while"
            " Python was reading, and only measuring tells how much that is.",
        ),
    ],
    hints=["Which of the loop's lines wait for the GPU, and which only hand over?"],
)

grad_after = Exercise(
    "lesson_04.grad_after",
    """
    Each number of the list `gradients` is what one call of `backward()` computes for one weight. Write
    `grad_after(gradients, cleared)`: what `.grad` holds after the last call, when `zero_grad()` was called before each
    of them (`cleared` is True) or never (False). The list has at least one number.
    """,
    minutes=5,
    cases=[
        (([1.0, 2.0, 4.0], True), 4.0),
        (([1.0, 2.0, 4.0], False), 7.0),
        (([0.5, -0.5], False), 0.0),
    ],
    wrong=[
        (
            lambda gradients, cleared: gradients[-1],
            "without `zero_grad()` the earlier gradients are still in it.",
        ),
        (
            lambda gradients, cleared: sum(gradients),
            "`zero_grad()` throws away what the calls before it have left.",
        ),
        (
            lambda gradients, cleared: (
                gradients[-1] if cleared else sum(gradients) / len(gradients)
            ),
            "gradients are added up. Nothing divides them by their number.",
        ),
        (
            lambda gradients, cleared: sum(gradients) if cleared else gradients[-1],
            "it is the other way round.",
        ),
        (
            lambda gradients, cleared: 0 if cleared else sum(gradients),
            "nothing clears what the last call computes.",
        ),
    ],
    hints=[
        "What is left of the first gradient when `zero_grad()` comes before the second?",
        "`backward()` adds.",
    ],
    code="""
    def grad_after(gradients, cleared):
        return gradients[-1] if cleared else sum(gradients)
    """,
)


def judge_train_step(train_step: Callable) -> str | None:
    """What is wrong with a learner's train_step, or None: it is held against three steps of plain SGD."""

    def loss_fn(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if (
            labels.requires_grad or not outputs.requires_grad
        ):  # swapped, or the images in place of the outputs
            raise ValueError(
                "the loss function takes the model's outputs, `model(images)`, and then the labels"
            )
        return torch.nn.functional.mse_loss(outputs, labels)

    model = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    torch.nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    images = torch.ones(2, 1, dtype=torch.float64)
    given, weights = [], []
    for _ in range(
        3
    ):  # towards the label 2, one weight w has the loss (2 - w)**2, and the step is (2 - w) / 5
        given.append(train_step(model, images, 2 * images, loss_fn, optimizer))
        weights.append(round(model.weight.item(), 6))
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
        return "the steps are right, and it gave back None: `return` the loss of the batch as well."
    if isinstance(given[0], torch.Tensor):
        return "the loss came back as a tensor, which keeps the record of its forward pass: return it as a number."
    if any(abs(one - other) > 1e-6 for one, other in zip(given, (4.0, 2.56, 1.6384), strict=True)):
        came = [round(float(one), 4) for one in given]
        return (
            f"the losses are {came}, and [4.0, 2.56, 1.6384] are expected: those before each step."
        )


train_step = Exercise(
    "lesson_04.train_step",
    """
    Write `train_step(model, images, labels, loss_fn, optimizer)`: one iteration on the CPU, without looking above. It
    changes the weights once and gives back the loss of the batch before the step, as a number.
    """,
    minutes=10,
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
