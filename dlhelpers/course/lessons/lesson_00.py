"""What lesson 00, Start here, asks."""

from collections.abc import Callable

import torch

from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Start here"

your_reading = Prediction(
    "lesson_00.your_reading",
    "Which digit did the writer of this scan mean?",
    answer=3,
    belief="A label can be seen in its image, so a good reader gets 100 %: met wherever people ask what is wrong with"
    " a model that stops at 97 %.",
    because="A 3 is what the writer's form asked for. A label is what was meant, not what can be seen, so don't expect"
    " 100 % of any reader.",
    wrong={
        5: "It looks like a 5 to most people, and you'll meet it again.",
        8: "The loops don't close.",
        9: "The upper loop doesn't close.",
        6: "The lower loop doesn't close.",
    },
    hints=["Picture a stroke that skips the upper turn."],
)

answers_of = Exercise(
    "lesson_00.answers_of",
    "Write `answers_of(model, images)`: the digit that the model says for each image, as a tensor with one whole number"
    " per image. One line.",
    minutes=3,
    cases=[
        (
            (
                lambda images: images.flatten(1),
                torch.tensor([[[0.1, 0.5, 0.9]], [[0.8, 0.2, 0.3]]]),
            ),
            [2, 0],
        ),
        ((lambda images: -images.flatten(1), torch.tensor([[[0.4, 0.1, 0.6]]])), [1]),
    ],
    wrong=[
        (
            lambda model, images: model(images),
            "these are all the scores. Which position has the highest one, for each image?",
        ),
        (
            lambda model, images: model(images).argmax(),
            "`argmax()` on its own looks through all scores of all images and gives one position. Say along which"
            " `dim` to look.",
        ),
        (
            lambda model, images: model(images).argmax(dim=0),
            "with `dim=0` you get one answer per digit: the image with the highest score for it. You want one answer"
            " per image.",
        ),
        (
            lambda model, images: model(images).amax(dim=1),
            "this is how high the highest score is, not which digit has it.",
        ),
        (
            lambda model, images: model(images).softmax(dim=1),
            "these are probabilities, ten for each image. You want the position of the largest.",
        ),
        (
            lambda model, images: model(images).max(dim=1),
            "`max(dim=1)` gives two tensors: the highest scores, and in `.indices` where they stand. You want the"
            " second, which `argmax` gives by itself.",
        ),
        (
            lambda model, images: model(images).argmin(dim=1),
            "this is the digit with the lowest score.",
        ),
        (
            lambda model, images: images.flatten(1).argmax(dim=1),
            "this is the brightest pixel: call the model first.",
        ),
    ],
    hints=[
        "`model(images)` has one row per image. Look along each row.",
        "The rows are dimension 0, and what is inside a row is dimension 1.",
    ],
    code="""
    def answers_of(model, images):
        return model(images).argmax(dim=1)
    """,
)

guessing = Prediction(
    "lesson_00.guessing",
    "The untrained network reads all 359 test scans. How many times does it give its most frequent answer? (Within 50"
    " counts as right.)",
    answer=252,
    within=50,
    belief="An untrained network guesses, each digit equally often, so it starts at 10 %: met in nearly every tutorial"
    " that calls random weights random answers.",
    because="The weights were drawn at random once, then they stay: the network is a fixed function, and to such a"
    " function most scans look alike. What's random is which digit becomes the favourite.",
    wrong={
        36: "That's a tenth: a die would do that. Nothing in the network throws a die when it answers.",
        359: "Not quite all: scans do differ, and some of them enough.",
        100: "It is more one-sided than that.",
        50: "That's still close to a die. Nothing is thrown when it answers.",
    },
    hints=[
        "Does the same scan get a different answer if you ask again?",
        "All scans are dark at the sides and have about the same ink. How different are they to weights that know"
        " nothing of digits?",
    ],
)


def judge_shuffled(answer: Callable) -> str | None:
    """Say what is wrong with a learner's shuffled, or return None."""
    labels = torch.arange(10).repeat(10)
    given = [labels.clone(), labels.clone()]
    mixed = [answer(own) for own in given]
    if any(not torch.equal(own, labels) for own in given):
        if sorted(given[0].tolist()) != sorted(labels.tolist()):
            return (
                "`random.shuffle` swaps the items of a list, and on a tensor it overwrites some labels with others:"
                " afterwards the digits aren't there equally often. Make an order, and use it as the index."
            )
        return "it shuffled the labels that it was given, and the true ones are gone. Leave them, and return new ones."
    if mixed[0] is None:
        return "it returned None: is a `return` missing?"
    one, other = map(torch.as_tensor, mixed)
    if one.shape != labels.shape:
        return f"100 labels went in, and a tensor of shape {tuple(one.shape)} came out."
    if one.sort().values.equal(torch.arange(100)):
        return "this is an order, the numbers 0 to 99. Use it as the index: `labels[order]`."
    if not one.sort().values.equal(labels.sort().values):
        return (
            "some digits are there more often than before: use each label once. `torch.randperm` draws each position"
            " once."
        )
    if one.equal(labels):
        return "the labels came back in the order in which they went in."
    if one.equal(other):
        return "it gives the same order each time. That's a rule, and a network could learn it."
    return None


shuffled = Exercise(
    "lesson_00.shuffled",
    "Write `shuffled(labels)`: the same labels in a random order, as a new tensor. `torch.randperm(n)` gives the"
    " numbers 0 to n - 1 in a random order, and a tensor takes such an order as its index.",
    minutes=2,
    judge=judge_shuffled,
    praise="every label is still there, and none is where it belongs, but for luck.",
    hints=[
        "How many numbers does the order need?",
        "The order goes between the square brackets of `labels[...]`.",
    ],
    code="""
    import torch


    def shuffled(labels):
        return labels[torch.randperm(len(labels))]
    """,
)

nonsense = Prediction(
    "lesson_00.nonsense",
    "100 scans with their labels shuffled, 60 epochs. For how many of these 100 scans does the network say the nonsense"
    ' label in the end: "about 10", "about 50" or "all of them"?',
    answer="all of them",
    choices=("about 10", "about 50", "all of them"),
    belief="A network can only fit what follows a rule, so a falling training loss shows that it has found one: met in"
    ' every forum post that says "the loss goes down, so it learns".',
    because="There is no rule to find, and none is needed: 4,810 weights are plenty to learn 100 answers by heart.",
    wrong={
        "about 10": "That would be so if it needed a rule. It doesn't: it can treat each scan as a case of its own.",
        "about 50": "It passes through that, and goes on.",
    },
    hints=[
        "Could you learn 100 pairs by heart that follow no rule?",
        "How many weights are there for each scan?",
    ],
)

unseen = Question(
    "lesson_00.unseen",
    "Two networks, one with the true labels of 100 scans and one with shuffled labels, now have all of theirs right."
    " What does that 100 % tell you about the 359 test scans?",
    [
        Choice(
            "Both will be close to 100 % there",
            "one of them learned labels that mean nothing. It can't be right on a new scan except by luck.",
        ),
        Choice(
            "Both have overfitted (learned by heart), and will do badly there",
            "that's said a lot, and it doesn't follow: a network can have every training scan right and do well on"
            " new ones. The one you trained on all scans is on its way there.",
        ),
        Choice(
            "Nothing: new scans have to be measured",
            "the same 100 % comes from learning and from learning by heart. Only scans it hasn't seen can tell which.",
            right=True,
        ),
    ],
    hints=["Both networks show the same number. Did both learn the same thing?"],
)

split = Exercise(
    "lesson_00.split",
    "It should keep every fifth scan (numbers 4, 9, 14, ...) for testing and train on all others, in their order. It"
    " returns 1,438 and 359 scans, as it should, and it's wrong. Repair one line.",
    minutes=3,
    given="""
    def split(scans):
        test = scans[4::5]
        train = scans[: len(scans) - len(test)]
        return train, test
    """,
    cases=[
        ((list(range(12)),), ([0, 1, 2, 3, 5, 6, 7, 8, 10, 11], [4, 9])),
        ((list("abcdabcdab"),), (list("abcdbcda"), ["a", "b"])),
        (([7, 7, 7],), ([7, 7, 7], [])),
    ],
    wrong=[
        (
            lambda scans: (
                scans[: len(scans) - len(scans) // 5],
                scans[len(scans) - len(scans) // 5 :],
            ),
            "the two don't overlap any more, but now the last fifth is tested, not every fifth. Keep the line with"
            " `test` as it is.",
        ),
        (
            lambda scans: ([s for s in scans if s not in scans[4::5]], scans[4::5]),
            "it drops every scan that *equals* a test scan, and two writers may make the same one. Go by the number of"
            " the scan, not by what it looks like.",
        ),
        (
            lambda scans: ([s for k, s in enumerate(scans) if k % 5 != 0], scans[4::5]),
            "this leaves out numbers 0, 5, 10, ...: the numbers that are tested leave a remainder of 4.",
        ),
        (
            lambda scans: (scans[::5], scans[4::5]),
            "this trains on one scan in five. You want the other four.",
        ),
        (
            lambda scans: (scans[: len(scans) - len(scans[4::5])], scans[4::5]),
            "the numbers of scans are right, and number 4 is on both sides. Leave out those that are tested.",
        ),
        (
            lambda scans: (list(scans), scans[4::5]),
            "now it trains on all of them, the test scans included.",
        ),
        (
            lambda scans: (scans[4::5], [s for k, s in enumerate(scans) if k % 5 != 4]),
            "right parts, wrong order: training scans come first.",
        ),
        (
            lambda scans: (sum((scans[k::5] for k in range(4)), []), scans[4::5]),
            "the right scans are on each side. They have lost their order, and a split should keep it.",
        ),
    ],
    praise="no scan is on both sides. Before, 287 of the 359 test scans were training scans, too.",
    hints=[
        "Call it with `list(range(10))`. Which numbers are on both sides?",
        "A list with a condition: `[scan for k, scan in enumerate(scans) if ...]`",
        "What do 4, 9 and 14 have in common when you divide them by 5?",
    ],
    code="""
    def split(scans):
        test = scans[4::5]
        train = [scan for k, scan in enumerate(scans) if k % 5 != 4]
        return train, test
    """,
)

swapped = Prediction(
    "lesson_00.swapped",
    "We swap ink and paper in all 359 test scans: white becomes black, and black white. How many of them, to the"
    " nearest ten, does the trained network still get right? (Within 15 counts as right.)",
    answer=0,
    within=15,
    belief="97 % on the test set means that it can read digits: met in countless posts that say '98 % on MNIST, and"
    " each digit that I draw myself (dark on white) comes out wrong'.",
    because="It has learned which pixels are bright for which digit, and here the bright ones are exactly the others. A"
    " score holds for scans *like those it was measured on*.",
    wrong={
        345: "To you a 3 stays a 3. The network has never been shown that it should.",
        359: "To you a 3 stays a 3. The network has never been shown that it should.",
        180: "It isn't half as good: hardly any are left.",
        36: "That's a tenth, guessing. It does worse than guessing.",
        100: "Far fewer, fewer than guessing would get.",
    },
    hints=[
        "What does the network multiply its weights with: shapes, or the brightness of each pixel?",
        "Guessing would get 36. Is there a reason that it has to do at least that well?",
    ],
)

memory = Prediction(
    "lesson_00.memory",
    "All scans together take 460 kB and the network 19 kB. How much memory does this notebook's process hold:"
    ' "about 1 megabyte", "about 10 megabytes" or "over 100 megabytes"?',
    answer="over 100 megabytes",
    choices=("about 1 megabyte", "about 10 megabytes", "over 100 megabytes"),
    belief="A process holds its data and its model, so their sizes add up to its memory: met in forum threads that"
    " divide the memory in use by the parameters and find a leak.",
    because="Python and PyTorch are most of it. Data and model are added on top, and here you can't see"
    " them.",
    wrong={
        "about 1 megabyte": "That's data and model, with room for a copy. Something much larger was there before them.",
        "about 10 megabytes": "That would hold data and model many times. Something much larger was there before them.",
    },
    hints=["What else is in memory once `import torch` has run?"],
)
