"""What lesson 06, Price a batch, asks."""

import sys
from collections.abc import Callable
from itertools import pairwise
from weakref import WeakSet

import torch

from dlhelpers.course.judges import judge_cases
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Price a batch"

biggest_kind = Prediction(
    "lesson_06.biggest_kind",
    'One iteration with a single image. Which kind takes the most memory: "parameters", "gradients", "optimizer state"'
    ' or "activations"?',
    answer="optimizer state",
    choices=("parameters", "gradients", "optimizer state", "activations"),
    because="Adam remembers two numbers per parameter, so its state is twice the size of the model.",
    belief="A model takes as much memory as its parameters; met on model cards, which give parameters times bytes.",
    wrong={
        "parameters": "The weights are what you download. Training adds more of the same size.",
        "gradients": "There is one gradient per parameter. Something else has two numbers for each.",
        "activations": "They will be, once there are enough images. This batch has one.",
    },
    hints=["How many numbers per parameter does each kind have?"],
)

half_batch = Prediction(
    "lesson_06.half_batch",
    "With 128 images, the four kinds take 30.24 MB in all, and the device has 16 MB. You halve the batch. How"
    " much of the 30.24 MB do 64 images take, in percent?",
    answer=57,
    within=2,
    because="Only the activations halve. Parameters, gradients and optimizer state stay as they are.",
    belief="Half the batch takes half the memory; the first answer to every out-of-memory question in forums.",
    wrong={
        17.26: "Those are the MB. How many percent of 30.24 MB are they?",
        64: "That is the number of images. How much of the 30.24 MB do they take?",
        50: "It would be half if every byte belonged to an image.",
        43: "That is what the activations of 64 images take. The other three kinds are still there.",
        100: "Each image has activations of its own, and half of the images are gone.",
        0.5: "That is a fraction, and you were asked for percent. Nor is it half: not every byte belongs to an image.",
        0.57: "That is the fraction, and you were asked for percent.",
        25: "Only one thing is halved, the number of images, and a part of the memory depends on it.",
    },
    hints=[
        "Three kinds stay, and their sizes are in the table above.",
        "30.24 MB less those three, halved, plus those three again.",
    ],
)

kept_share = Prediction(
    "lesson_06.kept_share",
    "Our layers give out 202.79 kB per image (with the image itself). What autograd keeps of an image for `backward()`"
    ' is "less", "the same" or "more"?',
    answer="less",
    choices=("less", "the same", "more"),
    because="A layer keeps what its own derivative needs, and for several layers that isn't what they gave out.",
    belief="Autograd keeps the output of every layer; said so in most tutorials on activation memory.",
    wrong={
        "the same": "That would be so if the output of every layer were needed again.",
        "more": "Something is added indeed, and more is left out.",
    },
    hints=["To differentiate x * w with respect to w you need x. Do you need the product?"],
)

inplace_relu = Prediction(
    "lesson_06.inplace_relu",
    "Now with `nn.ReLU(inplace=True)`, as in torchvision's models: the result is written over the input. What autograd"
    ' keeps is then "less", "the same" or "more"?',
    answer="the same",
    choices=("less", "the same", "more"),
    because="What went into the ReLU wasn't kept before either. You only spare a tensor that lives for a moment.",
    belief="ReLU(inplace=True) saves training memory; a standard tip in forums on running out of memory.",
    wrong={
        "less": "In place, one tensor fewer is made. Look in the table whether autograd had kept that one.",
        "more": "Writing in place makes no new tensor.",
    },
    hints=["Which rows of the table would go away?"],
)

peak_when = Prediction(
    "lesson_06.peak_when",
    'One iteration with 64 images. When is most memory taken: "at the end of forward", "during backward" or "in the'
    ' optimizer step"?',
    answer="during backward",
    choices=("at the end of forward", "during backward", "in the optimizer step"),
    because="Backward frees what it has used, but it makes gradients of the activations first, and the large ones of"
    " the early layers come last.",
    belief="Memory rises in forward and falls in backward, so the peak is between them; the triangle of many blogs.",
    wrong={
        "at the end of forward": "Everything kept is there at that moment. But what does backward make before it frees"
        " anything?",
        "in the optimizer step": "Adam does need room to compute in. With 64 images that isn't the largest item.",
    },
    hints=["Backward has to hold a gradient for each tensor that it passes through."],
)

iteration_time = Prediction(
    "lesson_06.iteration_time",
    'One iteration with 128 images, compared with one with 16: is it "shorter", "about equal" or "longer"?',
    answer="longer",
    choices=("shorter", "about equal", "longer"),
    because="More images are more to compute; where a device had idle parts to spare, the time may stay the same.",
    belief="A larger batch gives faster iterations; the usual answer to the question that this course starts from.",
    wrong={
        "shorter": "More images hardly ever make an iteration shorter; they make iterations fewer.",
        "about equal": "That happens on a large GPU that 16 images leave idle. A CPU has few idle parts to spare.",
    },
    hints=["Nothing is asked here about an epoch. How much work is in one iteration?"],
)

largest_found = Prediction(
    "lesson_06.largest_found",
    "This device fails above 100 images. The study starts at 16, doubles until a size fails, and then tries one more,"
    " halfway back to the last that ran. Which batch size does it report as the largest?",
    answer=96,
    because="64 runs and 128 fails. Halfway between them is 96, which runs.",
    belief="A batch-size finder finds the limit; so the names of such tools in trainer libraries suggest.",
    wrong={
        100: "100 would fit, but it was never tried, and the study promises nothing untried.",
        64: "That is the last doubling that ran. One more size is tried after it.",
        128: "128 is above 100, so it fails.",
        99: "The study doesn't search image by image.",
    },
    hints=["Which is the first size that fails, and which the last before it?"],
)

try_again = Prediction(
    "lesson_06.try_again",
    "We collect garbage (on a GPU you'd also call `torch.cuda.empty_cache()`). Then we try 64 images again, which"
    ' fitted a moment ago: "it runs" or "out of memory"?',
    answer="out of memory",
    choices=("it runs", "out of memory"),
    because="Nothing was garbage. The error is still there, its traceback holds the frames of the failed call, and"
    " those hold its tensors.",
    belief="gc.collect() and empty_cache() free what a failed run left; the usual answer to out of memory.",
    wrong={
        "it runs": "Collecting frees what nobody can reach, and emptying the cache returns what no tensor uses."
    },
    hints=["Is there still a name from which one can get to those tensors?"],
)

mixed_price = Question(
    "lesson_06.mixed_price",
    "A model doesn't fit even with a batch of 1. The advice: train in mixed precision (16-bit activations, parameters"
    " still in 32), it halves the memory. What does it do to the explorer's bill, with 1 image and Adam?",
    [
        Choice(
            "It halves the memory",
            "only activations are halved, and one image has few of them.",
        ),
        Choice(
            "It takes less, but not half",
            "true of 64 images. With 1 image, what is saved is smaller than what is added.",
        ),
        Choice(
            "It takes more",
            "each parameter gets a 16-bit copy for the computation, and the activations of one image don't make up"
            " for that. Mixed precision lowers the slope and raises the constant of this bill.",
            right=True,
        ),
        Choice(
            "Nothing changes",
            "two things do: there are 16-bit copies of the parameters, and the activations are half as large.",
        ),
    ],
    hints=["Set the explorer to 1 image and change only the precision."],
)

fixed_bytes = Exercise(
    "lesson_06.fixed_bytes",
    """
    Write `fixed_bytes(parameters, states)`: the bytes of parameters, gradients and optimizer state, the same for
    any batch size. `parameters` is a list of tensors; the optimizer keeps `states` numbers per parameter, of the same
    type (plain SGD 0, with momentum 1, Adam 2). Useful: `tensor.numel()`, `tensor.element_size()`.
    """,
    minutes=4,
    cases=[
        (([torch.zeros(3), torch.zeros(2)], 2), 80),
        (([torch.zeros(3), torch.zeros(2)], 0), 40),
        (([torch.zeros(5, dtype=torch.float16)], 1), 30),
        (([torch.zeros(2, 2, 2)], 2), 128),
    ],
    wrong=[
        (
            lambda parameters, states: _bytes(parameters) * (1 + states),
            "the gradients are missing: one number per parameter, whatever the optimizer.",
        ),
        (
            lambda parameters, states: _bytes(parameters) * states,
            "that is the optimizer state alone. Parameters and gradients are there as well.",
        ),
        (
            lambda parameters, states: _bytes(parameters) * 4,
            "that is Adam, whatever the optimizer: use `states`.",
        ),
        (
            lambda parameters, states: _bytes(parameters) * 2,
            "the optimizer state is missing: `states` numbers per parameter.",
        ),
        (
            lambda parameters, states: sum(p.numel() for p in parameters) * (2 + states),
            "these are numbers, not bytes. `element_size()` has the bytes of one.",
        ),
        (
            lambda parameters, states: (
                sum(len(p) * p.element_size() for p in parameters) * (2 + states)
            ),
            "`len` is the first side of the shape only. `numel()` counts all numbers.",
        ),
        (
            lambda parameters, states: sum(p.numel() for p in parameters) * 4 * (2 + states),
            "not every number has 4 bytes: float16 has 2. Ask `element_size()`.",
        ),
        (
            lambda parameters, states: sum(p.numel() for p in parameters) * 4 * (1 + states),
            "the gradients are missing: one number per parameter. And not every number has 4 bytes.",
        ),
    ],
    hints=[
        "How many numbers are there for each parameter, itself included?",
        "Sum `numel()` times `element_size()`, then multiply.",
    ],
    code="""
    def fixed_bytes(parameters, states):
        model = sum(tensor.numel() * tensor.element_size() for tensor in parameters)
        return model * (2 + states)
    """,
)


def _judge_line(answer: Callable) -> str | None:
    """Say what is wrong with a largest batch size; 96.0 is wrong as well, for no batch has that size."""
    problem = judge_cases(answer, largest_for.cases, largest_for.wrong)
    if problem is None and type(found := answer(*largest_for.cases[0][0])) is float:
        return f"it gives {found}, which is no size for a batch: make it a whole number with `int`."
    return problem


largest_for = Exercise(
    "lesson_06.largest_for",
    """
    Turn the line round. `small` and `large` are two measurements, each a pair (batch size, MB). Write
    `largest_for(limit, small, large)`: the largest batch size whose memory stays within `limit` MB, a whole number. (At
    least one image fits.)
    """,
    minutes=4,
    judge=_judge_line,
    cases=[
        ((20, (32, 10.0), (64, 15.0)), 96),
        ((17.1, (10, 4.0), (20, 6.0)), 75),
        ((12, (16, 8.0), (32, 9.0)), 80),
        ((6.0, (64, 20.0), (128, 36.0)), 8),
    ],
    wrong=[
        (
            lambda limit, small, large: int(limit * large[0] / large[1]),
            "this takes memory in proportion to the batch. A part of it is constant: two measurements give the slope.",
        ),
        (
            lambda limit, small, large: int(limit * small[0] / small[1]),
            "this takes memory in proportion to the batch. A part of it is constant: two measurements give the slope.",
        ),
        (
            lambda limit, small, large: int(limit / _slope(small, large)),
            "the slope is right, and the constant is missing: take it off the limit first.",
        ),
        (
            lambda limit, small, large: int((limit - 4.28) / _slope(small, large)),
            "4.28 MB is the constant of one model: work it out from the two measurements.",
        ),
        (
            lambda limit, small, large: small[0] + int((limit - small[1]) * _slope(small, large)),
            "the slope is upside down: take MB per image, and divide the MB that are left by it.",
        ),
        (
            lambda limit, small, large: int((limit - small[1]) / _slope(small, large)),
            "this is how many images fit *beyond* those of `small`.",
        ),
        (
            lambda limit, small, large: small[0] + (limit - small[1]) / _slope(small, large),
            "the line is right, and half an image is no image: round down.",
        ),
        (
            lambda limit, small, large: round(small[0] + (limit - small[1]) / _slope(small, large)),
            "rounded to the nearest, it may be one image over the limit: round down.",
        ),
    ],
    hints=[
        "How many MB does one more image take?",
        "How many MB are left beyond `small`, and how many images is that?",
    ],
    code="""
    def largest_for(limit, small, large):
        slope = (large[1] - small[1]) / (large[0] - small[0])
        return small[0] + int((limit - small[1]) // slope)
    """,
)

pick_size = Exercise(
    "lesson_06.pick_size",
    """
    `ms` maps batch sizes to milliseconds per iteration. Write `pick_size(ms)`: the smallest batch size that reaches at
    least 95 % of the most samples per second.
    """,
    minutes=3,
    cases=[
        (({16: 8.0, 32: 10.0, 64: 16.0, 128: 31.5, 256: 62.9},), 64),
        (({8: 4.0, 16: 8.4, 32: 16.0, 64: 31.9},), 8),
        (({32: 10.0, 64: 18.0, 128: 50.0},), 64),
        (({1: 5.0, 2: 5.0, 4: 5.0},), 4),
        (({64: 30.0, 32: 15.1, 16: 20.0},), 32),
        (({10: 10.515, 20: 20.0},), 10),
        (({8: 15.0, 16: 28.5, 32: 57.8},), 8),
    ],
    wrong=[
        (
            lambda ms: min(ms, key=ms.get),
            "this is the size with the shortest iteration. The epoch has more iterations then.",
        ),
        (max, "this is the largest size, and speed may have been flat for long before it."),
        (
            lambda ms: max(ms, key=lambda size: size / ms[size]),
            "this is the fastest, often by a hair. A smaller size is within 5 % of it.",
        ),
        (
            lambda ms: min(size for size in ms if size / ms[size] > 0.95 * _fastest(ms)),
            "95 % exactly is enough: compare with `>=`.",
        ),
        (
            lambda ms: max(size for size in ms if size / ms[size] >= 0.95 * _fastest(ms)),
            "this is the largest that is fast enough. Take the smallest.",
        ),
        (
            lambda ms: min(n for n in ms if ms[n] / n >= 0.95 * max(ms[k] / k for k in ms)),
            "upside down: that is milliseconds per sample, which should be few.",
        ),
        (
            lambda ms: next(size for size in ms if size / ms[size] >= 0.95 * _fastest(ms)),
            "this is the first that is fast enough, in the dictionary's order. Take the smallest.",
        ),
        (
            lambda ms: min(size for size in ms if ms[size] / size <= 1.05 / _fastest(ms)),
            "5 % more time per sample is 95.2 % of the speed: compare samples per second.",
        ),
    ],
    hints=[
        "How many samples per millisecond does each size do?",
        "Find the best of them first, then the smallest size that comes near it.",
    ],
    code="""
    def pick_size(ms):
        speed = {size: size / ms[size] for size in ms}
        enough = 0.95 * max(speed.values())
        return min(size for size in speed if speed[size] >= enough)
    """,
)


def _bytes(tensors: list[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _slope(small: tuple, large: tuple) -> float:
    return (large[1] - small[1]) / (large[0] - small[0])


def _fastest(ms: dict) -> float:
    return max(size / took for size, took in ms.items())


class _Endless(BaseException):
    """Ends a search that goes on and on; a learner's `except Exception` does not catch it."""


class _Device:
    """Pretends to have room for some images, and knows which are still held."""

    def __init__(self, room: int):
        self.room, self.held, self.tried, self.ran, self.inside = room, WeakSet(), [], [], False

    def take(self, size: int) -> "_Images":
        if sum(images.size for images in self.held) + size > self.room:
            raise torch.OutOfMemoryError("pretended")
        images = _Images(size)
        self.held.add(images)
        return images

    def run(self, size: int) -> None:
        self.tried.append(size)
        self.inside |= sys.exc_info()[1] is not None  # called from an `except` block
        if len(self.tried) > 30:
            raise _Endless
        activations = self.take(size)
        gradients = self.take(size)
        del activations, gradients
        self.ran.append(size)


class _Images:
    def __init__(self, size: int):
        self.size = size


def _judge_search(answer: Callable) -> str | None:
    """Say what is wrong with a search for a batch size that runs, or return None."""
    for room, start, expected in (100, 64, 32), (100, 50, 50), (10, 64, 4):
        device = _Device(room)
        where = f"Where {room // 2} images fit, and the search starts at {start},"
        try:
            found = answer(device.run, start)
        except _Endless:
            if device.ran:
                return f"{device.ran[0]} images ran, and it went on trying: return the first size that runs."
            if any(one == other for one, other in pairwise(device.tried)):
                return (
                    f"it tries {device.tried[-1]} images again and again: halve after each failure."
                )
            return "it does not come to an end."
        except torch.OutOfMemoryError:
            return f"{where} it gives up with the error: try half the size after a failure."
        if not isinstance(found, int):
            return f"{where} it returned {found!r}: return the size that ran, a whole number (halve with `//`)."
        if found not in device.tried:
            return f"{where} it says {found}, which has not run: return a size once `run` got through with it."
        if found == expected:
            continue
        halves = [start, *(size // 2 for size in device.tried)]
        if halves[:-1] != device.tried:
            return f"{where} it says {found}: halve the size after each failure, beginning with {start}."
        why = (
            "inside `except`, Python itself holds the error, its frames and their tensors until the block ends."
            " `del`, `gc.collect()` or another error can't free them there."
            if device.inside
            else "you left the `except` block, and a name of your own still holds the error, its frames and their"
            " tensors. Note only that it failed, then retry."
        )
        return f"{where} it says {found}. Each retry began while the failed one was still in memory: {why}"

    def broken(size: int) -> None:
        raise ValueError("labels are missing")

    try:
        answer(broken, 1)
    except ValueError:
        return None
    return "a ValueError in `run` was swallowed: catch `torch.OutOfMemoryError` alone, or a bug looks like no memory."


largest_that_runs = Exercise(
    "lesson_06.largest_that_runs",
    """
    `run(size)` trains one iteration, or raises `torch.OutOfMemoryError`. This search halves the size until `run` gets
    through, and returns it. On a device where 50 images fit, it starts at 64 and returns 0 (an empty batch fits
    anywhere). Make it find 32.
    """,
    minutes=4,
    judge=_judge_search,
    praise="it finds 32, 50 and 4 on three devices, and every retry began with an empty one.",
    hints=[
        "Where is the retry: inside the `except` block or after it? Until when does the error live?",
        "Note in the block that it failed, leave the block, and retry there: a `while` loop does it.",
    ],
    given="""
    def largest_that_runs(run, size):
        try:
            run(size)
            return size
        except torch.OutOfMemoryError:
            return largest_that_runs(run, size // 2)
    """,
    code="""
    import torch


    def largest_that_runs(run, size):
        while True:
            try:
                run(size)
                return size
            except torch.OutOfMemoryError:
                pass
            size //= 2
    """,
)
