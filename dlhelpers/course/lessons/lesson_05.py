"""What lesson 05, Use the device, asks."""

from collections.abc import Callable

import torch

from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question
from dlhelpers.measure import count_reads

TITLE = "Use the device"

moved = Question(
    "lesson_05.moved",
    "On a machine with a GPU, a notebook has the lines `model.to(device)` and `images.to(device)`. What is on the GPU"
    " now?",
    [
        Choice(
            "Both",
            "`images` is where it was: `to` returned a new tensor, and nobody kept it.",
        ),
        Choice(
            "The model alone",
            "a module moves its own weights. A tensor is not changed: write `images = images.to(device)`.",
            right=True,
        ),
        Choice("The images alone", "a tensor stays where it is, and `to` returns a new one."),
        Choice(
            "Neither",
            "a module moves its own weights, even when you don't keep what `to` returns.",
        ),
    ],
    hints=["One of the two is changed in place, the other returns something new."],
)


def judge_on_device(on_device: Callable) -> str | None:
    """What is wrong with a learner's on_device, or None: it has to move to `meta`, and to leave things on the CPU."""
    for place in ("meta", "cpu"):
        batch = {"images": torch.ones(2, 1), "labels": torch.zeros(2), "lengths": torch.ones(2)}
        before = dict(batch)
        moved = on_device(batch, torch.device(place))
        if moved is None:
            return "it returned None: is a `return` missing?"
        if not isinstance(moved, dict) or set(moved) != set(before):
            return (
                f"a dictionary with the names {', '.join(before)} is expected, those of the batch that it was given:"
                " go through all of them."
            )
        if any(batch[name] is not before[name] for name in before):
            return "it changed the dictionary that it was given: build a new one."
        for name, tensor in moved.items():
            if tensor.device.type != place:
                return (
                    f"asked for {place!r}, it left {name!r} on {tensor.device.type!r}: `to(device)` returns a new"
                    " tensor, which has to be kept, for every tensor in the batch."
                )
            if place == "cpu" and not torch.equal(tensor, before[name]):
                return f"under {name!r} it put other numbers: move each name's own tensor."
    return None


on_device = Exercise(
    "lesson_05.on_device",
    """
    A batch is a dictionary of tensors, such as `{"images": ..., "labels": ...}`. Write `on_device(batch, device)`: it
    returns a new dictionary with the same names, every tensor on `device`. The one it was given stays as it is.
    """,
    minutes=2,
    judge=judge_on_device,
    praise="every tensor arrives, and the old batch is untouched.",
    hints=[
        "`batch.items()` gives names and tensors. Which object does `tensor.to(device)` change?",
        "A dictionary in braces, with a `for` over the items, does it in one line.",
    ],
    code="""
    def on_device(batch, device):
        return {name: tensor.to(device) for name, tensor in batch.items()}
    """,
)

optimizer_first = Prediction(
    "lesson_05.optimizer_first",
    "We make a model, then an SGD optimizer without momentum, and move the model to the GPU only after that. Then"
    ' we train for twenty steps. What happens: "an error", "nothing changes" or "it learns"?',
    belief="Parameters become different objects when a model is moved, so an optimizer made before trains nothing."
    " PyTorch's own documentation of torch.optim said so for years (issues 7844 and 76752), and forums repeat it.",
    answer="it learns",
    choices=("an error", "nothing changes", "it learns"),
    because="The module puts new numbers into the same `Parameter` objects, and those are what the optimizer holds.",
    wrong={
        "an error": "There is nothing for it to trip over: plain SGD keeps no numbers of its own.",
        "nothing changes": "It would be so if the move made new parameters. PyTorch's documentation once said it does.",
    },
    hints=["What does the optimizer hold: numbers, or the objects that hold the numbers?"],
)

handed_over = Prediction(
    "lesson_05.handed_over",
    "We hand four jobs to the helper thread, and read a clock as soon as the last one is handed over. Which time"
    ' does it show, to the nearest: that of "no job", "one job" or "four jobs"?',
    belief="A line that has returned has done its work, so time.time() around it measures it. Most timing snippets in"
    " tutorials do just that on a GPU.",
    answer="no job",
    choices=("no job", "one job", "four jobs"),
    because="Handing over takes next to no time. The clock says nothing about the work.",
    wrong={
        "one job": "Nobody waits for the first job either: `submit` only puts it into the helper's queue.",
        "four jobs": "So it would be if we waited for the helper, and nothing has asked us to.",
    },
    hints=["Does `submit` wait until the job is done?"],
)


class Queue:
    """A device with a clock of its own: work takes 3 seconds, and 5 seconds of earlier work are still waiting."""

    def __init__(self) -> None:
        self.now, self.done, self.jobs = 100.0, 105.0, 0

    def work(self) -> None:
        """Hand over a job."""
        self.done = max(self.now, self.done) + 3
        self.jobs += 1

    def wait(self) -> None:
        """Let the clock go on until all is done."""
        self.now = max(self.now, self.done)

    def clock(self) -> float:
        """Return the time in seconds."""
        return self.now


def judge_seconds_of(seconds_of: Callable) -> str | None:
    """What is wrong with a learner's seconds_of, or None: it is tried on a queue that is not empty."""
    queue = Queue()
    seconds = seconds_of(queue.work, queue.wait, queue.clock)
    if seconds is None:
        return "it returned None: is a `return` missing?"
    if queue.jobs != 1:
        return f"it called `work()` {queue.jobs} times: once is expected."
    if seconds < 0:
        return f"it says {seconds:g} seconds: subtract the earlier reading from the later one."
    if seconds > 100:
        return f"it says {seconds:g} seconds: that is a time of day. A duration is the difference of two readings."
    if seconds == 8:
        return (
            "it says 8 seconds, and the work takes 3. The other 5 were in the queue before: let them finish before the"
            " first reading."
        )
    if seconds == 5:
        return (
            "it says 5 seconds, which is what the queue held before. The work's own 3 are not in it: wait for them,"
            " and let the old ones finish before the first reading."
        )
    if seconds == 0:
        return "it says 0 seconds for 3 seconds of work: the second reading comes before the work is done."
    return None if seconds == 3 else f"it says {seconds:g} seconds, and `clock()` says 3."


seconds_of = Exercise(
    "lesson_05.seconds_of",
    """
    `seconds_of(work, wait, clock)` is meant to say how many seconds the device works on `work()`. It runs, and says 0
    for everything. `wait()` returns once the queue is empty, `clock()` tells the time in seconds. There may be earlier
    work in the queue, and that must not count.
    """,
    minutes=4,
    judge=judge_seconds_of,
    given="""
    def seconds_of(work, wait, clock):
        start = clock()
        work()
        return clock() - start
    """,
    praise="3 seconds, although 5 seconds of earlier work were in the queue.",
    hints=[
        "When `work()` returns, is the work done?",
        "What is still in the queue when you read the clock the first time?",
    ],
    code="""
    def seconds_of(work, wait, clock):
        wait()
        start = clock()
        work()
        wait()
        return clock() - start
    """,
)

slow_line = Question(
    "lesson_05.slow_line",
    "On a GPU, a clock around each line of a loop says that `total += loss.item()` takes nine tenths of the time. What"
    " does that tell you?",
    [
        Choice(
            "Reading one number is slow",
            "one number is read in next to no time, once it is there.",
        ),
        Choice(
            "The work that was queued before ends there",
            "forward, backward and step returned at once, and this line is the first that waits. It pays for all.",
            right=True,
        ),
        Choice(
            "Without this line the loop would be ten times as fast",
            "the work remains, and the next line that waits would pay for it. You gain the time that the GPU stood"
            " idle, and only measuring tells how much that is.",
        ),
    ],
    hints=["Which of the loop's lines wait for the GPU, and which only hand over?"],
)

without_reads = Prediction(
    "lesson_05.without_reads",
    "In each iteration Python works for 1 unit of time and the device for 3. A loop of six iterations reads the loss"
    ' every time. We drop all reads except the last. How much time does that save, roughly: "nothing", "a fifth",'
    ' "half" or "nine tenths"?',
    belief="A profiler that shows nine tenths in .item() means that removing .item() saves nine tenths; forum answers"
    " advise to remove it to make the loop many times faster.",
    answer="a fifth",
    choices=("nothing", "a fifth", "half", "nine tenths"),
    because="With reads the two take turns, 6 x (1 + 3) = 24 parts. Without, Python's part hides behind the device's,"
    " and 1 + 6 x 3 = 19 remain.",
    wrong={
        "nothing": "Python's part is done while the device works, in every iteration but the first.",
        "half": "Only the shorter of the two parts can hide behind the longer one.",
        "nine tenths": "The device's own work is still there, and somebody has to wait for it in the end.",
    },
    hints=["Draw both lanes for six iterations. Which one is busy all the time?"],
)

longer_epoch = Prediction(
    "lesson_05.longer_epoch",
    "`train_epoch` runs an epoch of 23 iterations and one of 90, and computes loss and accuracy. How many more reads of"
    " the device does the longer epoch make? (No progress bar is shown.)",
    belief="A mean loss and an accuracy need `.item()` in every iteration, as in `running_loss += loss.item()` of"
    " PyTorch's own beginner tutorials.",
    answer=0,
    because="The sums stay on the device while the epoch runs. What is read at its start and end stays the same.",
    wrong={
        67: "So it would be with one read per iteration, as in `plain_epoch`.",
        134: "So it would be with two reads per iteration, one for the loss and one for the accuracy.",
    },
    hints=["An epoch needs one mean at its end. What has to be known before?"],
)


def judge_mean_loss(mean_loss: Callable) -> str | None:
    """What is wrong with a learner's mean_loss, or None: batches of 4, 4 and 1 samples, and their reads are counted."""

    def loss_fn(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if any(outputs is tensor for batch in batches for tensor in batch):
            raise ValueError("the loss function takes the model's outputs, then the labels")
        return (outputs - labels).mean()

    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(model.weight)
    values = [1.0] * 4 + [2.0] * 4 + [10.0]
    images = torch.tensor(values).reshape(-1, 1)
    batches = [(part, torch.zeros_like(part)) for part in images.split(4)]
    given: list = []
    reads = count_reads(lambda: given.append(mean_loss(model, batches, loss_fn)), "cpu")
    [mean] = given
    if mean is None:
        return "it returned None: is a `return` missing?"
    if isinstance(mean, torch.Tensor):
        return "it returned a tensor: turn the finished mean into a number, with one `.item()`."
    if reads > 1:
        return (
            f"it read the device {reads} times for 3 batches: add up loss tensors while the loop runs, count samples"
            " with `len(labels)`, and call `.item()` once, after it. (`torch.tensor` of a list reads each tensor in it,"
            " `torch.stack` none.)"
        )
    wrong = {
        13
        / 3: "batches of 4, 4 and 1 samples count alike here: weigh each loss by its samples, as in lesson 03.",
        22: "that is the sum over all samples: divide by their number.",
        22
        / 3: "that is the sum over samples, divided by the number of batches: divide by the number of samples.",
        13
        / 9: "the losses are means: multiply each by its samples before you divide by all samples.",
        10: "that is the loss of the last batch alone: add them up.",
    }
    for value, message in wrong.items():
        if abs(mean - value) < 1e-4:
            return f"it gave {mean:.4g}: {message}"
    return None if abs(mean - 22 / 9) < 1e-4 else f"it gave {mean:.4g}, and 2.444 is expected."


mean_loss = Exercise(
    "lesson_05.mean_loss",
    """
    Write `mean_loss(model, batches, loss_fn)`: the mean loss over all samples, as a number, and with a single read of
    the device, however many batches there are. A batch is `(images, labels)`, already on the device, and
    `loss_fn(outputs, labels)` is the mean over a batch. Nothing is trained, and the model's
    mode can stay as it is.
    """,
    minutes=5,
    judge=judge_mean_loss,
    praise="three batches of 4, 4 and 1 samples, one read. (With `torch.no_grad()` or `loss.detach()`, no batch's"
    " record for the backward pass stays in memory.)",
    hints=[
        "Which of the numbers that you add up come from the device, and which from Python?",
        "A total that starts as 0 becomes a tensor as soon as you add one, and `len(labels)` asks no device.",
    ],
    code="""
    def mean_loss(model, batches, loss_fn):
        total = samples = 0
        for images, labels in batches:
            total += loss_fn(model(images), labels).detach() * len(labels)
            samples += len(labels)
        return (total / samples).item()
    """,
)

half_sum = Prediction(
    "lesson_05.half_sum",
    "A float16 tensor holds 2048. We add 1 to it. Which number does it hold now?",
    belief="Short types lose digits behind the point, and whole numbers are safe: the usual explanation is 'about three"
    " decimal digits', and 65,504 as the only limit.",
    answer=2048,
    because="From 2,048 to 4,096 the numbers of float16 are 2 apart. 2,049 is half-way, and a tie goes to the"
    " multiple of 4.",
    wrong={
        2049: "That is the sum, and float16 has no such number.",
        2050: "The sum is half-way between 2,048 and 2,050, and ties do not always go up.",
    },
    hints=["Float16 keeps 11 binary digits of a number. How many does 2,049 need?"],
)

saved = Exercise(
    "lesson_05.saved",
    """
    Write `saved(gradient, scale)`: what is left of a gradient (a Python number) that was multiplied by `scale`, kept in
    float16, and divided again in float32. `torch.tensor(x, dtype=torch.float16)` rounds a Python number `x`, and
    `.float()` makes the result float32.
    """,
    minutes=4,
    praise="a gradient of 1e-8 is lost without a scale, and kept with one of 65,536.",
    cases=[
        ((1e-8, 1.0), 0.0),
        ((1e-8, 65536.0), 1.000040e-8),
        ((0.5, 1024.0), 0.5),
        ((2.0, 65536.0), float("inf")),
    ],
    wrong=[
        (
            lambda gradient, scale: (
                (torch.tensor(gradient, dtype=torch.float16).float() * scale).item() / scale
            ),
            "the gradient became float16 before it was scaled, or never was scaled, and by then it is 0: scale first.",
        ),
        (
            lambda gradient, scale: torch.tensor(gradient * scale, dtype=torch.float16).item(),
            "it is still multiplied by the scale: divide in the end, or the step is as many times too long.",
        ),
        (
            lambda gradient, scale: (
                torch.tensor(gradient * scale, dtype=torch.float16) / scale
            ).item(),
            "the small one becomes 0 after all. Either it was rounded to float16 before it was scaled, or it was still"
            " float16 when it was divided: scale first, and divide behind `.float()`.",
        ),
        (
            lambda gradient, scale: gradient * scale / scale,
            "nothing was rounded to float16 here: 2 times 65,536 does not fit into it and should be inf.",
        ),
    ],
    hints=[
        "Which of the three acts has to come first, so that nothing is lost?",
        "Multiply inside `torch.tensor(...)`, divide behind `.float()`.",
    ],
    code="""
    import torch


    def saved(gradient, scale):
        short = torch.tensor(gradient * scale, dtype=torch.float16)
        return short.float().item() / scale
    """,
)

steps_taken = Prediction(
    "lesson_05.steps_taken",
    "A weight has the gradient 2, which isn't small at all, and its forward pass is in float16. We make five iterations"
    " with a new scaler, whose first scale is 65,536, and call `scaler.step(optimizer)` in each. How often"
    " does the weight move?",
    belief="A scaler only helps, and a call of scaler.step is an optimizer step; tutorials show the three calls and"
    " schedulers are then stepped once for each of them.",
    answer=3,
    because="2 times the scale has to stay below 65,504. That takes two halvings, and each costs a step.",
    wrong={
        5: "The first scaled gradient is 131,072, which float16 does not have: it becomes inf, and the step is lost.",
        4: "After one halving the scaled gradient is 65,536, still too much.",
        0: "A scaler halves its scale after each step that it leaves out, and so it gets there.",
    },
    hints=[
        "The largest number of float16 is 65,504. What is twice 65,536, and what after one halving?"
    ],
)
