"""Known mistakes in exercises that are judged by a function of their own, each with the message it must get."""

import os
import shutil
import sys
from copy import deepcopy
from functools import partial
from itertools import islice
from multiprocessing import get_context
from operator import truediv
from pathlib import Path
from random import Random
from tempfile import NamedTemporaryFile
from time import perf_counter

import cloudpickle
import numpy as np
import torch
from torch.utils.data import DataLoader, Subset

from dlhelpers.data import BlockShuffleSampler, ImageFiles
from dlhelpers.explore import network
from dlhelpers.measure import plan
from dlhelpers.train import EpochResult, History, load_checkpoint

# A child under a cap gets what it needs of this file, as of a notebook: to import all of it takes seconds each time.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


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


def search(run, size, *, after=lambda size: size // 2, caught=torch.OutOfMemoryError, tries=99):
    """A learner's largest_that_runs with its own idea of the next size, of what to catch, and of how often."""
    for _ in range(tries):
        try:
            run(size)
            return size
        except caught:
            pass
        size = after(size)
    return size


def search_keeping(run, size):
    """A largest_that_runs that leaves the block and keeps the error under a name of its own."""
    failed = None
    while size:
        try:
            run(size)
            return size
        except torch.OutOfMemoryError as error:
            failed = error
        size //= 2
    return failed


def search_without_return(run, size):
    """A largest_that_runs that halves in the block and forgets to return what ran."""
    while size:
        try:
            run(size)
        except torch.OutOfMemoryError:
            size //= 2


def search_inside(run, size):
    """A largest_that_runs that retries while the error is alive."""
    try:
        run(size)
        return size
    except torch.OutOfMemoryError:
        return search_inside(run, size // 2)


class everything_at_once:
    """An EveryOther that keeps all of its samples."""

    def __init__(self, dataset):
        self.samples = [dataset[k] for k in range(0, len(dataset), 2)]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, k):
        return self.samples[k]


def with_mirrors(
    length=lambda n: 2 * n, half=lambda k, n: k >= n, flip=lambda image: image.flip(-1), end=2
):
    """A learner's WithMirrors with its own idea of the length, of which samples to mirror, and how, and of the end."""

    class WithMirrors:
        def __init__(self, dataset):
            self.dataset = dataset

        def __len__(self):
            return length(len(self.dataset))

        def __getitem__(self, k):
            n = len(self.dataset)
            if k >= end * n:
                raise IndexError(k)
            image, label = self.dataset[k % n]
            return (flip(image) if half(k, n) else image), label

    return WithMirrors


class mirrors_beyond_the_dataset(with_mirrors()):
    """A WithMirrors that asks its dataset for samples that only it has."""

    def __getitem__(self, k):
        return self.dataset[k]


def windows(length=lambda days, size: days - size + 1, first=0, ends=len):
    """A learner's make_windows with its own idea of the length, of where a window starts and from where none does."""

    def make_windows(series, size):
        class Windows:
            def __len__(self):
                return length(len(series), size)

            def __getitem__(self, k):
                if k >= ends(self):
                    raise IndexError(k)
                return series[k + first : k + first + size]

        return Windows()

    return make_windows


def learning(*order):
    """A learner's `learn` that makes these calls in this order."""

    def learn(loss, optimizer):
        calls = {"backward": lambda: loss.backward(retain_graph=True), "step": optimizer.step}
        for name in order:
            calls.get(name, optimizer.zero_grad)()

    return learn


def one_iteration(*order, give=lambda loss: loss.item()):
    """A learner's train_step that makes these calls in this order, and returns what `give` makes of the loss."""

    def train_step(model, images, labels, loss_fn, optimizer):
        loss = loss_fn(model(images), labels)
        learning(*order)(loss, optimizer)
        return give(loss)

    return train_step


def exchanged(model, images, labels, *others):
    return one_iteration("clear", "backward", "step")(model, labels, images, *others)


def with_own_loss(model, images, labels, loss_fn, optimizer):
    own = torch.nn.CrossEntropyLoss()
    return one_iteration("clear", "backward", "step")(model, images, labels, own, optimizer)


def with_own_optimizer(model, images, labels, loss_fn, optimizer):
    own = torch.optim.SGD(model.parameters(), lr=0.1)
    return one_iteration("clear", "backward", "step")(model, images, labels, loss_fn, own)


def stopwatch(*order, give=lambda start, stop: stop - start):
    """A learner's seconds_of that does these things in this order."""

    def seconds_of(work, wait, clock):
        readings = {}
        for name in order:
            if name in ("start", "stop"):
                readings[name] = clock()
            else:
                {"work": work, "wait": wait}[name]()
        return give(readings["start"], readings["stop"])

    return seconds_of


def mean_of(part, whole=lambda total, samples, batches: total / samples):
    """A learner's mean_loss that adds up `part` of each batch and makes `whole` of the sum."""

    def mean_loss(model, batches, loss_fn):
        losses = [(loss_fn(model(images), labels), len(labels)) for images, labels in batches]
        total = sum(part(loss, n) for loss, n in losses)
        return whole(total, sum(n for _, n in losses), len(losses))

    return mean_loss


def accumulated(divide="samples", clear=True, last=True, again=True, give=lambda steps: steps):
    """A learner's accumulate that divides by the samples or the loader batches of a step, or by nothing, in its way."""

    def accumulate(model, loader, loss_fn, optimizer, every):
        counts, steps = {"samples": 0, "batches": 0, "a full group": 16}, 0
        for iteration, (images, labels) in enumerate(loader, 1):
            counts["samples"] += len(labels)
            counts["batches"] += 1
            factor = {"batches": 1, "so far": len(labels) / counts["samples"]}
            loss = loss_fn(model(images), labels)
            (loss * factor.get(divide, len(labels))).backward()
            if iteration % every == 0 or last and iteration == len(loader):
                for parameter in model.parameters():
                    parameter.grad /= counts.get(divide, 1)
                optimizer.step()
                steps += 1
                if clear:
                    optimizer.zero_grad()
                if again:
                    counts |= {"samples": 0, "batches": 0}
        return give(steps)

    return accumulate


def whole_group(model, loader, loss_fn, optimizer, every):
    """A learner's accumulate whose every group goes through the model at once."""
    batches = list(loader)
    groups = [batches[k : k + every] for k in range(0, len(batches), every)]
    groups = [[*map(torch.cat, zip(*group, strict=True))] for group in groups]
    return accumulated()(model, groups, loss_fn, optimizer, 1)


def falling(calls):
    """A learner's falling_rate with its own idea of the calls."""

    def falling_rate(optimizer, loader, every, epochs):
        told = calls(len(loader), every, epochs)
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, told)

    return falling_rate


def only_weights(path, model, optimizer):
    return load_checkpoint(path, model) if path.exists() else History()


def history_forgotten(path, model, optimizer):
    if path.exists():
        load_checkpoint(path, model, optimizer)
    return History()


def anew_whatever_is_wrong(path, model, optimizer):
    try:
        return load_checkpoint(path, model, optimizer)
    except:  # noqa: E722
        return History()


def nothing_at_first(path, model, optimizer):
    return load_checkpoint(path, model, optimizer) if path.exists() else None


def loading(clean, strict=True, give=lambda model: model):
    """A learner's load_weights with its own idea of the names."""

    def load_weights(model, saved):
        model.load_state_dict({clean(name): value for name, value in saved.items()}, strict=strict)
        return give(model)

    return load_weights


def loading_in_place(model, saved):
    for name in list(saved):
        saved[name.removeprefix("module.")] = saved.pop(name)
    model.load_state_dict(saved)
    return model


def validating(each, end=lambda total, samples, batches: total / samples, graph=True):
    """A learner's valid_loss with its own idea of what to add up and to return."""

    def valid_loss(model, loader, loss_fn):
        total = samples = batches = 0
        with torch.set_grad_enabled(graph):
            for images, labels in loader:
                total = total + each(loss_fn(model(images), labels), len(labels))
                samples, batches = samples + len(labels), batches + 1
        return end(total, samples, batches)

    return valid_loss


def validating_backward(model, loader, loss_fn, clear=False):
    total = samples = 0
    for images, labels in loader:
        loss = loss_fn(model(images), labels)
        loss.backward()
        total, samples = total + loss.item() * len(labels), samples + len(labels)
    if clear:
        model.zero_grad()
    return total / samples


def padded_by_hand(samples):
    rows = torch.zeros(len(samples), max(map(len, samples)))
    for row, text in zip(rows, samples, strict=True):
        row[: len(text)] = text
    return rows, [len(text) for text in samples]


def validating_for_good(model, loader, loss_fn):
    torch.set_grad_enabled(False)
    return validating(lambda loss, n: loss.item() * n)(model, loader, loss_fn)


def epoch_of(
    order=("clear", "backward", "step"),
    add=lambda loss, labels: loss.item() * len(labels),
    give=lambda total, samples: total / samples,
    most=2,
):
    """A learner's one_epoch with its own iteration, sums and mean, over the first batches alone."""

    def one_epoch(model, loader, *others):
        total = samples = 0
        for images, labels in [*loader][:most]:
            step = one_iteration(*order, give=lambda loss, labels=labels: add(loss, labels))
            total += step(model, images, labels, *others)
            samples += len(labels)
        return give(total, samples)

    return one_epoch


def train_and_test(
    before=lambda model: model.train(),
    test=lambda model: model.eval(),
    order=("clear", "backward", "step"),
    give=list,
):
    """A learner's train_and_test that does something before each epoch, and before each test."""

    def train_and_test(model, loader, test_set, loss_fn, optimizer, epochs):
        accuracies = []
        for _ in range(epochs):
            before(model)
            for images, labels in loader:
                one_iteration(*order)(model, images, labels, loss_fn, optimizer)
            test(model)
            accuracies.append(model(test_set.images).argmax(dim=1) == test_set.labels)
        return give(accuracies)

    return train_and_test


def paced(first=True, count=lambda images: 4, before=lambda images: 0, give=None, again=False):
    """A learner's images_per_second: from the first batch on or from before it, with its own count."""
    give = give or (lambda images, seconds: images / seconds)

    def images_per_second(loader, clock):
        start, seen, batches = clock(), 0, iter(loader)
        if first:
            images, _ = next(batches)
            start, seen = clock(), before(images)
        for images, _ in loader if again else batches:
            seen += count(images)
        return give(seen, clock() - start)

    return images_per_second


def without_return(*arguments):
    """An answer that prints what it should return."""
    print(end="")


def ignore(self, *arguments):
    """An `__init__` that keeps nothing."""


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


def one_too_many(samples, size, random):
    buffer = []
    for sample in samples:
        buffer.append(sample)
        if len(buffer) > size:
            yield buffer.pop(random.randrange(len(buffer)))
    yield from shuffled(buffer, random)


def in_a_list(samples, size, random):
    return list(all_at_once(samples, size, random))


def own_numbers(samples, size, random):
    yield from buffered(rest=shuffled)(samples, size, Random())


def shuffled(buffer, random):
    return random.sample(buffer, len(buffer))


def shared(samples, worker, *, start=0, step=None):
    """A learner's share with its own idea of where to begin and how far to go, and nothing said about `None`."""
    return islice(samples, worker.id + start, None, step or worker.num_workers)


def or_all(part):
    """A learner's share that thinks of the main process, and has its own idea of a worker's part."""
    return lambda samples, worker: part(samples, worker) if worker else samples


def only_for_workers(samples, worker):
    if worker:
        return shared(samples, worker)


def ordered(order, copy=list):
    """A learner's epoch_order that shuffles a copy of the list with its own seed."""

    def epoch_order(shards, epoch, seed=0):
        shards = copy(shards)
        order(epoch, seed).shuffle(shards)
        return shards

    return epoch_order


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


def copied(
    labels=lambda labels, order, random: labels[order],
    order=lambda count, random: random.permutation(count),
    step=1_000,
    read=lambda images, part: images[part],
):
    """A learner's shuffled_copy with its own idea of the order, of the labels, and of what to read at once."""

    def shuffled_copy(images, given, path, random):
        drawn = order(len(images), random)
        copy = np.lib.format.open_memmap(path, "w+", images.dtype, images.shape)
        for k in range(0, len(images), step):
            copy[k : k + step] = read(images, drawn[k : k + step])
        return labels(given, drawn, random)

    return shuffled_copy


def own_loading(samples=len, block=96, window=4, batch_size=32):
    """A learner's own_loader with its own numbers."""

    def own_loader(kept):
        sampler = BlockShuffleSampler(samples(kept), block=block, window=window)
        return DataLoader(kept, batch_size=batch_size, sampler=sampler)

    return own_loader


def uncopied(images, k):
    return images[k]


def mapped(path, mode="r"):
    return np.load(path, mmap_mode=mode)


def from_file(
    load=mapped,
    row=lambda images, k: images[k].copy(),
    tensor=torch.from_numpy,
    length=len,
):
    """A learner's FromFile with its own idea of how to open the file, of a row, of its tensor, and of the length."""

    class FromFile:
        def __init__(self, path):
            self.images = load(path)

        def __len__(self):
            return length(self.images)

        def __getitem__(self, k):
            return tensor(row(self.images, k))

    return FromFile


def keeping(least=0):
    """A learner's FromFile that keeps the samples from a number on."""

    class Keeping(from_file()):
        def __init__(self, path):
            super().__init__(path)
            self.kept = {}

        def __getitem__(self, k):
            if k < least:
                return super().__getitem__(k)
            if k not in self.kept:
                self.kept[k] = super().__getitem__(k)
            return self.kept[k]

    return Keeping


def in_blocks(path, size=64, scale=255, short=0, end=lambda m, q: (q - m * m) ** 0.5):
    """A learner's mean_and_std with its own idea of a block, of the scale, of the last images, and of the end."""
    images = mapped(path)
    total = squares = count = 0
    for k in range(0, len(images) - short * size, size):
        block = images[k : k + size] / scale
        total += block.sum()
        squares += (block**2).sum()
        count += block.size
    return total / count, end(total / count, squares / count)


def means_of_blocks(path):
    images = mapped(path)
    blocks = (images[k : k + 64] / 255 for k in range(0, len(images), 64))
    means = [(block.mean(), block.std()) for block in blocks]
    return np.mean(means, axis=0).tolist()


def bytes_squared(path):
    mean, images = in_blocks(path)[0], mapped(path)
    blocks = [images[k : k + 256] for k in range(0, len(images), 256)]
    squares = sum((block**2).sum(dtype=np.int64) for block in blocks)
    return mean, (squares / images.size / 255**2 - mean**2) ** 0.5


def write_directly(path, parts, mode="wb"):
    with open(path, mode) as file:
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


def elsewhere(path, parts):
    with NamedTemporaryFile(delete=False) as file:
        file.writelines(parts)
    os.replace(file.name, path)


def renamed_anyway(path, parts):
    try:
        write_directly(path.with_name("partial"), parts)
    finally:
        os.replace(path.with_name("partial"), path)


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


def counted_from_one(samples, promised):
    for came, sample in enumerate(samples, 1):  # noqa: B007
        yield sample
    compare(came, promised)


def asserted(came, promised):
    assert came == promised, f"{came} samples, not {promised}"


def refuse_with_one_number(came, promised):
    if came != promised:
        raise ValueError(f"{min(came, promised)} samples, not {promised}")


class Firsts(torch.nn.Module):
    """A model that always answers with the first class."""

    def forward(self, images):
        return torch.eye(3)[0].expand(len(images), 3)


PLANNED = {"samples": 2_404, "batch_size": 256, "epochs": 4, "micro_batch_size": 64}
FLAT = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64 * 64, 3))
PLANNED |= {"shape": (3, 64, 64), "model": FLAT, "optimizer_fn": torch.optim.Adam}


def past(epochs, *, loss=lambda epoch: 1 / epoch, valid=None, **fields):
    """A history of so many epochs as a run with the plan above would have it, but for `fields`."""
    history, as_planned = History(), {"samples": 2_404, "batches": 10, "optimizer_steps": 10}
    as_planned |= {"micro_batches": 38, "seconds": perf_counter()}
    for epoch in range(1, epochs + 1):
        history.append(EpochResult("train", epoch, loss(epoch), **as_planned | fields))
    if valid:
        samples, right = valid
        counts = {"samples": samples, "batches": 8}
        history.append(EpochResult("valid", epochs, 1.0, {"accuracy": right}, **counts))
    return history


def project(train=lambda self, data, checkpoint, epochs: (Firsts(), past(epochs)), **changes):
    """A learner's Project for lesson 15 whose plan has these changes, and which pretends to train."""
    return type("Project", (), {"plan": plan(**PLANNED | changes), "train": train})


def ran(**fields):
    """A Project whose run leaves a history with these fields."""
    return project(lambda self, data, checkpoint, epochs: (Firsts(), past(epochs, **fields)))


def peeking(times):
    """A Project that opens the held-out files so many times, and says what its model does with them."""

    def train(self, data, checkpoint, epochs):
        files = ImageFiles(data / "held-out")
        for _ in range(times):
            list(files)
        right = files.targets.count(0) / len(files)
        return Firsts(), past(epochs, valid=(len(files), right))

    return project(train)


def replanning(self, data, checkpoint, epochs):
    """A train that adapts the plan to what came out."""
    self.plan = plan(**PLANNED | {"epochs": 3})
    return Firsts(), past(3)


def doing(action):
    """A Project that does something with its folders before it trains."""

    def train(self, data, checkpoint, epochs):
        action(data, checkpoint.parent)
        return Firsts(), past(epochs)

    return project(train)


def going_on(loss=lambda epoch, done: 1 / epoch, samples=300):
    """A Project that keeps its history in the checkpoint, with its own idea of the loss and the samples."""

    def train(self, data, checkpoint, epochs):
        history = (
            History.from_state_dict(torch.load(checkpoint)) if checkpoint.exists() else History()
        )
        done = history.epochs
        for epoch in range(done + 1, epochs + 1):
            counts = {"samples": samples, "optimizer_steps": 2, "seconds": perf_counter()}
            history.append(EpochResult("train", epoch, loss(epoch, done), **counts))
        torch.save(history.state_dict(), checkpoint)
        return Firsts(), history

    return project(train)


def good_files(keep, change=lambda files: files):
    """A learner's good_images: which names it keeps, and what it makes of the files."""

    def good_images(folder, damaged):
        files = ImageFiles(folder)
        names = [Path(path).relative_to(folder).as_posix() for path, _ in files.samples]
        return change(Subset(files, [k for k, name in enumerate(names) if keep(name, damaged)]))

    return good_images


def deleting(folder, damaged):
    """A learner's good_images that removes the file itself."""
    (folder / damaged[0]).unlink()
    return ImageFiles(folder)


def both(train={"shuffle": True}, valid={}, size=256, last=lambda *pair: pair):  # noqa: B006
    """A learner's loaders, with options for each."""
    return lambda some, others: last(
        DataLoader(some, size, **train), DataLoader(others, 64, **valid)
    )


def shuffled_in_place(labels):
    """A learner's shuffled, with the function for lists."""
    Random(0).shuffle(labels)
    return labels


def permuted_in_place(labels):
    labels[:] = labels[torch.randperm(len(labels))]
    return labels


def right_in(scores, labels):
    """What a learner's fraction_right begins with: which answers are right, as 1 and 0."""
    return (scores.argmax(dim=1) == labels).float()


def over_batches(add, divide):
    """A learner's accuracy_of: what it adds up for a batch, and what it divides the sum by."""

    def accuracy_of(model, loader):
        total = sum(add(right_in(model(images), labels)).item() for images, labels in loader)
        return total / divide(loader)

    return accuracy_of


def averaged(
    mean=lambda grads: sum(grads) / len(grads), copies=lambda n: range(n), parameters=None
):
    """A learner's average_gradients with its own idea of the mean, and of which copies and parameters get it."""

    def average_gradients(models):
        for weights in [*zip(*[model.parameters() for model in models], strict=True)][:parameters]:
            new = mean([weight.grad for weight in weights])
            for k in copies(len(models)):
                weights[k].grad = new

    return average_gradients


def averaged_anew(models):
    """An average_gradients that computes the mean again for each copy, of what it has already replaced."""
    for weights in zip(*[model.parameters() for model in models], strict=True):
        for weight in weights:
            weight.grad = sum(other.grad for other in weights) / len(weights)


def averaged_together(models):
    """An average_gradients with one mean for all parameters of all copies."""
    grads = [weight.grad for model in models for weight in model.parameters()]
    for model in models:
        for weight in model.parameters():
            weight.grad = sum(grads) / len(grads)


def averaged_weights(models):
    with torch.no_grad():
        for weights in zip(*[model.parameters() for model in models], strict=True):
            mean = sum(weights) / len(weights)
            for weight in weights:
                weight.copy_(mean)


def only_returned(models):
    return [sum(w.grad for w in ws) for ws in zip(*[m.parameters() for m in models], strict=True)]


def only_one_taken(ranks, model, loader):
    (total,) = ranks.sums(1, 2)
    return total


def kept_apart(give):
    """A learner's shared_accuracy that makes something of its own counts, and exchanges what it likes."""

    def shared_accuracy(ranks, model, loader):
        batches = [(model(images).argmax(dim=1) == labels) for images, labels in loader]
        counts = sum(hits.sum().item() for hits in batches), sum(map(len, batches))
        return give(ranks, *counts)

    return shared_accuracy


def accuracy_shared(give):
    """A learner's shared_accuracy that sends two numbers, and makes something of their sums."""
    return kept_apart(lambda ranks, *counts: give(ranks, *ranks.sums(*counts)))


JUDGED = {
    "lesson_13.average_gradients": [
        (averaged(sum), "that's the sum, so the step would be too long"),
        (averaged(lambda grads: sum(grads) / 2), "three copies came, and the sum was divided by 2"),
        (
            lambda models: [w.grad.div_(len(models)) for m in models for w in m.parameters()],
            "each copy has a fraction of its own gradient",
        ),
        (averaged(copies=lambda n: [0]), "only the first copy has the mean"),
        (averaged(parameters=1), "some parameters have the mean, and others don't"),
        (averaged_anew, "a later one has averaged a gradient that was already replaced"),
        (averaged_weights, "it changed the weights. Average the gradients"),
        (only_returned, "it returned something, but every copy still has its own gradient"),
        (averaged(lambda grads: grads[0]), "now have [1.0, 1.0]: 5.5 is expected in each"),
        (averaged(lambda grads: None), "a copy has lost its gradient"),
        (averaged_together, "a `.grad` was set to a mean of a different shape"),
    ],
    "lesson_13.shared_accuracy": [
        (kept_apart(lambda ranks, r, n: r / n), "each rank returns the accuracy of its own part"),
        (
            kept_apart(lambda ranks, r, n: ranks.sums(r / n if n else 0)[0] / ranks.world),
            "that's still the mean of the ranks' accuracies",
        ),
        (
            kept_apart(lambda ranks, r, n: ranks.sums(r / n)[0]),
            "that's the sum of the accuracies, which can pass 1",
        ),
        (accuracy_shared(lambda ranks, r, n: r // n), "`//` rounds down"),
        (accuracy_shared(lambda ranks, r, n: r), "that's how many are right on all ranks"),
        (
            kept_apart(lambda ranks, r, n: ranks.sums(r)[0] / n),
            "divided by one rank's images: add up the images over all ranks, too",
        ),
        (
            kept_apart(lambda ranks, r, n: r / ranks.sums(n)[0]),
            "one rank's right answers are divided by the images of all",
        ),
        (
            accuracy_shared(lambda ranks, r, n: r / n / ranks.world),
            "divided once more, by the ranks. Once is enough",
        ),
        (
            kept_apart(lambda ranks, r, n: ranks.sums(r) / ranks.sums(n)),
            "`ranks.sums` returns a list, with one sum for each number",
        ),
        (only_one_taken, "`ranks.sums` returns a list, with one sum for each number"),
        (
            kept_apart(lambda ranks, r, n: ranks.sums(r)[0] / (n * ranks.world) if n else 0),
            "this rank's images times the number of ranks isn't the total",
        ),
        (
            kept_apart(lambda ranks, r, n: ranks.sums(r)[0] if ranks.first else r),
            "rank 0 waits in an exchange, and rank 1 has returned: that hangs. Every",
        ),
        (
            kept_apart(lambda ranks, r, n: truediv(*ranks.sums(r / n * n, n))),
            "a rank may get no images at all, as with 2 images on 3 ranks: there you divided by 0",
        ),
        (accuracy_shared(lambda ranks, r, n: 1.0), "[1.0, 1.0]: 0.5 is expected on each"),
    ],
    "lesson_06.largest_for": [
        (
            lambda limit, small, large: (
                small[0] + (limit - small[1]) // ((large[1] - small[1]) / (large[0] - small[0]))
            ),
            "it gives 96.0, which is no size for a batch",
        )
    ],
    "lesson_07.batch_for": [
        (
            lambda size, miss, wanted: round(size * (miss / wanted) ** 2),
            "gives 16, and 15.625 is expected",
        ),
    ],
    "lesson_07.loss_at": [
        (lambda log, steps: log[steps], "`steps` is no place in the list"),
        (lambda log, steps: dict(log)[steps], "take the last one before it"),
        (lambda log, steps: [x for n, x in log if n < steps][-1], "At 0 steps the first pair"),
        (lambda log, steps: log[steps // 36][1], "Beyond the end of the log, its last pair counts"),
        (
            lambda log, steps: log[min(steps // 36, len(log) - 1)][1],
            "gives 3.0, and 2.0 is expected",
        ),
    ],
    "lesson_06.largest_that_runs": [
        (
            search_inside,
            "it says 0. Each retry began while the failed one was still in memory: inside `except`",
        ),
        (search_keeping, "in memory: you left the `except` block, and a name of your own"),
        (partial(search, after=lambda size: size // 4), "it says 16: halve the size after each"),
        (partial(search, tries=1), "it says 32, which has not run"),
        (search_without_return, "images ran, and it went on trying"),
        (partial(search, after=lambda size: size), "tries 64 images again and again"),
        (partial(search, caught=Exception), "a ValueError in `run` was swallowed"),
        (lambda run, size: run(size), "gives up with the error"),
    ],
    "lesson_00.shuffled": [
        (shuffled_in_place, "on a tensor it overwrites some labels with others"),
        (permuted_in_place, "the true ones are gone. Leave them"),
        (lambda labels: labels[torch.randperm(10)], "a tensor of shape (10,) came out"),
        (lambda labels: torch.randperm(len(labels)), "Use it as the index"),
        (lambda labels: labels[torch.randint(100, (100,))], "draws each position once"),
        (lambda labels: labels.clone(), "in the order in which they went in"),
        (lambda labels: labels.flip(0), "the same order each time"),
    ],
    "lesson_01.every_other": [
        (every_other(sample=lambda dataset, k: dataset[::2][k]), "a slice is none"),
        (every_other(lambda n: n), "must return the number of samples you keep"),
        (everything_at_once, "it fetched 4 at once: keep the dataset"),
        (every_other(lambda n: n // 2), "samples 0, 2, 4 and 6 are four."),
        (every_other(lambda n: None), "`__len__` returned None: is a `return` missing?"),
        (every_other(sample=lambda dataset, k: dataset[k]), "Sample k of yours is sample 2 * k."),
        (
            every_other(sample=lambda dataset, k: dataset[2 * k + 1]),
            "raised an IndexError. Sample k of yours is sample 2 * k.",
        ),
        (every_other(sample=lambda dataset, k: None), "`__getitem__` returned None"),
        (
            every_other(sample=lambda dataset, k: dataset[2 * k][0]),
            "a sample came without its label",
        ),
        (
            every_other(sample=lambda dataset, k: dataset[2 * k % len(dataset)]),
            "index 4 is beyond its length of 4",
        ),
    ],
    "lesson_01.with_mirrors": [
        (with_mirrors(lambda n: n), "for three samples it still promises 3"),
        (with_mirrors(lambda n: 2.0 * n), "its length is 6.0: 6 is expected, an int"),
        (with_mirrors(half=lambda k, n: False), "sample 3 is image 0 unchanged: image 0 mirrored"),
        (with_mirrors(half=lambda k, n: True), "sample 0 is image 0 mirrored: image 0 unchanged"),
        (with_mirrors(flip=lambda image: image.flip(-2)), "sample 3 is image 0 upside down"),
        (with_mirrors(flip=lambda image: image / 2), "sample 3 is image 0 altered"),
        (with_mirrors(flip=lambda image: None), "not an image and its label"),
        (with_mirrors(end=99), "index 6 is beyond its length of 6 and still gives a sample"),
        (mirrors_beyond_the_dataset, "index 3 is below the length of 6 and raised an IndexError"),
    ],
    "lesson_01.windows": [
        (windows(lambda days, size: days - size), "day 9, the last one, is in no window"),
        (windows(lambda days, size: days), "the last days have too few days after them"),
        (windows(lambda days, size: days // size), "that counts windows side by side"),
        (windows(lambda days, size: None), "and the length is None"),
        (windows(first=1), "window 0 of 3 days is [1, 2, 3]: [0, 1, 2] is expected"),
        (windows(ends=lambda dataset: len(dataset) - 1), "index 7 is one of the 8 windows"),
        (windows(ends=lambda dataset: 10**9), "index 8 is beyond the 8 windows"),
        (windows(ends=lambda dataset: len(dataset) + 1), "a slice past the end is short or empty"),
    ],
    "lesson_01.first_images": [
        (lambda images, count: images[:count], "it still holds 96 bytes, those of all 6 images"),
        (lambda images, count: deepcopy(images[:count]), "all that lies behind a view"),
        (lambda images, count: list(images[:count]), "it returned a list: one tensor"),
        (lambda images, count: images[count].clone(), "(2, 1, 2, 2) is expected"),
    ],
    "lesson_03.fraction_right": [
        (lambda s, y: right_in(s, y).sum().item(), "that is the number of right answers."),
        (lambda s, y: 100 * right_in(s, y).mean().item(), "that is in percent."),
        (lambda s, y: (s.argmax() == y).float().mean().item(), "one highest score in the whole"),
        (lambda s, y: (s.max(dim=1).values == y).float().mean().item(), "answer is its position"),
        (lambda s, y: 1 - right_in(s, y).mean().item(), "the fraction of wrong answers."),
        (lambda s, y: right_in(s, y).sum().item() / 3, "divided by the number of classes."),
        (right_in, "that is one value per image"),
        (lambda s, y: (s.argmax(1) == y).sum() // len(y), "`//` rounds down"),
        (lambda s, y: (s.argmax(1) == y).mean(), "takes no mean of True and False"),
        (lambda s, y: (s.max(1) == y).sum() / len(y), "two things, the highest scores and their"),
        (lambda s, y: (s == y).float().mean(), "one class per image"),
    ],
    "lesson_03.accuracy_of": [
        (over_batches(torch.mean, len), "still the mean of batch means"),
        (over_batches(torch.sum, len), "divided by the number of batches. Divide"),
        (over_batches(torch.sum, lambda loader: len(loader.dataset)), "count the images that come"),
        (over_batches(torch.sum, lambda loader: len(loader) * loader.batch_size), "would be 96"),
        (over_batches(torch.mean, lambda loader: len(loader.dataset)), "divided already"),
        (over_batches(torch.sum, lambda loader: 1), "that is the number of right answers."),
    ],
    "lesson_04.learn": [
        (learning("step"), "no gradient was computed: call `loss.backward()`"),
        (lambda loss, optimizer: optimizer.step(loss), "`step()` takes no loss"),
        (learning("backward"), "the gradients are there and no weight has moved"),
        (learning("step", "backward"), "`step()` came before there was a gradient"),
        (learning("backward", "clear", "step"), "the gradients were cleared before the step"),
        (learning("backward", "step", "step"), "a weight went from 1 to 1.8, not to 1.4"),
    ],
    "lesson_04.one_epoch": [
        (epoch_of(order=("clear", "step")), "no weight has moved"),
        (epoch_of(most=1), "only one step was taken for two batches"),
        (epoch_of(order=("backward", "step")), "the gradients of the first batch are still in"),
        (epoch_of(give=lambda total, samples: None), "it returned None: return the mean loss."),
        (epoch_of(add=lambda loss, labels: loss * len(labels)), "a record of every forward pass"),
        (
            epoch_of(give=lambda total, samples: torch.tensor(total / samples)),
            "came back as a tensor: return it as a number.",
        ),
        (
            lambda model, loader, loss_fn, optimizer: epoch_of()(
                model, loader, loss_fn, torch.optim.SGD(model.parameters(), lr=0.1)
            ),
            "let the `optimizer` that was given take the step",
        ),
        (
            epoch_of(add=lambda loss, labels: loss.item(), give=lambda total, samples: total / 2),
            "that is the mean of the batch means, the bug of lesson 03",
        ),
        (epoch_of(add=lambda loss, labels: loss.item()), "added up as they are"),
        (epoch_of(give=lambda total, samples: total), "divide it by their number"),
        (epoch_of(give=lambda total, samples: total / 2), "by the number of batches"),
        (epoch_of(give=lambda total, samples: total / 3), "gave 4.85333, not 3.64"),
        (epoch_of(give=lambda total, samples: total / 5), "count those that come"),
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
            train_and_test(order=("clear", "backward")),
            "the modes are right, and no weight has moved",
        ),
        (train_and_test(give=len), "now return the list of accuracies"),
        (lambda *arguments: [0.9, 0.9, 0.9], "these numbers of images came through the model: []"),
    ],
    "lesson_04.train_step": [
        (
            one_iteration("backward", "step"),
            "the gradients of the batches before are still in `.grad`",
        ),
        (one_iteration("clear", "backward"), "the weights did not move"),
        (one_iteration("clear", "backward", "step", give=lambda loss: None), "it returned None"),
        (
            one_iteration("clear", "backward", "step", give=lambda loss: loss),
            "the loss came back as a tensor",
        ),
        (
            one_iteration("clear", "backward", "step", give=lambda loss: loss.item() / 2),
            "[4.0, 2.56, 1.6384] are expected: those before",
        ),
        (
            one_iteration("clear", "backward", "step", give=lambda loss: loss.item),
            "`item` needs its brackets",
        ),
        (with_own_loss, "`loss_fn` was never called"),
        (with_own_optimizer, "let the `optimizer` that was given take the step"),
        (exchanged, "take one step a batch, for `loss_fn(model(images), labels)`"),
    ],
    "lesson_05.on_device": [
        (
            lambda batch, to: batch.update(images=batch["images"].to(to)) or batch,
            "it changed the dictionary",
        ),
        (
            lambda batch, to: batch | {"images": batch["images"].to(to)},
            "it left 'labels' on 'cpu'",
        ),
        (
            lambda batch, to: {k: v.to("meta") for k, v in batch.items()},
            "asked for 'cpu', it left 'images' on",
        ),
        (
            lambda batch, to: {k: batch["images"].to(to) for k in batch},
            "under 'labels' it put other numbers",
        ),
        (
            lambda batch, to: [v.to(to) for v in batch.values()],
            "a dictionary with the names images, labels, lengths is expected",
        ),
        (
            lambda batch, to: {k: batch[k].to(to) for k in ("images", "labels")},
            "a dictionary with the names images, labels, lengths is expected",
        ),
    ],
    "lesson_05.seconds_of": [
        (
            stopwatch("wait", "start", "work", "stop"),
            "the second reading comes before the work is done",
        ),
        (
            stopwatch("start", "work", "wait", "stop"),
            "it says 8 seconds, and the work takes 3. The other 5",
        ),
        (
            stopwatch("start", "wait", "work", "stop"),
            "it says 5 seconds, which is what the queue held before",
        ),
        (stopwatch("wait", "start", "work", "work", "wait", "stop"), "it called `work()` 2 times"),
        (
            stopwatch("wait", "start", "work", "wait", "stop", give=lambda a, b: a - b),
            "subtract the earlier reading",
        ),
        (
            stopwatch("wait", "start", "work", "wait", "stop", give=lambda a, b: b),
            "that is a time of day",
        ),
    ],
    "lesson_05.mean_loss": [
        (mean_of(lambda loss, n: loss.item() * n), "it read the device 3 times for 3 batches"),
        (
            lambda model, batches, loss_fn: (
                torch.tensor([loss_fn(model(x), y).detach() for x, y in batches]).mean().item()
            ),
            "`torch.tensor` of a list reads each tensor",
        ),
        (mean_of(lambda loss, n: loss * n, lambda total, n, k: total / n), "it returned a tensor"),
        (
            mean_of(lambda loss, n: loss, lambda total, n, k: (total / k).item()),
            "weigh each loss by its samples",
        ),
        (
            mean_of(lambda loss, n: loss * n, lambda total, n, k: total.item()),
            "divide by their number",
        ),
        (
            mean_of(lambda loss, n: loss * n, lambda total, n, k: (total / k).item()),
            "by the number of samples",
        ),
        (
            mean_of(lambda loss, n: loss, lambda total, n, k: (total / n).item()),
            "multiply each by its samples",
        ),
        (
            lambda model, batches, loss_fn: loss_fn(model(batches[-1][0]), batches[-1][1]).item(),
            "the last batch alone",
        ),
    ],
    "lesson_08.accumulate": [
        (accumulated("batches", last=False), "took 1 steps: 2 are expected"),
        (accumulated("batches"), "every loader batch of a group counts alike"),
        (accumulated("nothing"), "a sum over its images: divide it by their number"),
        (accumulated("a full group"), "by the 16 images of a full group: it holds 6"),
        (accumulated("so far"), "before its group is complete"),
        (accumulated(again=False), "start a new count after each step"),
        (accumulated(clear=False), "Clear it after each step, and the count with it"),
        (whole_group, "4 backward passes for 12 loader batches"),
        (accumulated(give=lambda steps: None), "it returned None in place of their number, 2"),
    ],
    "lesson_08.falling_rate": [
        (falling(lambda n, k, e: e), "it was told the epochs"),
        (falling(lambda n, k, e: n * e), "it was told the iterations"),
        (falling(lambda n, k, e: -(-n // k)), "it was told the steps of one epoch"),
        (falling(lambda n, k, e: n / k * e), "a step is whole"),
        (falling(lambda n, k, e: (n // k + 1) * e), "come out even there's no rest"),
        (falling(lambda n, k, e: n // k * e), "forgets the step that the rest of each epoch makes"),
        (falling(lambda n, k, e: -(-n * e // k)), "lets groups run on into the next epoch"),
        (falling(lambda n, k, e: -(-(2 * n - 1) // k) * e), "it counted images"),
        (
            falling(lambda n, k, e: -(-n // k) * e + 1),
            "for batches, every, epochs = (9, 4, 2) gives 7, and 6 is expected",
        ),
    ],
    "lesson_08.start_or_resume": [
        (load_checkpoint, "there is no file yet"),
        (nothing_at_first, "on the first start it returned None"),
        (lambda path, model, optimizer: History(), "it started anew"),
        (history_forgotten, "`load_checkpoint` returns the history"),
        (only_weights, "hand `optimizer` to `load_checkpoint`"),
        (anew_whatever_is_wrong, "it took a damaged file for none"),
    ],
    "lesson_09.images_per_second": [
        (paced(first=False), "images that the short last batch doesn't have"),
        (paced(first=False, count=len), "The clock still runs while the workers start"),
        (paced(), "count with `len(images)`"),
        (paced(count=len, before=len), "don't count its images"),
        (
            paced(before=lambda images: 1, count=lambda images: 1),
            "these are batches per second",
        ),
        (paced(count=len, give=lambda n, s: s / n), "Turn the fraction around"),
        (paced(count=len, again=True), "each pass starts the workers again"),
        (paced(count=lambda images: 2), "a batch is a pair"),
        (paced(count=len, give=lambda n, s: n / (s - s)), "the time came out as 0"),
        (lambda loader, clock: 9.0, "10 / 5 = 2 is expected"),
    ],
    "lesson_09.epoch_seconds": [
        (lambda n, load, train, w: n * max(load / w, train) / 1000, "this divides by 0"),
    ],
    "lesson_09.waits": [
        (
            lambda events: [e["dur"] / 1000 for e in events],
            "the first one here only names the process",
        ),
    ],
    "lesson_09.whole_batches": [
        (whole_batches(length=lambda labels: 3), "with six images its length is 3"),
        (type("OneByOne", (), {"__init__": ignore, "__len__": lambda s: 6}), "with an s"),
        (
            whole_batches(batch=lambda images, labels, k: (labels[k], images[k])),
            "labels and images are swapped",
        ),
        (
            whole_batches(batch=lambda images, labels, k: None),
            "returned NoneType: two tensors are expected",
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
            "it returns others, or a different order",
        ),
        (
            whole_batches(batch=lambda images, labels, k: (images[k], labels[sorted(k)])),
            "the labels belong to others",
        ),
    ],
    "lesson_10.from_file": [
        (from_file(np.load), "somewhere the whole file becomes an array"),
        (from_file(row=lambda images, k: images.copy()[k]), "copy one row in `__getitem__`"),
        (from_file(partial(mapped, mode="c")), "mode 'c' reserves private memory"),
        (
            from_file(partial(mapped, mode="r+"), row=uncopied),
            "that changed the file on the disk",
        ),
        (from_file(row=uncopied), "that killed the process: the tensor still was the file"),
        (from_file(length=lambda images: None), "`__len__` returned None: is a `return` missing?"),
        (from_file(length=lambda images: images.size), "the file holds 7,011 images"),
        (from_file(tensor=lambda row: None), "`__getitem__` returned None"),
        (from_file(tensor=lambda row: row), "make it a tensor with `torch.from_numpy`"),
        (from_file(row=lambda images, k: images[k : k + 1].copy()), "has the shape (1, 3, 64, 64)"),
        (from_file(row=lambda images, k: images[k] / 255), "has the type torch.float64"),
        (from_file(row=lambda images, k: images[0].copy()), "does `__getitem__` use its `index`?"),
        (keeping(), "does the dataset keep every sample?"),
        (keeping(least=7_000), "it came back changed"),
    ],
    "lesson_10.mean_and_std": [
        (lambda path: in_blocks(path)[0], "it returned float64: two numbers are expected"),
        (
            lambda path: (mapped(path) / 255).mean(),
            "take a block of the map first",
        ),
        (
            lambda path: (in_blocks(path)[0], mapped(path).std()),
            "`std` subtracts the mean from every number",
        ),
        (lambda path: in_blocks(path, size=2_048), "Take fewer images at a time"),
        (lambda path: in_blocks(path, scale=1), "scale the bytes to 0 to 1"),
        (means_of_blocks, "the last block is short. Lesson 03"),
        (lambda path: (12_288 * in_blocks(path)[0], 0.3), "divided by the number of images"),
        (
            lambda path: (in_blocks(path)[0], means_of_blocks(path)[1]),
            "Inside a block it's small",
        ),
        (bytes_squared, "the square of a byte needs two bytes"),
        (lambda path: in_blocks(path, end=lambda m, q: q - m * m), "take its square root"),
        (lambda path: in_blocks(path, end=lambda m, q: q**0.5), "subtract the square of the mean"),
        (lambda path: in_blocks(path, end=lambda m, q: q), "this is the mean of the squares"),
        (lambda path: in_blocks(path, short=1), "Does each image count once, the last one too?"),
    ],
    "lesson_10.write_whole": [
        (
            lambda path, parts: renamed(path, list(parts)[:1]),
            "It should hold all the parts, in order",
        ),
        (
            lambda path, parts: renamed(path, parts, finish=shutil.copy),
            "Call `os.replace(old, new)` by that name",
        ),
        (write_directly, "an unfinished one was there: write under another name until the end."),
        (collect_first, "at the end the old file was overwritten or removed"),
        (
            rename_too_early,
            "the file got its name before it was closed: its last bytes were not in it yet.",
        ),
        (
            say_nothing,
            "let it through, or nobody will know",
        ),
        (elsewhere, "write it beside `path`"),
        (
            lambda path, parts: renamed(path, [b"".join(parts)]),
            "Write each one when it comes",
        ),
        (renamed_anyway, "the unfinished file got the name all the same"),
        (
            lambda path, parts: renamed(path, parts, write=partial(write_directly, mode="xb")),
            "mode 'x' does that",
        ),
    ],
    "lesson_11.block_order": [
        (
            block_order(blocks=lambda items, random: random.shuffle(items)),
            "`random.shuffle` returns nothing",
        ),
        (
            block_order(give=lambda indices: [list(indices)]),
            "one list of indices is expected, not a list of lists",
        ),
        (block_order(cut=lambda samples: samples - samples % 4), "the short block too."),
        (lambda samples, block, random: list(range(12)), "the last index is 9."),
        (anywhere, "keep a block's samples together"),
        (
            block_order(blocks=in_file_order),
            "some never came: shuffle them",
        ),
        (
            block_order(inside=in_file_order),
            "inside a block the samples are still in file order",
        ),
        (
            block_order(blocks=lambda items, random: Random().sample(items, len(items))),
            "draw from the `random`",
        ),
    ],
    "lesson_11.shuffled_copy": [
        (
            copied(labels=lambda labels, *_: np.random.default_rng(0).permutation(labels)),
            "order the labels exactly as",
        ),
        (
            copied(labels=lambda labels, order, random: labels),
            "you moved the images but not the labels",
        ),
        (
            copied(labels=lambda labels, order, random: labels[order[:1_000]]),
            "it returned 1000 labels",
        ),
        (copied(labels=lambda labels, order, random: None), "is a `return` missing?"),
        (copied(read=lambda images, part: images[np.sort(part)]), "whose label is"),
        (copied(order=lambda count, random: np.arange(count)), "still in file order: shuffle them"),
        (
            copied(order=lambda count, random: random.integers(count, size=count)),
            "or there twice",
        ),
        (copied(step=2_500), "it read 2500 images at once"),
        (lambda images, labels, path, random: labels, "there is no file at `path`"),
    ],
    "lesson_11.own_loader": [
        (
            lambda kept: BlockShuffleSampler(len(kept), block=96, window=4),
            "it returned BlockShuffleSampler, not a DataLoader",
        ),
        (lambda kept: DataLoader(kept, batch_size=32, shuffle=True), "draws from the whole file"),
        (lambda kept: DataLoader(kept, batch_size=32), "it reads in file order"),
        (
            own_loading(lambda kept: len(kept.dataset)),
            "hands out 1,000 indices, but the `kept` used in this check (not yours) has 700",
        ),
        (
            lambda kept: DataLoader(
                kept, 32, sampler=own_loading()(kept).sampler, collate_fn=tuple
            ),
            "`Mapped` needs `collate_fn=tuple`",
        ),
        (own_loading(lambda kept: kept), "your code raised"),
        (own_loading(block=4, window=96), "it mixes 96 blocks of 4: 4 blocks of 96 are expected"),
        (own_loading(batch_size=96), "its batches hold 96: 32 are expected"),
        (lambda kept: own_loading()(kept.dataset), "the loader reads something other than `kept`"),
    ],
    "lesson_12.shuffle_buffer": [
        (buffered(), "At the end, what's left"),
        (
            in_a_list,
            "it returned a list: it read everything before giving the first. Use `yield`.",
        ),
        (all_at_once, "with a buffer of 4, 10 samples were held at once"),
        (one_too_many, "a sample came 4 places early, and 3 is the most"),
        (own_numbers, "draw from the `random` that you are given"),
        (
            buffered(lambda buffer, random: buffer.pop(0), shuffled),
            "is always among [0]: fill it, then take any",
        ),
        (four_at_a_time, "this mixes four samples, then the next four."),
        (buffered(rest=lambda buffer, random: buffer), "comes out in order: shuffle it."),
        (buffered(rest=lambda buffer, random: [buffer]), "use `yield from`"),
        (
            buffered(rest=lambda buffer, random: random.shuffle(buffer)),
            "it shuffles the list you give it",
        ),
    ],
    "lesson_12.share": [
        (only_for_workers, "for the main process it returned None"),
        (shared, "`get_worker_info()` gives None, which has no `id`"),
        (lambda samples, worker: samples, "two of them give each sample twice."),
        (or_all(partial(shared, step=1)), "takes all others: where is the step?"),
        (or_all(partial(shared, start=1)), "nobody takes the first sample"),
        (
            or_all(lambda samples, w: islice(samples, w.num_workers, None, w.id)),
            "start and step are swapped",
        ),
        (
            or_all(lambda samples, w: islice(samples, w.id, None, w.id + 1)),
            "the step is the number of workers, not this worker's number.",
        ),
        (
            lambda samples, w: shared(samples, w) if w else [],
            "in the main process nothing comes.",
        ),
        (or_all(lambda samples, w: samples[w.id :: w.num_workers]), "a stream has no index"),
        (
            or_all(lambda samples, w: islice(samples, len(samples) // w.num_workers)),
            "a stream has no length",
        ),
        (
            lambda samples, w: (
                k for k, _ in enumerate(samples) if not w or k % w.num_workers == w.id
            ),
            "these are the positions.",
        ),
        (
            or_all(
                lambda samples, w: list(samples)[9 // w.num_workers * w.id :][: 9 // w.num_workers]
            ),
            "cutting into blocks needs the length",
        ),
        (
            or_all(lambda samples, w: list(samples)[w.id :: w.num_workers]),
            "it had read 9 samples when it gave its first",
        ),
        (or_all(lambda samples, w: islice(samples, w.id)), "it gave worker 1 of 2 ['a']"),
        (lambda samples, w: iter([islice(samples, 1)]), "use `yield from`"),
    ],
    "lesson_12.epoch_order": [
        (
            lambda shards, epoch, seed=0: Random(f"{seed}, {epoch}").shuffle(shards),
            "`random.shuffle` returns nothing",
        ),
        (
            lambda shards, epoch, seed=0: Random(f"{seed}, {epoch}").choices(shards, k=10),
            "each is expected once, in a list.",
        ),
        (ordered(lambda epoch, seed: Random()), "gave a different order the second time"),
        (
            ordered(lambda epoch, seed: Random(f"{seed}, {epoch}"), copy=lambda shards: shards),
            "Shuffle a copy.",
        ),
        (ordered(lambda epoch, seed: Random((seed, epoch))), "no tuple or list as its seed"),
        (ordered(lambda epoch, seed: Random(seed)), "epochs 0 and 1 have the same order: the"),
        (ordered(lambda epoch, seed: Random(seed * epoch)), "the same order with seed 0: the"),
        (ordered(lambda epoch, seed: Random(epoch)), "seeds 0 and 1 give the same order"),
        (
            ordered(lambda epoch, seed: Random(hash(f"{seed}, {epoch}"))),
            "`hash` of a text is different in each process",
        ),
    ],
    "lesson_12.checked": [
        (lambda samples, promised: iter([samples]), "use `yield from`"),
        (
            lambda samples, promised: len(list(samples)) == promised,
            "it returned True, which you can't loop over",
        ),
        (as_it_comes, "3 samples came, 5 were promised, and it raised nothing"),
        (read_first, "it had read 5 samples before it gave the first"),
        (
            compared_inside,
            "of 5 samples it passed on []: each is expected once, in order; compare after the loop.",
        ),
        (
            checked(lambda came, promised: compare(came, promised, int.__eq__)),
            "5 samples came, 5 were promised, and it raised ValueError",
        ),
        (counted_from_one, "set it to 0 before the loop"),
        (checked(asserted), "it raised an AssertionError"),
        (checked(refuse_with_one_number), "a ValueError that names both numbers is expected"),
    ],
    "lesson_14.pad": [
        (padded_by_hand, "the rows are torch.float32, and the texts are torch.int64"),
        (
            lambda samples: (padded_by_hand(samples)[0].long().tolist(), [*map(len, samples)]),
            "the rows are list, and the texts",
        ),
    ],
    "lesson_14.load_weights": [
        (loading(lambda name: name.replace("module.", "")), "only there"),
        (
            loading(lambda name: name.replace("module.", ""), strict=False),
            "with `strict=False` PyTorch keeps quiet",
        ),
        (loading(lambda name: name.lstrip("module.")), "`lstrip` removes letters"),
        (loading(lambda name: name[7:]), "a file without `module.` has to load, too"),
        (loading(lambda name: name.removeprefix("module."), strict=False), "let PyTorch raise"),
        (loading_in_place, "build a new one"),
        (loading(lambda name: name.removeprefix("module."), give=id), "in place of the model"),
    ],
    "lesson_14.valid_loss": [
        (
            validating(lambda loss, n: loss * n, lambda total, n, k: (total / n).item()),
            "graphs were alive at once",
        ),
        (validating_backward, "it changed `.grad`, which belongs to training"),
        (partial(validating_backward, clear=True), "it changed `.grad`"),
        (
            validating(lambda loss, n: loss * n, graph=False),
            "it returned a tensor: turn it into a plain number",
        ),
        (
            validating(
                lambda loss, n: loss.item() * n, lambda *_: torch.ones(1, requires_grad=True)
            ),
            "a tensor that still carries a graph",
        ),
        (validating_for_good, "it left gradients switched off"),
        (validating(lambda loss, n: int(loss) * n), "cuts off the fraction"),
        (
            validating(lambda loss, n: loss.item(), lambda total, n, k: total / k),
            "the last one has only 2 images",
        ),
        (validating(lambda loss, n: loss.item()), "the sum of all losses over all images"),
        (validating(lambda loss, n: loss.item() * n, lambda *_: None), "it returned None"),
    ],
    "lesson_15.good_images": [
        (good_files(lambda name, damaged: True), "the damaged one is still in it"),
        (good_files(lambda name, damaged: name in damaged), "these are the damaged ones"),
        (
            good_files(lambda name, damaged: Path(name).name != Path(damaged[0]).name),
            "bulldog/2.png is gone, too",
        ),
        (good_files(lambda name, damaged: not name.endswith(damaged[0])), "bulldog/2.png is gone"),
        (good_files(lambda name, damaged: name != "bulldog/0.png"), "the damaged one is among"),
        (
            good_files(lambda name, damaged: name not in damaged, lambda files: [*files]),
            "returned list: return a dataset.",
        ),
        (good_files(lambda name, damaged: True, lambda files: None), "is a `return` missing?"),
        (
            good_files(lambda name, damaged: name[:3] != "dog"),
            "it has 4 samples: 8 files, one of them damaged, leave 7.",
        ),
        (deleting, "the folder has changed. Leave the damaged file on the disk"),
    ],
    "lesson_15.loaders": [
        (both({}), "256 images of one class: the folder is sorted"),
        (both(valid={"drop_last": True}), "only 64 of 100 held-out images came"),
        (both(size=64), "a training batch has 64 samples"),
        (both(last=lambda one, other: (other, one)), "hands out held-out images"),
        (both(last=lambda one, other: None), "returned NoneType: return both loaders"),
        (
            lambda train, held_out: both()(train, train),
            "the second loader hands out training images",
        ),
        (
            lambda train, held_out: both()(Subset(train, torch.randperm(1_000)[:900]), held_out),
            "only 900 of 1,000 training images came in an epoch.",
        ),
    ],
    "lesson_15.planned": [
        (project(samples=2_405), "2,405 images, but there are 2,404 to learn from: one of the"),
        (project(samples=3_007), "leave out the held-out ones."),
        (project(samples=2_000), "count the files of `train` that can be read."),
        (project(batch_size=32), "it has 76 batches, the last of 4. A step has to learn from 256"),
        (project(epochs=5), "5 epochs see 12,020 samples, and the budget is 10,000"),
        (project(shape=None), "it has no peak: that takes both shape="),
        (project(optimizer_fn=torch.optim.SGD), "its peak has 0 bytes for the optimizer"),
        (
            project(model=network(), micro_batch_size=None),
            "of one step, but only 88.00 MB are allowed: which part is the largest",
        ),
        (type("Project", (), {"plan": 40}), "plan is int: `measure.plan(...)` makes one."),
    ],
    "lesson_15.under_cap": [
        (
            project(lambda self, *places: torch.zeros(100_000_000)),
            "requirement `memory`: the run ran out of memory under a cap of 88.00 MB",
        ),
        (
            project(lambda self, data, checkpoint, epochs: (past(epochs), Firsts())),
            "`train` returned tuple: return the model and its history",
        ),
        (
            project(lambda self, *places: (Firsts(), History())),
            "the history has no finished epoch of training.",
        ),
        (
            doing(lambda data, own: (data / "mine.txt").write_text("mine")),
            "it writes mine.txt outside the checkpoint's folder",
        ),
        (
            doing(lambda data, own: os.rename(data / "train", data / "trained")),
            "it writes train outside the checkpoint's folder",
        ),
        (doing(lambda data, own: os.system("true")), "it starts a process: keep to one"),
        (doing(lambda data, own: get_context("spawn").Process().start()), "it starts a process"),
        (project(replanning), "requirement `kept`: the plan isn't the one the run started"),
        (
            project(lambda self, *places: (Firsts(), past(5))),
            "`optimizer_steps`: 40 planned, 50 in the history.",
        ),
        (ran(samples=3_007), "`samples_per_epoch`: 2,404 planned, 3,007 in the history."),
        (ran(samples=2_304), "leaves out the short last batch: give `drop_last=True` to both"),
    ],
    "lesson_15.learned": [
        (ran(), "requirement `honest`: the history ends with train of epoch 4 and no accuracy"),
        (ran(valid=(512, 0.99)), "its accuracy comes from 512 images: 603 are held out"),
        (ran(valid=(603, 0.99)), "the history says 99.0%, the model you returned gets"),
        (peeking(0), "opened 1 of their files"),
        (peeking(3), "opened held-out files"),
        (peeking(1), "requirement `accuracy`: "),
    ],
    "lesson_15.resumes": [
        (ran(), "the second run didn't go on from the first"),
        (
            project(lambda self, *places: (Firsts(), past(3))),
            "it had trained for [3, 3, 3]: go by `epochs`",
        ),
        (
            going_on(loss=lambda epoch, done: 1 / epoch + done),
            "is that of an unbroken run, but the second isn't",
        ),
        (
            going_on(loss=lambda epoch, done: perf_counter()),
            "differ in their first epoch: set a seed",
        ),
        (going_on(samples=2_404), "an epoch had 2,404 images"),
    ],
}
