"""What lesson 14, Read the error, asks."""

from collections.abc import Callable
from weakref import WeakSet

import torch
from torch import nn

from dlhelpers.course.judges import NotWritten, judge_cases
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Read the error"


def judge_pad(answer: Callable) -> str | None:
    """Say what is wrong with a learner's pad, or return None; on cases, 5.0 is as good as 5."""
    if problem := judge_cases(answer, pad.cases, pad.wrong):
        return problem
    rows, _ = answer(*pad.cases[0][0])
    kind = getattr(rows, "dtype", type(rows).__name__)
    if kind == torch.long:
        return None
    return (
        f"the values are right, but the rows are {kind}, and the texts are {torch.long}. `nn.Embedding` doesn't"
        " take floats, and `torch.zeros` makes floats unless you give it a `dtype`."
    )


def judge_load_weights(answer: Callable) -> str | None:
    """Say what is wrong with a learner's load_weights, or return None."""

    def new() -> nn.Module:
        return nn.ModuleDict({"my_module": nn.Linear(2, 2)})

    def loaded(names: Callable[[str], str]) -> tuple[str, object, nn.Module]:
        trained, model = new(), new()
        saved = {names(name): value for name, value in trained.state_dict().items()}
        before = list(saved)
        try:
            returned = answer(model, saved)
        except RuntimeError:
            return "raised", None, model
        if list(saved) != before:
            return "changed", None, model
        pairs = zip(trained.parameters(), model.parameters(), strict=True)
        same = all(torch.equal(one, other) for one, other in pairs)
        return "same" if same else "different", returned, model

    came, returned, model = loaded(lambda name: f"module.{name}")
    if came == "different" and returned is None:
        raise NotWritten
    if came == "changed":
        return "it changed the dictionary it was given: build a new one."
    if came == "raised":
        return (
            "a file with `module.` in front of each name was refused. Remove it at the front, only there, and as a"
            " whole word (`lstrip` removes letters): this model has a layer called `my_module`."
        )
    if came == "different":
        return (
            "from a file with `module.` in front of each name nothing was loaded: with `strict=False` PyTorch keeps"
            " quiet about names that don't match. Take it off at the front, and only there: this model has a layer"
            " called `my_module`."
        )
    plain = loaded(lambda name: name)[0]
    if plain != "same":
        return "a file without `module.` has to load, too: `removeprefix` leaves such a name alone."
    for what, names in {
        "one whose names are all different": lambda name: f"encoder.{name}",
        "one that lacks the bias": lambda name: name.replace("bias", "other"),
    }.items():
        if loaded(names)[0] != "raised":
            return f"a file of a different model, {what}, was accepted without a word: let PyTorch raise."
    if returned is not model:
        return f"the weights are right, and it returned {type(returned).__name__} in place of the model."
    return None


class _Watched(torch.autograd.Function):
    """Passes a tensor on, and puts a mark into the graph by which one sees whether that is alive."""

    alive: WeakSet = WeakSet()

    @staticmethod
    def forward(ctx, images: torch.Tensor) -> torch.Tensor:
        ctx.mark = nn.Identity()
        _Watched.alive.add(ctx.mark)
        return images.clone()

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> torch.Tensor:
        return grad


def judge_valid_loss(answer: Callable) -> str | None:
    """Say what is wrong with a learner's valid_loss, or return None."""
    _Watched.alive.clear()
    model, most, taken = nn.Module(), 0, 0
    model.weight = nn.Parameter(torch.ones(1))
    model.weight.grad = torch.full((1,), 7.0)  # as a training step has left it
    model.forward = lambda images: _Watched.apply(images * model.weight)

    def loader():
        nonlocal most, taken
        for size in (4, 4, 4, 4, 4, 4, 4, 2):
            most, taken = max(most, len(_Watched.alive)), taken + 1
            yield torch.full((size, 1), 10.0 / size), torch.full((size, 1), 1.5)

    try:
        result = answer(model, loader(), nn.MSELoss())
        gradients = torch.is_grad_enabled()
    finally:
        torch.set_grad_enabled(True)
    if result is None:
        if not taken:
            raise NotWritten
        return "it returned None: is the `return` missing?"
    if not gradients:
        return "it left gradients switched off, and the next epoch couldn't train: use `with torch.no_grad():`."
    if model.weight.grad is None or model.weight.grad.item() != 7:
        return (
            "it changed `.grad`, which belongs to training. `backward()` does empty the graph, but it adds gradients of"
            " validation images to those of training. Build no graph instead."
        )
    if most > 2:
        return (
            f"{most} graphs were alive at once: each batch's stays as long as a sum or a list holds its loss. Let go of"
            " the graph inside the loop."
        )
    if isinstance(result, torch.Tensor):
        graph = " that still carries a graph" if result.requires_grad else ""
        return f"it returned a tensor{graph}: turn it into a plain number with `.item()`."
    losses = [(4, 1.0), (2, 12.25)]
    expected = (7 * 4 * losses[0][1] + 2 * losses[1][1]) / 30
    value = float(result)
    if abs(value - (7 * losses[0][1] + losses[1][1]) / 8) < 1e-4:
        return "now every batch counts the same, though the last one has only 2 images: keep the weights of lesson 03."
    if abs(value - (7 * 4 + 2 * 12) / 30) < 1e-4:
        return "`int` cuts off the fraction of each loss: `float` doesn't."
    if abs(value - expected) > 1e-4:
        return f"it gives {value:.4g}, and {expected:.4g} is expected: the sum of all losses over all images."
    return None


entry = Prediction(
    "lesson_14.entry",
    "The loader doesn't shuffle. Which sample of the dataset, counted from 0, is the one that doesn't fit?",
    belief="'at entry 2' names sample 2 of the dataset; met in forum threads on this message, where people print"
    " dataset[2] and find nothing wrong",
    answer=42,
    because="Five batches of 8 went through, so the sixth begins at sample 40, and entries are counted within"
    " the batch.",
    wrong={
        2: "Sample 2 came through with the first batch. The function that raised it only knows the list"
        " of 8 it was given.",
        5: "That's the number of the batch. Which samples does it hold?",
        10: "Each batch that went through held 8 samples.",
        34: "Batch 4, the fifth, was printed, so it went through.",
        43: "Counted from 0, entry 2 is the third sample of its batch.",
        50: "Batches 0 to 4 went through, and those are five.",
    },
    hints=[
        "Who raised the error: somebody who knows the dataset, or somebody who has a list of 8 tensors?",
        "How many samples went through before?",
    ],
)

in_worker = Prediction(
    "lesson_14.in_worker",
    "The same dataset and the same loader, now with `num_workers=1`. Does the child end with"
    ' "the same error", "a different error" or "no error"?',
    belief="workers change the speed of loading and nothing else, so an error stays the same; met wherever these two"
    " messages are taken for two bugs, as in most threads on 'storage that is not resizable'",
    answer="a different error",
    choices=("the same error", "a different error", "no error"),
    because="A worker collates straight into shared memory, and there the mismatch fails sooner, and differently.",
    wrong={
        "the same error": "The data are the same, but a worker doesn't build a batch in the same way.",
        "no error": "The sizes differ in a worker, too, and somebody has to stack them.",
    },
    hints=["Where does a worker have to put a batch, so that the main process can get at it?"],
)

travels = Question(
    "lesson_14.travels",
    "Which change lets `pickle` pack this dataset for a worker?",
    [
        Choice(
            "Give the lambda a name: `def scale(x): return x / 16`, inside the same function",
            "then the message says `<locals>.scale`. It was never about the lambda: whatever is defined inside a"
            " function can't be found from outside.",
        ),
        Choice(
            "Put the call under `if __name__ == '__main__':`",
            "a script under spawn does need that, but to prevent a different message. Here the main process couldn't"
            " pack the dataset for its worker.",
        ),
        Choice(
            "Use `functools.partial(operator.mul, 1 / 16)`: a function that multiplies by 1 / 16",
            "it travels as the address of `operator.mul`, which can be imported on the other side, and the number"
            " 1 / 16.",
            right=True,
        ),
    ],
    hints=[
        "Pickle sends a function as an address, a module and a name. What does the message quote?",
        "Which of these can a fresh Python get by an import?",
    ],
)

not_strict = Prediction(
    "lesson_14.not_strict",
    "Many answers to this message say `strict=False`. With it, how many of the model's four tensors come from the"
    " file?",
    belief="strict=False loads whatever can be loaded and skips a few extras; met as the accepted answer in most"
    " threads on this message ('add strict=False then ok', 'Lifesaver')",
    answer=0,
    because="It skips every name that doesn't match, and none did. You have an untrained model, and no error.",
    wrong={
        4: "The shapes fit, but PyTorch goes by names, and these differ.",
        2: "Weights and biases are treated alike. Compare the names in the message.",
        1: "Is there a name that's in both lists of the message?",
    },
    hints=["What does `load_state_dict` go by: the order, the shapes or the names?"],
)

growth = Prediction(
    "lesson_14.growth",
    "A training loop: forward, `loss.backward()`, a step, then `total += loss`. The sum lives on, and so does the graph"
    " of each loss. After 50 batches, how much of all their activations is still in memory:"
    ' "under 2 %", "about half" or "about all"?',
    belief="total += loss in a training loop keeps the activations of all batches; PyTorch's own FAQ shows this very"
    " loop under 'my model reports out of memory'",
    answer="under 2 %",
    choices=("under 2 %", "about half", "about all"),
    because="`backward()` frees what the layers kept as soon as it has used it. The sum holds on to empty shells.",
    wrong={
        "about half": "The sum treats all batches alike: it's all of them or none.",
        "about all": "The sum does hold every graph. But what is left in a graph after `backward()`?",
    },
    hints=["Lesson 06 drew memory over one iteration. What did it do during backward?"],
)

blamed = Prediction(
    "lesson_14.blamed",
    "A dataset reads numbers from a memory-mapped file. Somebody cuts that file short, and a worker reads past its new"
    ' end. What does the error suggest as the cause: "the file", "shared memory" or "nothing"?',
    belief="'Bus error' in a worker means that /dev/shm is full; PyTorch's message says it, and so does nearly every"
    " answer (raise --shm-size)",
    answer="shared memory",
    choices=("the file", "shared memory", "nothing"),
    because="All PyTorch knows is the signal that killed the worker. The rest is the usual suspect.",
    wrong={
        "the file": "The process that writes the message never saw the file. It has the number of a signal.",
        "nothing": "That would be the honest answer. But the message wants to help.",
    },
    hints=["The worker is dead. What can the main process find out about it?"],
)

pad = Exercise(
    "lesson_14.pad",
    """
    Write `pad(samples)`, a `collate_fn` for texts. It gets a list of 1-D tensors and returns two things: one tensor of
    the same dtype, with a row per text and shorter rows filled with 0 at the end, and a list of the true lengths.
    """,
    minutes=4,
    judge=judge_pad,
    cases=[
        (([torch.tensor([5, 6, 7]), torch.tensor([8])],), ([[5, 6, 7], [8, 0, 0]], [3, 1])),
        (
            ([torch.tensor([4]), torch.tensor([3, 2]), torch.tensor([1, 1])],),
            ([[4, 0], [3, 2], [1, 1]], [1, 2, 2]),
        ),
        (([torch.tensor([9, 9])],), ([[9, 9]], [2])),
    ],
    wrong=[
        (
            lambda samples: nn.utils.rnn.pad_sequence(samples, batch_first=True),
            "the rows are right. Return the lengths, too, or nobody can tell a 0 from padding.",
        ),
        (
            lambda samples: (nn.utils.rnn.pad_sequence(samples), [len(text) for text in samples]),
            "each text is a column: `pad_sequence` needs `batch_first=True`.",
        ),
        (
            lambda samples: (
                torch.stack([text[: min(map(len, samples))] for text in samples]),
                [min(map(len, samples))] * len(samples),
            ),
            "this cuts every text down to the length of the shortest. It runs, but it throws data away.",
        ),
        (
            lambda samples: (
                torch.stack([text[: min(map(len, samples))] for text in samples]),
                [len(text) for text in samples],
            ),
            "the lengths are right, but the texts are cut down to the shortest.",
        ),
        (
            lambda samples: (
                torch.stack(
                    [
                        nn.functional.pad(text, (max(map(len, samples)) - len(text), 0))
                        for text in samples
                    ]
                ),
                [len(text) for text in samples],
            ),
            "the zeros are in front: they belong at the end.",
        ),
        (
            lambda samples: (
                nn.utils.rnn.pad_sequence(samples, batch_first=True),
                [max(map(len, samples))] * len(samples),
            ),
            "these are the lengths after padding. Keep those from before.",
        ),
        (
            lambda samples: (
                [len(text) for text in samples],
                nn.utils.rnn.pad_sequence(samples, batch_first=True),
            ),
            "the order is swapped: rows first, then lengths.",
        ),
    ],
    hints=[
        "`lengths = [len(text) for text in samples]` is one line.",
        "`torch.zeros(rows, columns, dtype=torch.long)`, then fill each row from the left; or look up"
        " `torch.nn.utils.rnn.pad_sequence`.",
    ],
    code="""
    from torch.nn.utils.rnn import pad_sequence

    def pad(samples):
        lengths = [len(text) for text in samples]
        return pad_sequence(samples, batch_first=True), lengths
    """,
)

load_weights = Exercise(
    "lesson_14.load_weights",
    """
    Repair `load_weights`, so that a file from this model loads whether its names begin with `module.` or not, and a
    file from a different model raises an error. It should still return the model and leave `saved` as it is.
    """,
    minutes=3,
    given="""
    def load_weights(model, saved):
        model.load_state_dict(saved, strict=False)
        return model
    """,
    judge=judge_load_weights,
    praise="both kinds of file load, and a file of a different model is refused.",
    hints=[
        "Build a new dictionary with the same values, and each name without its prefix.",
        '`"module.0.weight".removeprefix("module.")` removes the prefix, if it\'s there.',
        "Who should complain about a file that doesn't fit? PyTorch will, if you let it be strict.",
    ],
    code="""
    def load_weights(model, saved):
        clean = {name.removeprefix("module."): value for name, value in saved.items()}
        model.load_state_dict(clean)
        return model
    """,
)

valid_loss = Exercise(
    "lesson_14.valid_loss",
    """
    Repair `valid_loss`, so that no graph outlives its batch, it returns a plain number, and it doesn't disturb
    training: gradients stay switched on, and `.grad` stays as it is. (`model.eval()` is up to the caller.)
    """,
    minutes=2,
    given="""
    def valid_loss(model, loader, loss_fn):
        total = samples = 0
        for images, labels in loader:
            loss = loss_fn(model(images), labels)
            total += loss * len(labels)
            samples += len(labels)
        return total / samples
    """,
    judge=judge_valid_loss,
    praise="at most one graph is alive, and the mean is weighted.",
    hints=[
        "Does a validation loop need a graph at all?",
        "`with torch.no_grad():` builds none. At the end, `.item()` turns the tensor into a number, so you wait for"
        " the device only once (lesson 05).",
    ],
    code="""
    import torch

    def valid_loss(model, loader, loss_fn):
        total = samples = 0
        with torch.no_grad():
            for images, labels in loader:
                loss = loss_fn(model(images), labels)
                total += loss * len(labels)
                samples += len(labels)
        return (total / samples).item()
    """,
)

PIECES, OTHERS, FULL = "pieces", "others", "full"

diagnose = Exercise(
    "lesson_14.diagnose",
    """
    Write `diagnose(tried, total, free, mine, unused)`. It gets the message's numbers in MiB: requested, total capacity,
    free, this process, reserved but unallocated. Return `"pieces"` if free and unused memory together could hold the
    request; otherwise `"others"` if other processes hold more than this one; otherwise `"full"`.
    """,
    minutes=3,
    cases=[
        ((14.0, 22507.5, 2.44, 22487.0, 9.24), FULL),
        ((11100.2, 24217.6, 10506.2, 12830.7, 11745.3), PIECES),
        ((60.0, 11438.1, 12.5, 530.0, 24.04), OTHERS),
        ((8.0, 16000.0, 5.0, 1000.0, 4.0), PIECES),
        ((8.0, 16000.0, 4.0, 15000.0, 4.0), PIECES),
        ((4000.0, 16000.0, 3000.0, 7000.0, 500.0), FULL),
    ],
    wrong=[
        (
            lambda tried, total, free, mine, unused: (
                PIECES if unused >= tried else OTHERS if total - free - mine > mine else FULL
            ),
            "free memory counts, too: one case needs both together.",
        ),
        (
            lambda tried, total, free, mine, unused: (
                PIECES if free + unused >= tried else OTHERS if total - mine > mine else FULL
            ),
            "what's free belongs to nobody: subtract it before you count the rest as other processes'.",
        ),
        (
            lambda tried, total, free, mine, unused: (
                PIECES if free + unused >= tried else OTHERS if total - free - mine > 0 else FULL
            ),
            "there's nearly always something else on a GPU. Ask who holds more.",
        ),
        (
            lambda tried, total, free, mine, unused: (
                OTHERS if total - free - mine > mine else PIECES if free + unused >= tried else FULL
            ),
            "check for pieces first: if the request would fit, nobody has to leave.",
        ),
        (
            lambda tried, total, free, mine, unused: (
                PIECES if free + unused > tried else OTHERS if total - free - mine > mine else FULL
            ),
            "exactly as much as was requested is enough: `>=`.",
        ),
        (
            lambda tried, total, free, mine, unused: (
                PIECES if free >= tried else OTHERS if total - free - mine > mine else FULL
            ),
            "the unused memory that PyTorch has reserved counts, too.",
        ),
        (
            lambda tried, total, free, mine, unused: (
                PIECES if free + unused < tried else OTHERS if total - free - mine > mine else FULL
            ),
            'the comparison is the wrong way round: "pieces" means there\'s enough, but not in one piece.',
        ),
    ],
    hints=[
        "Two sums: what there would be if it were all in one piece, and what the other processes hold.",
        "Others hold `total - free - mine`.",
    ],
    code="""
    def diagnose(tried, total, free, mine, unused):
        if free + unused >= tried:
            return "pieces"
        return "others" if total - free - mine > mine else "full"
    """,
)
