"""What the site draws by itself: the map and the cards of its first page, and the sheet of numbers to keep.

Titles, questions and minutes are read from the README's table, which tests compare with the lessons. Each number of the
sheet is read from what a lesson printed, so it stays what `make test` compares.
"""

import re
from html import escape

from shown import cells, code, lessons

STOPS = {
    "dataset": "00 01",
    "batches": "02 03",
    "loop": "04 05",
    "batch size": "06 07",
    "steps": "08",
    "device": "09",
    "disk": "10 11 12",
    "ranks": "13",
    "errors": "14",
    "your own": "15",
}
# A picture of each lesson on 120 x 60 points: what stands in it, as "colour x y width height"
PICTURES = """
00  blue 48 8 24 7, blue 65 15 7 10, blue 52 26 20 7, blue 65 33 7 10, blue 48 44 24 7, sky 41 8 7 7, sky 41 44 7 7
01  sky 12 24 12 12, sky 28 24 12 12, sky 44 24 12 12, sky 60 24 12 12, sky 76 24 12 12, line 91 16 2 28, none 96 24
    12 12
02  sky 30 10 12 12, sky 45 10 12 12, sky 60 10 12 12, sky 75 10 12 12, sky 30 25 12 12, sky 45 25 12 12, sky 60 25 12
    12, sky 75 25 12 12, orange 30 40 12 12, orange 45 40 12 12
03  blue 14 14 34 38, blue 50 30 34 22, orange 86 50 12 2, line 8 24 98 2
04  sky 30 8 46 6, sky 30 18 58 6, sky 30 28 36 6, orange 30 38 52 6, sky 30 48 40 6
05  blue 14 16 34 28, green 72 16 34 28, line 50 24 20 2, line 50 34 20 2
06  blue 16 20 14 20, green 30 20 14 20, orange 44 20 24 20, pink 68 20 22 20, red 98 10 3 40
07  sky 14 34 6 18, sky 23 22 6 30, sky 32 40 6 12, sky 41 14 6 38, sky 50 30 6 22, blue 70 26 18 26, blue 91 24 18 28
08  sky 10 34 8 8, sky 20 34 8 8, sky 30 34 8 8, sky 40 34 8 8, sky 54 34 8 8, sky 64 34 8 8, sky 74 34 8 8, sky 84 34
    8 8, orange 98 34 8 8, blue 10 18 38 6, blue 54 18 38 6, blue 98 18 8 6
09  sky 10 14 28 14, sky 42 14 28 14, sky 74 14 28 14, green 38 34 14 14, green 70 34 14 14, green 102 34 14 14
10  orange 16 8 70 44, blue 26 22 14 14, red 92 22 3 30
11  sky 12 12 12 14, orange 26 12 12 14, green 40 12 12 14, sky 54 12 12 14, green 68 12 12 14, orange 82 12 12 14,
    green 12 34 12 14, sky 26 34 12 14, orange 40 34 12 14, orange 54 34 12 14, sky 68 34 12 14, green 82 34 12 14
12  sky 6 24 10 12, sky 20 24 10 12, line 34 14 2 32, orange 40 24 10 12, green 54 24 10 12, sky 68 24 10 12, line 82
    14 2 32, green 88 24 10 12, none 102 24 10 12
13  blue 14 8 26 12, blue 14 24 26 12, blue 14 40 26 12, line 44 29 18 2, green 66 16 38 28
14  sky 16 10 60 5, sky 24 20 66 5, sky 24 30 44 5, red 16 42 84 8
15  sky 16 40 14 12, sky 36 32 14 20, blue 56 24 14 28, green 76 12 14 40, line 10 52 96 2
"""
# Group, what, how, and what a lesson printed: its number, the cell, and where in the output the number is.
SHEET = [
    (
        "Count",
        "batches in an epoch",
        "samples / batch size, rounded up; `drop_last=True` rounds down",
        "10 images in batches of 4: {}",
        "02",
        "reveal-small",
        r"Result: (\d+)",
    ),
    (
        "Count",
        "samples in the last batch",
        "what is left, or a whole batch where nothing is",
        "10,000 images in batches of 32: one of {}",
        "02",
        "sizes-big",
        r"(\d+): 1}",
    ),
    (
        "Count",
        "batches in two epochs",
        "twice those of one: the rest doesn't wait",
        "10,000 images in batches of 32: {}",
        "02",
        "reveal-two",
        r"Result: (\d+)",
    ),
    (
        "Count",
        "optimizer steps",
        "of each epoch's batches, one for each group, the last one too",
        "1,438 images in batches of 32, as micro-batches of 8: {} steps",
        "08",
        "run-counts",
        r"optimizer_steps +(\d+)",
    ),
    (
        "Average",
        "accuracy of an epoch",
        "right ones / samples seen; a loss is weighted by its batch's size",
        "75 images: {} is right, and the usual loop prints {}",
        "03",
        "truth published-number",
        r"right: ([\d.]+%)|'([\d.]+%)",
    ),
    (
        "Average",
        "the mean of batch means",
        "is off by up to half, for one sample in the last batch",
        "257 images in batches of 256: {} points",
        "03",
        "draw-worst",
        r"([\d.]+) at 256",
    ),
    (
        "Average",
        "validation",
        "never with `drop_last=True`",
        "batches of 40 of 75 images: {} points off",
        "03",
        "drop-table",
        r"drop_last by ([\d.]+)",
    ),
    (
        "Write",
        "one iteration",
        "`zero_grad()`, forward, loss, `backward()`, `step()`",
        "without `zero_grad()` the second gradient is {} times as long",
        "04",
        "reveal-forgotten",
        r"Result: (\d+)",
    ),
    (
        "Write",
        "test",
        "`model.eval()` and no gradients, `model.train()` afterwards",
        "threes in training mode: {} right",
        "04",
        "reveal-sorted",
        r"Result: (.+?)\.",
    ),
    (
        "Write",
        "device",
        "move the model, then make the optimizer",
        "a read in each iteration costs {} of the time in the lesson",
        "05",
        "reveal-without",
        r"Result: (.+?)\.",
    ),
    (
        "Price",
        "a dataset in memory",
        "samples x numbers in one x bytes of a number (float32: 4)",
        "10,000 of 3 x 224 x 224: {} GB",
        "01",
        "price",
        r"Result: ([\d.]*\d)",
    ),
    (
        "Price",
        "training",
        "weights + gradients + optimizer state (Adam: twice the weights) + batch x activations",
        "{} + {} an image",
        "06",
        "line",
        r"a = ([\d.]+ MB)|b = ([\d.]+ kB)",
    ),
    (
        "Price",
        "half the batch",
        "halves the activations only",
        "{} % of the bytes remain",
        "06",
        "reveal-half-batch",
        r"Result: (\d+)",
    ),
    (
        "Price",
        "noise of a gradient",
        "falls with the square root of the batch size",
        "8 times the images: {} times less",
        "07",
        "reveal-noise",
        r"Result: ([\d.]*\d)",
    ),
    (
        "Feed",
        "an iteration without workers",
        "loading + training; with enough workers the longer of the two",
        "160 and 120 ms: {} ms with one worker",
        "09",
        "reveal-worker",
        r"two: (\d+) ms",
    ),
    (
        "Feed",
        "batches requested ahead",
        "workers x `prefetch_factor`, and one more for each that you take",
        "one look, two workers: {}",
        "09",
        "reveal-peek",
        r"Result: (\d+)",
    ),
    (
        "Outgrow",
        "a map in a dataset",
        "keep the path and open it in each worker: a pickled map holds the data",
        "{} MB go to each worker, with the path alone {}",
        "10",
        "reveal-opened path-only",
        r"Result: (\d+)|and ([\d.]+) MB of pickle",
    ),
    (
        "Outgrow",
        "sorted data",
        "shuffle once when you write, then read blocks in random order",
        "a full shuffle fetches each stretch {}",
        "11",
        "reveal-fetched",
        r"Result: (.+?)\.",
    ),
    (
        "Outgrow",
        "a stream and workers",
        "each worker gets a copy: share it by `get_worker_info()`",
        "12 images, two workers: {} come",
        "12",
        "reveal-two",
        r"Result: (\d+)",
    ),
    (
        "Share",
        "the batch of a step",
        "ranks x batch size",
        "8 ranks of 32 on 1,438 scans: {} steps in an epoch",
        "13",
        "reveal-unchanged",
        r"has (\d+) optimizer",
    ),
    (
        "Share",
        "a new order each epoch",
        "`sampler.set_epoch(epoch)`",
        "ten epochs without it: {} order",
        "13",
        "reveal-order",
        r"Result: (\d+)",
    ),
    (
        "Share",
        "a metric of all ranks",
        "add up right ones and samples over the ranks, then divide",
        "not the mean of accuracies: {}",
        "13",
        "reveal-mean",
        r"Result: ([\d.]*\d)",
    ),
]


def printed(number: str, names: str, pattern: str) -> list[str]:
    """What a pattern finds in the text that cells of a lesson printed."""
    text = ""
    for name in names.split():
        for output in cells(number)[name]["outputs"]:
            text += "".join(output.get("text") or output["data"]["text/plain"]) + "\n"
    return ["".join(found) for found in re.findall(pattern, text)]


def cards() -> str:
    """Return the map of the course, and a card for each lesson, as HTML."""
    stops = "".join(f"<li><b>{stop}</b> {numbers}</li>" for stop, numbers in STOPS.items())
    pictures = dict(re.findall(r"(?s)(\d\d)  (.+?)(?=\n\d\d  |\n$)", PICTURES))
    shown = ""
    for number, title, stem, question, minutes in lessons():
        shapes = ""
        for shape in pictures[number].split(","):
            colour, x, y, width, height = shape.split()
            shapes += (
                f"<rect class='{colour}' x='{x}' y='{y}' width='{width}' height='{height}' rx='1'/>"
            )
        shown += (
            f"<li><a href='../notebooks/{stem}.html'>"
            f"<svg viewBox='0 0 120 60' aria-hidden='true'>{shapes}</svg>"
            f"<b>{number} {escape(title)}</b><span>{code(question)}</span><small>{minutes} minutes</small></a></li>"
        )
    return f"<ol class='stops'>{stops}</ol><ol class='cards'>{shown}</ol>"


def sheet() -> str:
    """Return the numbers to keep, each with its lesson; ValueError where a lesson prints another number."""
    stems, rows, group = {lesson[0]: lesson[2] for lesson in lessons()}, "", ""
    for heading, what, how, example, number, names, pattern in SHEET:
        found = printed(number, names, pattern)
        if len(found) != example.count("{}"):
            raise ValueError(f"lesson {number} does not print {pattern} once in {names}")
        if heading != group:
            group = heading
            rows += f"<tr><th colspan='4' scope='rowgroup'>{heading}</th></tr>"
        example = code(example).replace("{}", "<b>{}</b>").format(*map(escape, found))
        link = f"<a href='../notebooks/{stems[number]}.html' title='lesson {number}'>{number}</a>"
        rows += f"<tr><td>{what}</td><td>{code(how)}</td><td>{example}</td><td>{link}</td></tr>"
    return f"<table class='sheet'><tbody>{rows}</tbody></table>"
