"""What lesson 15, Put it together, asks: two helpers, and a project with six requirements, one rule each."""

from math import isclose
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from dlhelpers.base.sizes import human_bytes
from dlhelpers.course.capstone import (
    BATCH,
    BUDGET,
    CAP,
    ENOUGH,
    EXAM,
    FEW,
    FILES,
    HELD_OUT,
    data,
    draw,
    expect,
    judge,
    requirement,
    runs,
    stated,
    whole_run,
)
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question
from dlhelpers.data.folders import ImageFiles
from dlhelpers.machine.capped import LimitedRun

TITLE = "Put it together"


# ---- the requirements ----

SMALL = "Call `train` by hand on the folder `small` to see where."
HELP = {
    "out of memory": "What's too large: all images at once, a whole batch in one piece, or the weights? A plan prices"
    " one step; on top of that, the loader collects the next batch.",
    "killed": f"Does each of its loops end? {SMALL}",
    "failed": SMALL,
}
DROPPED = (
    " One of them leaves out the short last batch: give `drop_last=True` to both the training loader and"
    " `plan`, or to neither."
)


def finished(run: LimitedRun) -> dict[str, Any]:
    """Return what a run gave that came to its end, with its finished epochs of training as "trained"."""
    how = {"out of memory": "ran ", "killed": "was "}.get(run.outcome, "")
    expect(run.outcome == "returned", f"the run {how}{run}\n{HELP.get(run.outcome)}")
    trained = [r for r in run.value["history"] if r.phase == "train" and r.complete]
    expect(trained, "the history has no finished epoch of training.")
    return {**run.value, "trained": trained}


@requirement("plan", f"steps from {BATCH} samples, {BUDGET:,} samples in all, stated first")
def _plan(project: type) -> str:
    """The plan is one for the good images and the batch asked for, within the budget and under the cap."""
    plan, good = stated(project), FILES - 1
    expect(
        plan.samples,
        "it doesn't know how many samples there are: pass samples= and batch_size=, or a loader.",
    )
    wrong = {
        FILES: "one of the files can't be read.",
        good + HELD_OUT: "leave out the held-out ones.",
    }
    expect(
        plan.samples == good,
        f"it counts {plan.samples:,} images, but there are {good:,} to learn from:"
        f" {wrong.get(plan.samples, 'count the files of `train` that can be read.')}",
    )
    whole, rest = divmod(good, BATCH)
    expect(
        (plan.batches, plan.last_batch) in [(whole + 1, rest), (whole, BATCH)],
        f"it has {plan.batches:,} batches, the last of {plan.last_batch:,}. A step has to learn from {BATCH} samples:"
        " that's the batch size. What goes through the model in one piece is the micro-batch.",
    )
    seen = plan.samples_per_epoch * plan.epochs
    expect(
        seen <= BUDGET,
        f"{plan.epochs} epochs see {seen:,} samples, and the budget is {BUDGET:,}: plan fewer epochs.",
    )
    expect(plan.peak_bytes, "it has no peak: that takes both shape=(3, 64, 64) and a model.")
    expect(
        plan.peak_parts["optimizer"],
        "its peak has 0 bytes for the optimizer: give `plan` the optimizer_fn that you'll train with.",
    )
    peak = f"{human_bytes(plan.peak_bytes)} at the peak"
    expect(
        plan.peak_bytes <= CAP,
        f"it has {peak} of one step, but only {human_bytes(CAP)} are allowed: which part is the largest, and what makes"
        " it smaller?",
    )
    return f"{plan.optimizer_steps:,} steps, {seen:,} samples, {peak}"


@requirement("memory", f"at most {human_bytes(CAP)}")
def _memory(project: type) -> str:
    """A run that is made anew at each check came to its end under the cap."""
    whole_run.cache_clear()
    run = whole_run(project)
    finished(run)
    private = f"{human_bytes(run.peak_private)} of private memory at the peak"
    # where the system has a cap, that has decided itself
    expect(run.capped or run.peak_private <= CAP, f"{private}, and {human_bytes(CAP)} are allowed.")
    return private


@requirement("kept", "the counts that were planned")
def _kept(project: type) -> str:
    """The plan is still the one from before the run, and the history is as planned."""
    gave, plan = finished(whole_run(project)), stated(project)
    expect(
        gave["plan"] == plan,
        "the plan isn't the one the run started with. State it once, leave it alone, and check the run again.",
    )
    whole = f"{(FILES - 1) // BATCH * BATCH:,}"
    for name, planned, happened, held in plan.compare(gave["history"]).rows:
        why = DROPPED if whole in (planned, happened) else ""
        expect(held == "yes", f"`{name}`: {planned} planned, {happened} in the history.{why}")
    return f"{sum(r.samples for r in gave['trained']):,} samples, as planned"


@requirement("honest", "the same validation accuracy as the judge")
def _honest(project: type) -> str:
    """The history ends with the accuracy that this very model has on the held-out images, and none taught it."""
    gave = finished(whole_run(project))
    results = [r for r in gave["history"] if r.complete]
    end, passes, looks = results[-1], sum(r.phase != "train" for r in results), gave["looks"]
    expect(
        end.phase == "valid" and "accuracy" in end.metrics,
        f"the history ends with {end.phase} of epoch {end.epoch} and no accuracy: give `fit` a valid_loader and"
        ' metrics={"accuracy": accuracy}.',
    )
    expect(
        end.samples == HELD_OUT,
        f"its accuracy comes from {end.samples:,} images: {HELD_OUT} are held out, and each of them counts once.",
    )
    says, right = end.metrics["accuracy"], gave["right"]
    expect(
        abs(says - right) < 0.005 and looks >= HELD_OUT,
        f"the history says {says:.1%}, the model you returned gets {right:.1%} of the held-out images, and the run"
        f" opened {looks:,} of their files. Was that number measured on training images, on a different model, or not"
        " at all?",
    )
    expect(
        looks <= HELD_OUT * (passes + 1) + 9,  # and a look around before
        f"the run opened held-out files {looks:,} times, and validating {passes} times needs {passes * HELD_OUT:,}."
        " They aren't for learning.",
    )
    return f"{right:.1%} of {HELD_OUT} images, said and found"


@requirement("accuracy", f"at least {ENOUGH:.0%} of {EXAM} new images")
def _accuracy(project: type) -> str:
    """The model is right often enough on images that did not exist while it trained."""
    seed, answers = finished(whole_run(project))["exam"]
    right = (answers.numpy() == draw(0, EXAM, seed)[1]).mean()
    expect(
        right >= ENOUGH,
        f"{right:.1%} of {EXAM} new images are right, {ENOUGH:.0%} are needed, and guessing gives a third. Which of"
        " these did you choose, and which did you leave at its default: the network, the optimizer, its learning rate,"
        " the epochs, the order of the images?",
    )
    return f"{right:.1%} of {EXAM} new images"


@requirement("resuming", "the losses of an unbroken run")
def _resumes(project: type) -> str:
    """On a small copy of the data, a run of one epoch, asked for two, goes on as an unbroken run of two."""
    small = data() / "small"
    three = [*runs(project, small, 2), *runs(project, small, 1, 2)]
    unbroken, begun, resumed = (finished(run)["trained"] for run in three)
    trained = [len(unbroken), len(begun), len(resumed)]
    expect(
        trained == [2, 1, 2],
        f"asked for 2 epochs, for 1, and from there for 2, it had trained for {trained}: go by `epochs`, and train"
        " only the missing ones.",
    )
    # a result tells its seconds, too, so an equal one can only come from the file
    expect(
        begun[0] in resumed,
        "the second run didn't go on from the first: write to `checkpoint`, and load it if it exists.",
    )
    schedule = "If you use a schedule, make it cover `self.plan.epochs`."
    expect(
        isclose(unbroken[0].loss, begun[0].loss, rel_tol=1e-6),
        f"two fresh runs differ in their first epoch: set a seed before you make the model. {schedule}",
    )
    expect(
        isclose(unbroken[1].loss, resumed[1].loss, rel_tol=1e-6),
        "the first epoch is that of an unbroken run, but the second isn't: load model and optimizer, and give `fit`"
        f" a seed. {schedule}",
    )
    most = max(result.samples for result in three[0].value["history"])
    expect(
        most <= FEW[0],
        f"an epoch had {most:,} images, but the folder it got has at most {FEW[0]}: does `train` use the notebook's"
        " `folder` where it should use `data`?",
    )
    return "equal losses, to 1e-6"


# ---- the tasks ----


def _judge_good_images(answer) -> str | None:
    """Say what is wrong with a learner's good_images, or return None."""
    with TemporaryDirectory() as place:
        root, shade = Path(place), 0
        for name in ("bulldog", "dog"):
            (root / name).mkdir()
            for k in range(4):
                shade += 20
                Image.new("RGB", (8, 8), (shade,) * 3).save(root / name / f"{k}.png")
        kept = [20, 40, 60, 80, 100, 120, 160]  # each image is told by its shade
        (root / "dog/2.png").write_bytes(b"no image")
        before, read = sorted(root.rglob("*")), []

        def reading(files, index, get=ImageFiles.__getitem__):
            read.append(index)
            return get(files, index)

        with patch.object(ImageFiles, "__getitem__", reading):
            found = answer(root, ["dog/2.png"])
            if sorted(root.rglob("*")) != before:
                return "the folder has changed. Leave the damaged file on the disk, and out of the dataset."
            if not isinstance(found, Dataset):
                problem = "is a `return` missing?" if found is None else "return a dataset."
                return f"it returned {type(found).__name__}: {problem}"
            if len(read) > 1:
                return f"it read {len(read)} images straight away. Pick their numbers: `Subset` reads them later."
        if len(found) == 8:
            return "with 8 files, one of them damaged, it has 8 samples: the damaged one is still in it."
        if len(found) == 6:
            return "bulldog/2.png is gone, too: compare the whole name of the class and that of the file."
        if len(found) == 1:
            return "it has 1 sample of 8: these are the damaged ones. Keep the others."
        if len(found) != len(kept):
            return f"it has {len(found)} samples: 8 files, one of them damaged, leave 7."
        try:
            samples = [found[k] for k in range(len(kept))]
        except ValueError as error:
            return f"it has 7 samples, and the damaged one is among them: {error}"
        if [round(image.max().item() * 255) for image, _ in samples] != kept:
            return "it has 7 samples, but they aren't the 7 good ones, each once and in order."
        if [label for _, label in samples] != [0] * 4 + [1] * 3:
            return "the labels no longer belong to their images."
    return None


good_images = Exercise(
    "lesson_15.good_images",
    """
    Write `good_images(folder, damaged)`. It returns a dataset of the folder's images without the damaged ones.
    `damaged` holds their names the way `inspect_folder` writes them, such as "dog/2.png". Don't change anything on the
    disk, and don't read the images yet.
    """,
    minutes=6,
    judge=_judge_good_images,
    praise="seven of eight files, nothing read, nothing deleted.",
    hints=[
        "`files = ImageFiles(folder)` has a list `files.samples` of (path, label), in the order of the dataset.",
        "Collect the numbers of the good ones with `enumerate`, then `Subset(files, numbers)`.",
        "`Path(path).relative_to(folder).as_posix()` gives the name to compare.",
    ],
    code="""
    from pathlib import Path

    from torch.utils.data import Subset

    from dlhelpers.data import ImageFiles


    def good_images(folder, damaged):
        files = ImageFiles(folder)
        names = [Path(path).relative_to(folder).as_posix() for path, _ in files.samples]
        return Subset(files, [k for k, name in enumerate(names) if name not in damaged])
    """,
)


def _judge_loaders(answer) -> str | None:
    """Say what is wrong with a learner's loaders, or return None."""
    numbers, labels = torch.arange(1_000), torch.arange(1_000) // 334  # sorted by class
    train, held_out = (
        TensorDataset(numbers, labels),
        TensorDataset(-1 - numbers[:100], labels[:100]),
    )
    gave = answer(train, held_out)
    if not (isinstance(gave, (tuple, list)) and len(gave) == 2):
        return f"it returned {type(gave).__name__}: return both loaders, as it did."
    first, again, valid = ([batch for batch in gave[k]] for k in (0, 0, 1))
    trained, shown = (torch.cat([some for some, _ in part]).tolist() for part in (first, valid))
    if min(trained) < 0:
        return "the first loader hands out held-out images: return the training loader first."
    if max(shown) >= 0:
        return (
            "the second loader hands out training images: it has to measure on the held-out ones."
        )
    if len(first[0][0]) != BATCH:
        return (
            f"a training batch has {len(first[0][0])} samples: each step has to learn from {BATCH}."
        )
    if len(first[0][1].unique()) == 1:
        return f"the first training batch has {BATCH} images of one class: the folder is sorted. What mixes it?"
    if [some.tolist() for some, _ in first] == [some.tolist() for some, _ in again]:
        return "the order of the second epoch is that of the first: let the loader shuffle anew."
    if len(trained) > 1_000 or len({*trained}) < len(trained):
        return (
            "some training images came twice in an epoch: shuffle, and don't draw with replacement."
        )
    if len({*shown}) < 100:
        return f"only {len({*shown})} of 100 held-out images came: each has to count. Which option leaves some out?"
    if len(shown) > 100:
        return "some held-out images came twice: each of them counts once."
    if len(trained) not in (1_000, 1_000 // BATCH * BATCH):
        return f"only {len(trained)} of 1,000 training images came in an epoch."
    return None


loaders = Exercise(
    "lesson_15.loaders",
    """
    Repair `loaders(train, held_out)`. It runs, and `fit` accepts what it returns. The training loader needs batches of
    256 from a folder that's sorted by class; the validation loader has to give a number you can report.
    """,
    minutes=4,
    judge=_judge_loaders,
    praise="shuffled for training, complete for validation. With `drop_last=True` for training, your plan needs it,"
    " too.",
    hints=[
        "Two options are on the wrong loader.",
        "What does the first batch of the training loader hold? And which images does validation never see?",
    ],
    given="""
    def loaders(train, held_out):
        train_loader = DataLoader(train, batch_size=256)
        valid_loader = DataLoader(held_out, batch_size=64, shuffle=True, drop_last=True)
        return train_loader, valid_loader
    """,
    code="""
    from torch.utils.data import DataLoader


    def loaders(train, held_out):
        train_loader = DataLoader(train, batch_size=256, shuffle=True)
        valid_loader = DataLoader(held_out, batch_size=64)
        return train_loader, valid_loader
    """,
)

largest_part = Prediction(
    "lesson_15.largest_part",
    "Now the 256 images of a step go through the model in micro-batches of one. Which part is the largest at the peak:"
    ' "weights", "gradients", "optimizer", "activations" or "batch"?',
    answer="batch",
    choices=("weights", "gradients", "optimizer", "activations", "batch"),
    because="`fit` still gets all 256 images from the loader at once, and they wait in memory while they go through one"
    " by one. Micro-batches shrink the activations and nothing else. (With a GPU, the others wait in the computer's"
    " memory, not in the GPU's.)",
    wrong={
        "weights": "This network is small: its weights take 0.06 MB, and 256 images take far more.",
        "gradients": "There is one number for each weight, and the weights take 0.06 MB.",
        "optimizer": "Adam keeps two numbers for each weight, and the weights take 0.06 MB.",
        "activations": "They were the largest part. For a single image they take only 0.3 MB.",
    },
    hints=[
        "Which parts don't depend on the micro-batch at all?",
        "What does the loader hand to `fit`?",
    ],
    belief="Micro-batches (gradient accumulation) divide a step's memory by their number: met in blog posts that"
    " promise any batch size on any device.",
)

straight_cut = Prediction(
    "lesson_15.straight_cut",
    "Softmax regression, a single `nn.Linear` on all pixels, trains on 200 of these images until it gets every one of"
    ' them right. How many of 600 newly drawn ones does it get right: "under half", "about two thirds" or "over 90 %"?',
    answer="under half",
    choices=("under half", "about two thirds", "over 90 %"),
    because="It adds up weighted pixels. A negative inverts every pixel, so whatever counts for a circle in one image"
    " counts against it in the next. Instead, with 12,288 weights per class, it learns 200 images by heart, and gets"
    " under half of the others right. Guessing gets a third.",
    wrong={
        "about two thirds": "That would be twice what guessing gets.",
        "over 90 %": "It would, without the negatives.",
    },
    hints=["What does a negative do to a sum of weighted pixels?"],
    belief="A model that gets all of its training images right has learned the task: met wherever only training"
    " accuracy is watched, and in projects that validate on training images.",
)

first_rate = Prediction(
    "lesson_15.first_rate",
    "Take 24 steps of Adam with the network above, on 64 images each. Of the learning rates 0.0001, 0.001 (PyTorch's"
    " default), 0.005 and 0.1, which one has the lowest loss at the end?",
    answer=0.005,
    because="If you only have a few steps, they have to be long. The default is a good rate if you have thousands. But"
    " longer steps don't always get there sooner: at 0.1 the first ones throw the loss above 50 here, and the rest"
    " only bring it back to guessing.",
    wrong={
        0.0001: "Safe, but after 24 such steps the weights are about where they began.",
        0.001: "With the default, the loss falls steadily, but not fast enough for 24 steps.",
        0.1: "The longest steps aren't the quickest: these overshoot at once.",
    },
    hints=[
        "Each step of Adam moves a weight by about the rate, or less. How far do 24 of them get you?"
    ],
    belief="The default learning rate is the safe choice to begin with: met in most tutorials, where the number of"
    " steps isn't limited.",
)

honest_report = Question(
    "lesson_15.honest_report",
    "Here are four reports on the same training. Which one tells a reader most about how good the model is?",
    [
        Choice(
            "It gets nearly all of its 2,404 training images right",
            "it has learned from those. You've just seen a model that gets all of its images right and few others.",
        ),
        Choice(
            "The best of eight plans, and how many of the 603 held-out images it gets right",
            "these very images chose the plan, so the number is a little too good.",
        ),
        Choice(
            "How many of 600 images drawn after the run it gets right, and what guessing gets",
            "no try was made on these images, and the reader knows how many they are and what to compare with.",
            True,
        ),
        Choice(
            "Its validation loss fell in each epoch",
            "from where to where, and is that good? A loss has no scale a reader would know.",
        ),
    ],
    hints=["What could each of them hide?"],
)

IN_CLASS = 'change your class below "What is your plan?", run its cell, then the check'
WORKED = """
    from pathlib import Path

    import torch
    from torch import nn
    from torch.utils.data import DataLoader, Subset

    from dlhelpers.data import ImageFiles
    from dlhelpers.explore.plan import network
    from dlhelpers.measure import plan
    from dlhelpers.train import History, accuracy, fit, load_checkpoint

    adam = torch.optim.Adam


    def good_images(folder, damaged):
        files = ImageFiles(folder)
        names = [Path(path).relative_to(folder).as_posix() for path, _ in files.samples]
        return Subset(files, [k for k, name in enumerate(names) if name not in damaged])


    class Project:
        plan = plan(
            samples=2_404, batch_size=256, epochs=4, micro_batch_size=32,
            shape=(3, 64, 64), model=network(), optimizer_fn=adam,
        )

        def train(self, data, checkpoint, epochs):
            torch.manual_seed(0)
            model = network()
            optimizer = adam(model.parameters(), lr=0.008)
            history = History()
            if checkpoint.exists():
                history = load_checkpoint(checkpoint, model, optimizer)
            train = good_images(data / "train", ["circle/0207.jpg"])
            train_loader = DataLoader(train, batch_size=256, shuffle=True)
            valid_loader = DataLoader(ImageFiles(data / "held-out"), batch_size=64)
            fit(
                model, train_loader, nn.CrossEntropyLoss(), optimizer,
                epochs=epochs - history.epochs, micro_batch_size=32, seed=0,
                valid_loader=valid_loader, metrics={"accuracy": accuracy},
                history=history, checkpoint=checkpoint, progress=False,
            )
            return model, history
    """

planned = Exercise(
    "lesson_15.planned",
    """
    Set `plan` in your `Project` to what the function `plan` returns: for the good images, in batches of 256, with at
    most 10,000 samples seen in training (an image counts in every epoch) and a peak of at most 88 MB in one step.
    """,
    minutes=8,
    judge=judge("plan"),
    where=IN_CLASS,
    seconds=60,
    praise="a plan within the budget and under the cap. The run will be held to it.",
    hints=[
        'The table in "Does one step fit, and how many do you get?" comes from such a call. What has to change?',
        "How often do 2,404 images go into 10,000 samples, and which `micro_batch_size` brings the peak down?",
    ],
    code=WORKED,
)

under_cap = Exercise(
    "lesson_15.under_cap",
    """
    Write `train`. This check runs it on all images in a child process that may take 88 MB of memory. It has to finish
    (that takes about a minute, and 600 seconds at most), return `model, history`, write only into the checkpoint's
    folder, and do what the plan says. That's `memory` and `kept`.
    """,
    minutes=20,
    judge=judge("memory", "kept"),
    where=IN_CLASS,
    seconds=2_000,
    praise="it finished under the cap, and did what was planned.",
    hints=[
        "You have all parts: your two functions, `network()`, `fit` with its `micro_batch_size`.",
        "If the history differs from the plan, compare what you gave `plan` with what you gave the loader and `fit`.",
        "If it runs out of memory: the plan only knows what you tell it. Does `fit` get the same micro_batch_size?",
    ],
    code=WORKED,
)

learned = Exercise(
    "lesson_15.learned",
    """
    The history has to end with the accuracy on all 603 held-out images, and the judge has to get the same number with
    your model (`honest`). Then comes the exam: 600 images drawn after the run, and your model has to get at least 98 %
    of them right (`accuracy`).
    """,
    minutes=10,
    judge=judge("honest", "accuracy"),
    where=IN_CLASS,
    seconds=2_000,
    praise="it has learned, and others can check it.",
    hints=[
        'Lessons 00 and 11: `fit` takes a valid_loader and metrics={"accuracy": accuracy}.',
        "Near a third: is the network a single linear layer, or is the loader not shuffled? Short of 98 %: does"
        " `draw_rates` find a better rate, between 0.005 and 0.1?",
    ],
    code=WORKED,
)

resumes = Exercise(
    "lesson_15.resumes",
    """
    Make `train` write `checkpoint` after each epoch. If that file already exists, `train` goes on from it until
    `epochs` epochs are done in all, and ends with the losses of an unbroken run. The check works on the folder `small`:
    it asks for one epoch, then for two from that checkpoint, and for two in one go.
    """,
    minutes=8,
    judge=judge("resuming"),
    where=IN_CLASS,
    seconds=2_000,
    praise="stopped and resumed, it gives the losses of an unbroken run.",
    hints=[
        "Lesson 08: `fit` takes a checkpoint and a history. `load_checkpoint` gives the history, with its `epochs`.",
        "Set a seed before you make the model. If only the second epoch differs, give `fit` a seed, too.",
    ],
    code=WORKED,
)
