"""Known mistakes in exercises that are judged by a function of their own, each with the message it must get."""

import os
import shutil
from pathlib import Path
from random import Random
from time import perf_counter

import torch

from dlhelpers.train import EpochResult, History


def every_other(length=lambda n: (n + 1) // 2, sample=lambda dataset, k: dataset[2 * k]):
    """A learner's EveryOther with its own idea of the length and of a sample."""

    class EveryOther:
        def __init__(self, dataset):
            self.dataset = dataset

        def __len__(self):
            return length(len(self.dataset))

        def __getitem__(self, k):
            return sample(self.dataset, k)

    return EveryOther


class everything_at_once:
    """An EveryOther that keeps all of its samples."""

    def __init__(self, dataset):
        self.samples = [dataset[k] for k in range(0, len(dataset), 2)]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, k):
        return self.samples[k]


def one_iteration(*order, give=lambda loss: loss.item()):
    """A learner's train_step that makes these calls in this order, and returns what `give` makes of the loss."""

    def train_step(model, images, labels, loss_fn, optimizer):
        loss = loss_fn(model(images), labels)
        calls = {"clear": optimizer.zero_grad, "backward": lambda: loss.backward(retain_graph=True)}
        for name in order:
            calls.get(name, optimizer.step)()
        return give(loss)

    return train_step


def exchanged(model, images, labels, *others):
    return one_iteration("clear", "backward", "step")(model, labels, images, *others)


def learning(*order):
    """A learner's `learn` that makes these calls in this order."""

    def learn(loss, optimizer):
        calls = {"backward": lambda: loss.backward(retain_graph=True), "step": optimizer.step}
        for name in order:
            calls.get(name, optimizer.zero_grad)()

    return learn


def epoch_of(
    order=("clear", "backward", "step"),
    add=lambda loss, labels: loss.item() * len(labels),
    give=lambda total, samples: total / samples,
    most=2,
):
    """A learner's one_epoch with its own iteration, sums and mean, over the first batches alone."""

    def one_epoch(model, loader, loss_fn, optimizer):
        total = samples = 0
        for images, labels in [*loader][:most]:
            loss = loss_fn(model(images), labels)
            for name in order:
                calls = {"clear": optimizer.zero_grad, "backward": loss.backward}
                calls.get(name, optimizer.step)()
            total += add(loss, labels)
            samples += len(labels)
        return give(total, samples)

    return one_epoch


def train_and_test(
    first=lambda model: None,
    before=lambda model: model.train(),
    test=lambda model: model.eval(),
    move=True,
    give=list,
):
    """A learner's train_and_test that does something before all, before each epoch, and before each test."""

    def train_and_test(model, loader, test_set, loss_fn, optimizer, epochs):
        accuracies = []
        first(model)
        for _ in range(epochs):
            before(model)
            for images, labels in loader:
                loss = loss_fn(model(images), labels)
                optimizer.zero_grad()
                loss.backward()
                if move:
                    optimizer.step()
            test(model)
            accuracies.append(model(test_set.images).argmax(dim=1) == test_set.labels)
        return give(accuracies)

    return train_and_test


def whole_batches(length=len, batch=lambda images, labels, k: (images[k], labels[k])):
    """A learner's WholeBatches with its own idea of the length and of the batch at the indices `k`."""

    class WholeBatches:
        def __init__(self, images, labels):
            self.images, self.labels = images, labels

        def __len__(self):
            return length(self.labels)

        def __getitems__(self, indices):
            return batch(self.images, self.labels, indices)

    return WholeBatches


def buffered(
    take=lambda buffer, random: buffer.pop(random.randrange(len(buffer))),
    rest=lambda buffer, random: (),
):
    """A learner's shuffle_buffer that takes samples out, and hands out what is left, in its own way."""

    def shuffle_buffer(samples, size, random):
        buffer = []
        for sample in samples:
            buffer.append(sample)
            if len(buffer) == size:
                yield take(buffer, random)
        yield from rest(buffer, random)

    return shuffle_buffer


def four_at_a_time(samples, size, random):
    buffer = []
    for sample in samples:
        buffer.append(sample)
        if len(buffer) == size:
            yield from random.sample(buffer, size)
            buffer.clear()
    yield from random.sample(buffer, len(buffer))


def all_at_once(samples, size, random):
    samples = list(samples)
    random.shuffle(samples)
    yield from samples


def in_a_list(samples, size, random):
    return list(all_at_once(samples, size, random))


def own_numbers(samples, size, random):
    yield from buffered(rest=shuffled)(samples, size, Random())


def shuffled(buffer, random):
    return random.sample(buffer, len(buffer))


def block_order(blocks=shuffled, inside=shuffled, cut=lambda samples: samples, give=list):
    """A learner's block_order with its own idea of the blocks' order, of that inside a block, and of the end."""

    def block_order(samples, block, random):
        cuts = [list(range(k, min(k + block, samples))) for k in range(0, cut(samples), block)]
        return give(index for part in blocks(cuts, random) for index in inside(part, random))

    return block_order


def in_file_order(items, random):
    return items


def anywhere(samples, block, random):
    return random.sample(range(samples), samples)


def write_directly(path, parts):
    with open(path, "wb") as file:
        for part in parts:
            file.write(part)


def collect_first(path, parts):
    path.write_bytes(b"".join(parts))


def renamed(path, parts, write=write_directly, finish=Path.replace):
    partial = path.with_name("partial")
    write(partial, parts)
    finish(partial, path)


def rename_too_early(path, parts):
    partial = path.with_name("partial")
    with open(partial, "wb") as file:
        file.writelines(parts)
        os.replace(partial, path)


def say_nothing(path, parts):
    try:
        renamed(path, parts)
    except Exception:
        pass


def as_it_comes(samples, *others):
    yield from samples


def compare(came, promised, wrong=int.__ne__):
    """The end of a learner's `checked`, with its own idea of what is wrong."""
    if wrong(came, promised):
        raise ValueError(f"{came} samples, not {promised}")


def checked(end):
    """A learner's `checked` that ends in its own way."""

    def checked(samples, promised):
        came = 0
        for sample in samples:
            yield sample
            came += 1
        end(came, promised)

    return checked


def read_first(samples, promised):
    samples = list(samples)
    compare(len(samples), promised)
    yield from samples


def compared_inside(samples, promised):
    for came, sample in enumerate(samples, 1):
        compare(came, promised)
        yield sample


def refuse_with_one_number(came, promised):
    if came != promised:
        raise ValueError(f"{min(came, promised)} samples, not {promised}")


STATED = {"batch_size": 64, "epochs": 2, "dataset_bytes": 151_695_360}
STATED |= {"batches": 193, "last_batch": 57, "optimizer_steps": 386}


def past(epochs, *, loss=lambda epoch: 1 / epoch, valid=None, **fields):
    """A history of so many epochs as a run of the project with the numbers above would have it, but for `fields`."""
    history = History()
    as_stated = {
        "samples": 12_345,
        "batches": 193,
        "optimizer_steps": 193,
        "seconds": perf_counter(),
    }
    for epoch in range(1, epochs + 1):
        history.add(EpochResult("train", epoch, loss(epoch), **{**as_stated, **fields}))
    if valid:
        samples, accuracy = valid
        history.add(
            EpochResult("valid", epochs, 1.0, {"accuracy": accuracy}, samples=samples, batches=8)
        )
    return history


def project(train=lambda self, data, checkpoint, epochs: past(epochs), **numbers):
    """A learner's Project for lesson 15 that states these numbers, and pretends to train."""
    return type("Project", (), {**STATED, **numbers, "train": train})


def ran(**fields):
    """A Project whose run leaves a history with these fields."""
    return project(lambda self, data, checkpoint, epochs: past(epochs, **fields))


def going_on(loss=lambda epoch, done: 1 / epoch):
    """A Project that keeps its history in the checkpoint, with its own idea of the loss."""

    def train(self, data, checkpoint, epochs):
        history = (
            History.from_state_dict(torch.load(checkpoint)) if checkpoint.exists() else History()
        )
        done = history.epochs
        for epoch in range(done + 1, epochs + 1):
            counts = {"samples": 1_000, "optimizer_steps": 16, "seconds": perf_counter()}
            history.add(EpochResult("train", epoch, loss(epoch, done), **counts))
        torch.save(history.state_dict(), checkpoint)
        return history

    return project(train)


JUDGED = {
    "lesson_01.every_other": [
        (every_other(lambda n: n), "must return the number of samples you keep"),
        (everything_at_once, "it fetched 4 at once: keep the dataset"),
        (every_other(lambda n: n // 2), "samples 0, 2, 4 and 6 are four. Round up."),
        (every_other(lambda n: None), "`__len__` gave back None: is a `return` missing?"),
        (every_other(sample=lambda dataset, k: dataset[k]), "Sample k of yours is sample 2 * k."),
        (
            every_other(sample=lambda dataset, k: dataset[2 * k + 1]),
            "raised an IndexError (range object index out of range). Sample k of yours is sample 2 * k.",
        ),
        (every_other(sample=lambda dataset, k: None), "`__getitem__` gave back None"),
        (
            every_other(sample=lambda dataset, k: dataset[2 * k][0]),
            "a sample came without its label",
        ),
        (
            every_other(sample=lambda dataset, k: dataset[2 * k % len(dataset)]),
            "index 4 is beyond its length of 4",
        ),
        (len, "a class is expected"),
    ],
    "lesson_04.learn": [
        (learning("step"), "no gradient was computed: call `loss.backward()`"),
        (learning("backward"), "the gradients are there and no weight has moved"),
        (learning("step", "backward"), "`step()` came before there was a gradient"),
        (learning("backward", "clear", "step"), "the gradients were cleared before the step"),
        (learning("backward", "step", "step"), "a weight went from 1 to 1.8, not to 1.4"),
        (3, "pass a name without brackets"),
    ],
    "lesson_04.one_epoch": [
        (epoch_of(order=("clear", "step")), "no weight has moved"),
        (epoch_of(most=1), "only one step was taken for two batches"),
        (epoch_of(order=("backward", "step")), "the gradients of the first batch are still in"),
        (epoch_of(give=lambda total, samples: None), "it gave back None: return the mean loss."),
        (epoch_of(add=lambda loss, labels: loss * len(labels)), "came back as a tensor"),
        (
            epoch_of(add=lambda loss, labels: loss.item(), give=lambda total, samples: total / 2),
            "that is the mean of the batch means, the bug of lesson 03",
        ),
        (epoch_of(add=lambda loss, labels: loss.item()), "added up without their weights"),
        (epoch_of(give=lambda total, samples: total), "divide it by their number"),
        (epoch_of(give=lambda total, samples: total / 2), "by the number of batches"),
        (epoch_of(give=lambda total, samples: total / 3), "gave 4.85333, not 3.64"),
    ],
    "lesson_04.every_epoch": [
        (
            train_and_test(before=lambda model: None, test=lambda model: None),
            "the test of epoch 1 was in training mode",
        ),
        (
            train_and_test(before=lambda model: None),
            "epoch 2 trained in evaluation mode (batch 1)",
        ),
        (
            train_and_test(first=lambda model: model.eval(), before=lambda model: None),
            "epoch 1 trained in evaluation mode (batch 1)",
        ),
        (train_and_test(move=False), "the modes are right, and no weight has moved"),
        (train_and_test(give=len), "now return the list of accuracies"),
        (lambda *arguments: [0.9, 0.9, 0.9], "these numbers of images came through the model: []"),
    ],
    "lesson_04.train_step": [
        (
            one_iteration("backward", "step"),
            "the gradients of the batches before are still in `.grad`",
        ),
        (one_iteration("clear", "backward"), "the weights did not move"),
        (one_iteration("clear", "backward", "step", give=lambda loss: None), "it gave back None"),
        (
            one_iteration("clear", "backward", "step", give=lambda loss: loss),
            "the loss came back as a tensor",
        ),
        (
            one_iteration("clear", "backward", "step", give=lambda loss: loss.item() / 2),
            "[4.0, 2.56, 1.6384] are expected: those before",
        ),
        (exchanged, "take one step a batch, for `loss_fn(model(images), labels)`"),
        (3, "pass a name without brackets"),
    ],
    "lesson_09.whole_batches": [
        (len, "a class is expected"),
        (whole_batches(length=lambda labels: 3), "of six images its length is 3"),
        (
            whole_batches(batch=lambda images, labels, k: None),
            "gave back NoneType: two tensors are expected",
        ),
        (
            whole_batches(batch=lambda images, labels, k: [(images[i], labels[i]) for i in k]),
            "Index the tensors with the list",
        ),
        (
            whole_batches(batch=lambda x, y, k: (torch.stack([x[i] for i in k]), y[k])),
            "it picks rows one by one and stacks them",
        ),
        (
            whole_batches(batch=lambda images, labels, k: (images[sorted(k)], labels[sorted(k)])),
            "gives others, or another order",
        ),
        (
            whole_batches(batch=lambda images, labels, k: (images[k], labels[sorted(k)])),
            "the labels are not theirs",
        ),
    ],
    "lesson_10.block_order": [
        (3, "pass a name without brackets"),
        (
            block_order(blocks=lambda items, random: random.shuffle(items)),
            "`random.shuffle` gives nothing back",
        ),
        (
            block_order(give=lambda indices: [list(indices)]),
            "one list of indices is expected, not a list of lists",
        ),
        (block_order(cut=lambda samples: samples - samples % 4), "the short block too."),
        (anywhere, "a block's samples are to stay together"),
        (
            block_order(blocks=in_file_order),
            "not all came: shuffle them",
        ),
        (
            block_order(inside=in_file_order),
            "inside a block the samples come in the order of the file",
        ),
        (
            block_order(blocks=lambda items, random: Random().sample(items, len(items))),
            "draw from the `random`",
        ),
    ],
    "lesson_10.write_whole": [
        (3, "pass a name without brackets"),
        (lambda path, parts: renamed(path, list(parts)[:1]), "expected all of them, in order."),
        (
            lambda path, parts: renamed(path, parts, finish=shutil.copy),
            "Call `os.replace(old, new)`, by this name",
        ),
        (write_directly, "an unfinished one was there: write under another name until the end."),
        (collect_first, "at the end the old file was written over or removed"),
        (
            rename_too_early,
            "the file got its name before it was closed: its last bytes were not in it yet.",
        ),
        (
            say_nothing,
            "it has to be passed on, or nobody would know",
        ),
    ],
    "lesson_12.shuffle_buffer": [
        (3, "pass a name without brackets"),
        (
            lambda samples, size, random: print(end=""),
            "it gave back None, over which no loop can go",
        ),
        (buffered(), "and think of the end, too."),
        (
            in_a_list,
            "it gave back a list: it read everything before giving the first. Use `yield`.",
        ),
        (all_at_once, "with a buffer of 4, 10 samples were held at once"),
        (own_numbers, "draw from the `random` that you are given"),
        (
            buffered(lambda buffer, random: buffer.pop(0), shuffled),
            "is always among [0]: fill it, then take any",
        ),
        (four_at_a_time, "this mixes four samples, then the next four."),
        (buffered(rest=lambda buffer, random: buffer), "comes out in order: shuffle it."),
    ],
    "lesson_12.checked": [
        (3, "pass a name without brackets"),
        (
            lambda samples, promised: len(list(samples)) == promised,
            "it gave back True, over which no loop can go",
        ),
        (as_it_comes, "3 samples came, 5 were promised, and it raised nothing"),
        (read_first, "it had read 5 samples when it gave its first"),
        (
            compared_inside,
            "of 5 samples it passed on []: each is expected once, in order; compare after the loop.",
        ),
        (
            checked(lambda came, promised: compare(came, promised, int.__eq__)),
            "5 samples came, 5 were promised, and it raised ValueError",
        ),
        (checked(refuse_with_one_number), "a ValueError that names both numbers is expected"),
    ],
    "lesson_15.price": [
        (project(dataset_bytes=606_781_440), "that is the price as float32."),
        (project(dataset_bytes=50_565_120), "an image has three channels."),
        (project(dataset_bytes=151_794_120), "leave the labels out."),
        (project(dataset_bytes=173_531_136), "leave the held-out images out."),
        (
            project(dataset_bytes=151_700_000),
            "dataset_bytes is 151,700,000: that is not images x numbers in an image.",
        ),
    ],
    "lesson_15.counts": [
        (project(last_batch=...), "last_batch is Ellipsis: a whole number is expected"),
        (
            project(batches=194),
            "194 batches are stated, the last of 57: 12,345 samples are 192 batches of 64, and a rest of 57.",
        ),
        (
            project(optimizer_steps=193),
            "optimizer_steps is 193: one for each of 193 batches, in each of 2 epochs.",
        ),
    ],
    "lesson_15.under_cap": [
        (
            project(lambda self, *places: torch.zeros(100_000_000)),
            "out of memory under a cap of 30.00 MB",
        ),
        (project(lambda self, *places: 3), "`train` gave back int: return the history"),
    ],
    "lesson_15.as_stated": [
        (
            project(lambda self, *places: past(3)),
            "the history has (193, 12345, 193), (193, 12345, 193), (193, 12345, 193).",
        ),
        (
            ran(batches=192, samples=12_288),
            "each of 193 batches, 12,345 samples and 193 optimizer steps; of batches, samples and steps, the",
        ),
        (
            project(epochs=5, optimizer_steps=965),
            "61,725 samples would be seen, and the budget is 60,000",
        ),
    ],
    "lesson_15.learned": [
        (ran(), "the history ends with train of epoch 2, and no accuracy on held-out images"),
        (ran(valid=(12_345, 0.99)), "the accuracy is one of 12,345 images: 1,777 are held out"),
        (
            ran(valid=(1_777, 622 / 1_777)),
            "35.0% of the held-out images are right, and 90% are needed.",
        ),
    ],
    "lesson_15.resumes": [
        (ran(), "the second run did not go on from the first"),
        (project(lambda self, *places: past(3)), "it had trained for [3, 3, 3]: obey `epochs`"),
        (going_on(loss=lambda epoch, done: 1 / epoch + done), "is not that of an unbroken run"),
    ],
}
