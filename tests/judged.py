"""Known mistakes in exercises that are judged by a function of their own, each with the message it must get."""

import os
import sys
from copy import deepcopy
from functools import partial
from itertools import islice
from multiprocessing import get_context
from operator import getitem, truediv
from pathlib import Path
from random import Random
from statistics import fmean
from tempfile import NamedTemporaryFile
from time import perf_counter

import cloudpickle
import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Subset

from dlhelpers.course.lessons.lesson_08 import WRONG_CALLS
from dlhelpers.course.lessons.lesson_12 import UNSHARED
from dlhelpers.data import BlockShuffleSampler, ImageFiles
from dlhelpers.explore import network
from dlhelpers.measure import plan
from dlhelpers.train import EpochResult, History, load_checkpoint

# A child under a cap gets what it needs of this file, as of a notebook: to import all of it takes seconds each time.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def dataset(length, item, keep=lambda *given: given, get="__getitem__"):
    """A learner's class of a dataset: what it keeps, and its own idea of the length and of what it gives for `k`."""

    def init(self, *given):
        self.kept = keep(*given)

    methods = {
        "__init__": init,
        "__len__": lambda self: length(*self.kept),
        get: lambda self, k: item(*self.kept, k),
    }
    return type("Dataset", (), methods)


def every_other(length=lambda n: (n + 1) // 2, item=lambda kept, k: kept[2 * k]):
    """A learner's EveryOther with its own idea of the length and of a sample."""
    return dataset(lambda kept: length(len(kept)), item)


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


def with_mirrors(
    length=lambda n: 2 * n, half=lambda k, n: k >= n, flip=lambda image: image.flip(-1), end=2
):
    """A learner's WithMirrors with its own idea of the length, of which samples to mirror, and how, and of the end."""

    def item(kept, k):
        n = len(kept)
        if k >= end * n:
            raise IndexError(k)
        image, label = kept[k % n]
        return (flip(image) if half(k, n) else image), label

    return dataset(lambda kept: length(len(kept)), item)


def windows(length=lambda days, size: days - size + 1, first=0, beyond=0):
    """A learner's make_windows with its own idea of the length, of where a window starts, and of the last one."""

    def item(series, size, k):
        if k >= length(len(series), size) + beyond:
            raise IndexError(k)
        return series[k + first : k + first + size]

    return dataset(lambda series, size: length(len(series), size), item)


def learning(*order):
    """A learner's `learn` that makes these calls in this order."""

    def learn(loss, optimizer):
        calls = {"backward": lambda: loss.backward(retain_graph=True), "step": optimizer.step}
        for name in order:
            calls.get(name, optimizer.zero_grad)()

    return learn


IN_ORDER = "clear", "backward", "step"


def one_iteration(order=IN_ORDER, give=torch.Tensor.item):
    """A learner's train_step that makes these calls in this order, and returns what `give` makes of the loss."""

    def train_step(model, images, labels, loss_fn, optimizer):
        loss = loss_fn(model(images), labels)
        learning(*order)(loss, optimizer)
        return give(loss)

    return train_step


def stopwatch(*order, give=lambda start, stop: stop - start):
    """A learner's seconds_of that does these things in this order."""

    def seconds_of(work, wait, clock):
        readings = []
        do = {"work": work, "wait": wait, "clock": lambda: readings.append(clock())}
        for name in order:
            do[name]()
        return give(*readings)

    return seconds_of


def weighed(loss, n):
    return loss * n


def in_numbers(loss, n):
    return loss.item() * n


def mean_of(
    part=in_numbers,
    whole=lambda total, samples, batches: total / samples,
    graph=True,
):
    """A learner's mean_loss or valid_loss that adds up `part` of each batch and makes `whole` of the sum."""

    def mean_loss(model, loader, loss_fn):
        total = samples = batches = 0
        with torch.set_grad_enabled(graph):
            for images, labels in loader:
                total = total + part(loss_fn(model(images), labels), len(labels))
                samples, batches = samples + len(labels), batches + 1
        return whole(total, samples, batches)

    return mean_loss


def without_gradients_for_good(*arguments):
    torch.set_grad_enabled(False)
    return mean_of()(*arguments)


going_backward = mean_of(lambda loss, n: loss.backward() or in_numbers(loss, n))


def backward_and_cleared(model, *others):
    result = going_backward(model, *others)
    model.zero_grad()
    return result


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


def loading(clean=lambda name: name.removeprefix("module."), strict=True, give=lambda model: model):
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


def padded(samples, kind):
    """What a learner's pad returns, with rows of another kind."""
    return kind(pad_sequence(samples, batch_first=True)), [*map(len, samples)]


def epoch_of(
    order=IN_ORDER,
    add=in_numbers,
    give=truediv,
    most=2,
):
    """A learner's one_epoch with its own iteration, sums and mean, over the first batches alone."""

    def one_epoch(model, loader, *others):
        total = samples = 0
        for images, labels in [*loader][:most]:
            loss = one_iteration(order, give=lambda loss: loss)(model, images, labels, *others)
            total += add(loss, len(labels))
            samples += len(labels)
        return give(total, samples)

    return one_epoch


def train_and_test(
    before=torch.nn.Module.train,
    test=torch.nn.Module.eval,
    order=IN_ORDER,
    give=list,
):
    """A learner's train_and_test that does something before each epoch, and before each test."""

    def train_and_test(model, loader, test_set, loss_fn, optimizer, epochs):
        accuracies = []
        for _ in range(epochs):
            before(model)
            for images, labels in loader:
                one_iteration(order)(model, images, labels, loss_fn, optimizer)
            test(model)
            accuracies.append(model(test_set.images).argmax(dim=1) == test_set.labels)
        return give(accuracies)

    return train_and_test


def paced(first=True, count=lambda images: 4, before=lambda images: 0, give=truediv, again=False):
    """A learner's images_per_second: from the first batch on or from before it, with its own count."""

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


whole_batches = partial(
    dataset,
    length=lambda images, labels: len(labels),
    item=lambda images, labels, k: (images[k], labels[k]),
    get="__getitems__",
)


def in_file_order(items, random):
    return items


def shuffled(items, random):
    return random.sample(items, len(items))


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
    samples = iter(samples)
    while buffer := [*islice(samples, size)]:
        yield from shuffled(buffer, random)


def all_at_once(samples, size, random):
    yield from shuffled([*samples], random)


def shared(samples, worker):
    """A learner's share that does not think of the main process."""
    return islice(samples, worker.id, None, worker.num_workers)


def shared_as(between, alone):
    """A learner's share with its own idea of a worker's samples, and of those in the main process."""
    return lambda samples, w: (
        between("".join(samples), w.id, w.num_workers) if w else alone("".join(samples))
    )


def or_all(part):
    """A learner's share that thinks of the main process, and has its own idea of a worker's part."""
    return lambda samples, worker: part(samples, worker) if worker else samples


def ordered(order=lambda epoch, seed: Random(f"{seed}, {epoch}"), copy=list):
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


def copied(
    labels=lambda labels, order: labels[order],
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
        return labels(given, drawn)

    return shuffled_copy


def own_loading(samples=len, block=96, window=4, **options):
    """A learner's own_loader with its own numbers, and other options of the loader."""

    def own_loader(kept):
        sampler = BlockShuffleSampler(samples(kept), block=block, window=window)
        return DataLoader(kept, sampler=sampler, **{"batch_size": 32} | options)

    return own_loader


def mapped(path, mode="r"):
    return np.load(path, mmap_mode=mode)


def from_file(
    load=mapped,
    row=lambda images, k: images[k].copy(),
    tensor=torch.from_numpy,
    length=len,
):
    """A learner's FromFile with its own idea of how to open the file, of a row, of its tensor, and of the length."""
    return dataset(length, lambda images, k: tensor(row(images, k)), lambda path: [load(path)])


def keeping(least=0):
    """A learner's FromFile that keeps the samples from a number on."""

    class Keeping(from_file()):
        samples = {}

        def __getitem__(self, k):
            sample = super().__getitem__(k)
            return self.samples.setdefault(k, sample) if k >= least else sample

    return Keeping


def in_blocks(
    path,
    size=64,
    scale=255,
    short=0,
    square=lambda rows: (rows / 255) ** 2,
    end=lambda m, q: (q - m * m) ** 0.5,
):
    """A learner's mean_and_std with its own idea of a block, its scale, the last images, squares, and the end."""
    images = mapped(path)
    total = squares = count = 0
    for k in range(0, len(images) - short * size, size):
        rows = images[k : k + size]
        total += (rows / scale).sum()
        squares += square(rows).sum()
        count += rows.size
    return total / count, end(total / count, squares / count)


def means_of_blocks(path):
    images = mapped(path)
    blocks = (images[k : k + 64] / 255 for k in range(0, len(images), 64))
    means = [(block.mean(), block.std()) for block in blocks]
    return np.mean(means, axis=0).tolist()


def write_directly(path, parts, mode="wb"):
    with open(path, mode) as file:
        for part in parts:
            file.write(part)


def collect_first(path, parts):
    path.write_bytes(b"".join(parts))


def renamed(path, parts, mode="wb"):
    partial = path.with_name("partial")
    write_directly(partial, parts, mode)
    partial.replace(path)


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
        raise ValueError(promised)


class Firsts(torch.nn.Module):
    """A model that always answers with the first class."""

    def forward(self, images):
        return torch.eye(3)[0].expand(len(images), 3)


PLANNED = {
    "samples": 2_404,
    "batch_size": 256,
    "epochs": 4,
    "micro_batch_size": 64,
    "shape": (3, 64, 64),
    "model": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64 * 64, 3)),
    "optimizer_fn": torch.optim.Adam,
}


def past(epochs, *, loss=lambda epoch: 1 / epoch, valid=None, **fields):
    """A history of so many epochs as a run with the plan above would have it, but for `fields`."""
    as_planned = {"samples": 2_404, "batches": 10, "optimizer_steps": 10, "micro_batches": 38}
    fields = as_planned | {"seconds": perf_counter()} | fields
    history = History(EpochResult("train", k, loss(k), **fields) for k in range(1, epochs + 1))
    if valid:
        samples, right = valid
        counts = {"samples": samples, "batches": 8}
        history.append(EpochResult("valid", epochs, 1.0, {"accuracy": right}, **counts))
    return history


def project(train=lambda self, data, checkpoint, epochs: (Firsts(), past(epochs)), **changes):
    """A learner's Project for lesson 15 whose plan has these changes, and which pretends to train."""
    return type("Project", (), {"plan": plan(**PLANNED | changes), "train": train})


def ran(action=lambda data: None, **fields):
    """A Project that does something with its data, and whose run leaves a history with these fields."""

    def train(self, data, checkpoint, epochs):
        action(data)
        return Firsts(), past(epochs, **fields)

    return project(train)


def peeking(times):
    """A Project that opens the held-out files so many times, and says how many its model gets right."""

    def look(data):
        files = ImageFiles(data / "held-out")
        for _ in range(times):
            list(files)

    return ran(look, valid=(603, 0.305))  # what Firsts gets


def replanning(self, data, checkpoint, epochs):
    """A train that adapts the plan to what came out."""
    self.plan = plan(**PLANNED | {"epochs": 3})
    return Firsts(), past(3)


def going_on(loss=lambda epoch, done: 1 / epoch, samples=300):
    """A Project that keeps its history in the checkpoint, with its own idea of the loss and the samples."""

    def train(self, data, checkpoint, epochs):
        history = (
            History.from_state_dict(torch.load(checkpoint)) if checkpoint.exists() else History()
        )
        done = history.epochs
        history += past(epochs, loss=lambda epoch: loss(epoch, done), samples=samples)[done:]
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


def right_in(scores, labels):
    """What a learner's fraction_right begins with: which answers are right, as 1 and 0."""
    return (scores.argmax(dim=1) == labels).float()


def across(models):
    """Each parameter of some copies, as the copies have it."""
    return [*zip(*[model.parameters() for model in models], strict=True)]


def averaged(
    mean=lambda grads: sum(grads) / len(grads), copies=lambda n: range(n), parameters=None
):
    """A learner's average_gradients with its own idea of the mean, and of which copies and parameters get it."""

    def average_gradients(models):
        for weights in across(models)[:parameters]:
            new = mean([weight.grad for weight in weights])
            for k in copies(len(models)):
                weights[k].grad = new

    return average_gradients


def averaged_anew(models):
    """An average_gradients that computes the mean again for each copy, of what it has already replaced."""
    for weights in across(models):
        for weight in weights:
            weight.grad = sum(other.grad for other in weights) / len(weights)


def averaged_weights(models):
    with torch.no_grad():
        for weights in across(models):
            mean = sum(weights) / len(weights)
            for weight in weights:
                weight.copy_(mean)


def only_one_taken(ranks, model, loader):
    (total,) = ranks.sums(1, 2)
    return total


def kept_apart(give):
    """A learner's shared_accuracy that makes something of its own counts, and exchanges what it likes."""

    def shared_accuracy(ranks, model, loader):
        hits = [right_in(model(images), labels) for images, labels in loader]
        return give(ranks, sum(hit.sum().item() for hit in hits), sum(map(len, hits)))

    return shared_accuracy


def accuracy_shared(give):
    """A learner's shared_accuracy that sends two numbers, and makes something of their sums."""
    return kept_apart(lambda ranks, *counts: give(ranks, *ranks.sums(*counts)))


JUDGED = {
    "lesson_13.average_gradients": {
        "that's the sum, so the step would be too long": averaged(sum),
        "three copies came, and the sum was divided by 2": averaged(lambda grads: sum(grads) / 2),
        "each copy has a fraction of its own gradient": lambda models: [
            w.grad.div_(len(models)) for m in models for w in m.parameters()
        ],
        "only the first copy has the mean": averaged(copies=lambda n: [0]),
        "some parameters have the mean, and others don't": averaged(parameters=1),
        "a later one has averaged a gradient that was already replaced": averaged_anew,
        "it changed the weights. Average the gradients": averaged_weights,
        "it returned something, but every copy still has its own gradient": lambda models: [
            sum(w.grad for w in ws) for ws in across(models)
        ],
        "now have [1.0, 1.0]: 5.5 is expected in each": averaged(lambda grads: grads[0]),
        "a copy has lost its gradient": averaged(lambda grads: None),
        "a `.grad` was set to a mean of a different shape": averaged(lambda grads: grads[0].mean()),
    },
    "lesson_13.shared_accuracy": {
        "each rank returns the accuracy of its own part": kept_apart(lambda ranks, r, n: r / n),
        "that's still the mean of the ranks' accuracies": kept_apart(
            lambda ranks, r, n: ranks.sums(r / n if n else 0)[0] / ranks.world
        ),
        "that's the sum of the accuracies, which can pass 1": kept_apart(
            lambda ranks, r, n: ranks.sums(r / n)[0]
        ),
        "`//` rounds down": accuracy_shared(lambda ranks, r, n: r // n),
        "that's how many are right on all ranks": accuracy_shared(lambda ranks, r, n: r),
        "divided by one rank's images: add up the images over all ranks, too": kept_apart(
            lambda ranks, r, n: ranks.sums(r)[0] / n
        ),
        "one rank's right answers are divided by the images of all": kept_apart(
            lambda ranks, r, n: r / ranks.sums(n)[0]
        ),
        "divided once more, by the ranks. Once is enough": accuracy_shared(
            lambda ranks, r, n: r / n / ranks.world
        ),
        "for /: 'list' and 'list': `ranks.sums` returns a list": kept_apart(
            lambda ranks, r, n: ranks.sums(r) / ranks.sums(n)
        ),
        "too many values to unpack (expected 1): `ranks.sums` returns a list": only_one_taken,
        "this rank's images times the number of ranks isn't the total": kept_apart(
            lambda ranks, r, n: ranks.sums(r)[0] / (n * ranks.world) if n else 0
        ),
        "rank 0 waits in an exchange, and rank 1 has returned: that hangs. Every": kept_apart(
            lambda ranks, r, n: ranks.sums(r)[0] if ranks.first else r
        ),
        "as with 2 images on 3 ranks: there you divided by 0": kept_apart(
            lambda ranks, r, n: truediv(*ranks.sums(r / n * n, n))
        ),
        "[0.56, 0.56]: 0.555556 is expected on each": accuracy_shared(
            lambda ranks, r, n: round(r / n, 2)
        ),
        "means of batch means": lambda ranks, model, loader: (
            ranks.sums(fmean(right_in(model(x), y).mean().item() for x, y in loader))[0]
            / ranks.world
        ),
        "divided by ranks, not by images": kept_apart(
            lambda ranks, r, n: truediv(*ranks.sums(r, ranks.world))
        ),
    },
    "lesson_06.largest_for": {
        "it gives 96.0, which is no size for a batch": lambda limit, small, large: (
            small[0] + (limit - small[1]) // ((large[1] - small[1]) / (large[0] - small[0]))
        ),
    },
    "lesson_07.loss_at": {
        "`steps` is no place in the list": lambda log, steps: log[steps],
        "take the last one before it": lambda log, steps: dict(log)[steps],
        "At 0 steps the first pair": lambda log, steps: [x for n, x in log if n < steps][-1],
        "Beyond the end of the log, its last pair counts": lambda log, steps: log[steps // 36][1],
    },
    "lesson_06.largest_that_runs": {
        "in memory: inside `except`, Python itself holds the error": search_inside,
        "in memory: you left the `except` block, and a name of your own": search_keeping,
        "it says 16: halve the size after each": partial(search, after=lambda size: size // 4),
        "it says 32, which has not run": partial(search, tries=1),
        "images ran, and it went on trying": search_without_return,
        "tries 64 images again and again": partial(search, after=lambda size: size),
        "a ValueError in `run` was swallowed": partial(search, caught=Exception),
        "gives up with the error": lambda run, size: run(size),
    },
    "lesson_00.shuffled": {
        "on a tensor it overwrites some labels with others": shuffled_in_place,
        "the true ones are gone. Leave them": lambda labels: labels.copy_(
            labels[torch.randperm(100)]
        ),
        "a tensor of shape (10,) came out": lambda labels: labels[torch.randperm(10)],
        "Use it as the index": lambda labels: torch.randperm(len(labels)),
        "draws each position once": lambda labels: labels[torch.randint(100, (100,))],
        "in the order in which they went in": lambda labels: labels.clone(),
        "the same order each time": lambda labels: labels.flip(0),
    },
    "lesson_01.every_other": {
        "a slice is none": every_other(item=lambda kept, k: kept[::2][k]),
        "must return the number of samples you keep": every_other(lambda n: n),
        "it fetched 4 at once: keep the dataset": dataset(
            len, list.__getitem__, lambda kept: [[kept[k] for k in range(0, len(kept), 2)]]
        ),
        "samples 0, 2, 4 and 6 are four.": every_other(lambda n: n // 2),
        "`__len__` returned None: is a `return` missing?": every_other(lambda n: None),
        "Sample k of yours is sample 2 * k.": every_other(item=getitem),
        "raised an IndexError. Sample k of yours is sample 2 * k.": every_other(
            item=lambda kept, k: kept[2 * k + 1]
        ),
        "`__getitem__` returned None": every_other(item=lambda kept, k: None),
        "a sample came without its label": every_other(item=lambda kept, k: kept[2 * k][0]),
        "index 4 is beyond its length of 4": every_other(
            item=lambda kept, k: kept[2 * k % len(kept)]
        ),
    },
    "lesson_01.with_mirrors": {
        "for three samples it still promises 3": with_mirrors(lambda n: n),
        "its length is 6.0: 6 is expected, an int": with_mirrors(lambda n: 2.0 * n),
        "sample 0 is image 0 mirrored: image 0 unchanged": with_mirrors(half=lambda k, n: True),
        "sample 3 is image 0 upside down": with_mirrors(flip=lambda image: image.flip(-2)),
        "sample 3 is image 0 altered": with_mirrors(flip=lambda image: image / 2),
        "not an image and its label": with_mirrors(flip=lambda image: None),
        "index 6 is beyond its length of 6 and still gives a sample": with_mirrors(end=99),
        "index 3 is below the length of 6 and raised an IndexError": dataset(
            lambda kept: 2 * len(kept), getitem
        ),
    },
    "lesson_01.windows": {
        "day 9, the last one, is in no window": windows(lambda days, size: days - size),
        "the last days have too few days after them": windows(lambda days, size: days),
        "that counts windows side by side": windows(lambda days, size: days // size),
        "and the length is None": windows(lambda days, size: None),
        "window 0 of 3 days is [1, 2, 3]: [0, 1, 2] is expected": windows(first=1),
        "index 7 is one of the 8 windows": windows(beyond=-1),
        "index 8 is beyond the 8 windows": windows(beyond=99),
    },
    "lesson_01.first_images": {
        "it still holds 96 bytes, those of all 6 images": lambda images, count: images[:count],
        "all that lies behind a view": lambda images, count: deepcopy(images[:count]),
        "it returned a list: one tensor": lambda images, count: list(images[:count]),
        "(2, 1, 2, 2) is expected": lambda images, count: images[count].clone(),
    },
    "lesson_03.fraction_right": {
        "takes no mean of True and False": lambda s, y: (s.argmax(1) == y).mean(),
        "two things, the highest scores and their": lambda s, y: (s.max(1) == y).sum() / len(y),
        "one class per image": lambda s, y: (s == y).float().mean(),
    },
    "lesson_04.learn": {
        "no gradient was computed: call `loss.backward()`": learning("step"),
        "`step()` takes no loss": lambda loss, optimizer: optimizer.step(loss),
        "the gradients are there and no weight has moved": learning("backward"),
        "`step()` came before there was a gradient": learning("step", "backward"),
        "the gradients were cleared before the step": learning("backward", "clear", "step"),
        "a weight went from 1 to 1.8, not to 1.4": learning("backward", "step", "step"),
    },
    "lesson_04.one_epoch": {
        "no weight has moved": epoch_of(order=("clear", "step")),
        "only one step was taken for two batches": epoch_of(most=1),
        "the gradients of the first batch are still in": epoch_of(order=("backward", "step")),
        "it returned None: return the mean loss.": epoch_of(give=lambda total, samples: None),
        "a record of every forward pass": epoch_of(add=weighed),
        "came back as a tensor: return it as a number.": epoch_of(
            give=lambda total, samples: torch.tensor(total / samples)
        ),
        "the `optimizer` that was given take the step": lambda model, loader, loss_fn, optimizer: (
            epoch_of()(model, loader, loss_fn, torch.optim.SGD(model.parameters(), lr=0.1))
        ),
        "that is the mean of the batch means, the bug of lesson 03": epoch_of(
            add=lambda loss, n: loss.item(), give=lambda total, samples: total / 2
        ),
        "added up as they are": epoch_of(add=lambda loss, n: loss.item()),
        "divide it by their number": epoch_of(give=lambda total, samples: total),
        "by the number of batches": epoch_of(give=lambda total, samples: total / 2),
        "gave 4.85333, not 3.64": epoch_of(give=lambda total, samples: total / 3),
        "count those that come": epoch_of(give=lambda total, samples: total / 5),
    },
    "lesson_04.every_epoch": {
        "the test of epoch 1 was in training mode": train_and_test(
            before=lambda model: None, test=lambda model: None
        ),
        "epoch 2 trained in evaluation mode (batch 1)": train_and_test(before=lambda model: None),
        "the modes are right, and no weight has moved": train_and_test(order=("clear", "backward")),
        "now return the list of accuracies": train_and_test(give=len),
        "these numbers of images came through the model: []": lambda *arguments: [0.9, 0.9, 0.9],
    },
    "lesson_04.train_step": {
        "the gradients of the batches before are still in `.grad`": one_iteration(
            ("backward", "step")
        ),
        "the weights did not move": one_iteration(("clear", "backward")),
        "it returned None": one_iteration(give=lambda loss: None),
        "the loss came back as a tensor": one_iteration(give=lambda loss: loss),
        "[4.0, 2.56, 1.6384] are expected: those before": one_iteration(
            give=lambda loss: loss.item() / 2
        ),
        "`item` needs its brackets": one_iteration(give=lambda loss: loss.item),
        "`loss_fn` was never called": lambda model, images, labels, loss_fn, optimizer: (
            one_iteration()(model, images, labels, torch.nn.CrossEntropyLoss(), optimizer)
        ),
        "take one step a batch": lambda model, images, labels, *others: one_iteration()(
            model, labels, images, *others
        ),
    },
    "lesson_05.on_device": {
        "it changed the dictionary": lambda batch, to: (
            batch.update(images=batch["images"].to(to)) or batch
        ),
        "it left 'labels' on 'cpu'": lambda batch, to: batch | {"images": batch["images"].to(to)},
        "asked for 'cpu', it left 'images' on": lambda batch, to: {
            k: v.to("meta") for k, v in batch.items()
        },
        "under 'labels' it put other numbers": lambda batch, to: {
            k: batch["images"].to(to) for k in batch
        },
        "a dictionary with the names images, labels, lengths is expected": lambda batch, to: [
            v.to(to) for v in batch.values()
        ],
        "go through all of them.": lambda batch, to: {
            k: batch[k].to(to) for k in ("images", "labels")
        },
    },
    "lesson_05.seconds_of": {
        "the second reading comes before the work is done": stopwatch(
            "wait", "clock", "work", "clock"
        ),
        "it says 8 seconds, and the work takes 3. The other 5": stopwatch(
            "clock", "work", "wait", "clock"
        ),
        "it says 5 seconds, which is what the queue held before": stopwatch(
            "clock", "wait", "work", "clock"
        ),
        "it called `work()` 2 times": stopwatch("wait", "clock", "work", "work", "wait", "clock"),
        "subtract the earlier reading": stopwatch(
            "wait", "clock", "work", "wait", "clock", give=lambda a, b: a - b
        ),
        "that is a time of day": stopwatch(
            "wait", "clock", "work", "wait", "clock", give=lambda a, b: b
        ),
    },
    "lesson_05.mean_loss": {
        "it read the device 3 times for 3 batches": mean_of(),
        "it returned a tensor": mean_of(weighed),
        "weigh each loss by its samples": mean_of(
            lambda loss, n: loss, lambda total, n, k: (total / k).item()
        ),
        "divide by their number": mean_of(weighed, lambda total, n, k: total.item()),
        "by the number of samples": mean_of(weighed, lambda total, n, k: (total / k).item()),
        "multiply each by its samples": mean_of(
            lambda loss, n: loss, lambda total, n, k: (total / n).item()
        ),
        "the last batch alone": lambda model, batches, loss_fn: mean_of()(
            model, batches[-1:], loss_fn
        ),
    },
    "lesson_08.accumulate": {
        "took 1 steps: 2 are expected": accumulated(last=False),
        "every loader batch of a group counts alike": accumulated("batches"),
        "a sum over its images: divide it by their number": accumulated("nothing"),
        "by the 16 images of a full group: it holds 6": accumulated("a full group"),
        "before its group is complete": accumulated("so far"),
        "start a new count after each step": accumulated(again=False),
        "Clear it after each step, and the count with it": accumulated(clear=False),
        "4 backward passes for 12 loader batches": whole_group,
        "it returned None in place of their number, 2": accumulated(give=lambda steps: None),
    },
    "lesson_08.falling_rate": {
        **{message: falling(calls) for calls, message in WRONG_CALLS},
        "for batches, every, epochs = (9, 4, 2) gives 7, and 6 is expected": falling(
            lambda n, k, e: -(-n // k) * e + 1
        ),
    },
    "lesson_08.start_or_resume": {
        "there is no file yet": load_checkpoint,
        "on the first start it returned None": nothing_at_first,
        "it started anew": lambda path, model, optimizer: History(),
        "`load_checkpoint` returns the history": history_forgotten,
        "hand `optimizer` to `load_checkpoint`": only_weights,
        "it took a damaged file for none": anew_whatever_is_wrong,
    },
    "lesson_09.images_per_second": {
        "images that the short last batch doesn't have": paced(first=False),
        "the clock runs while the loader starts": paced(first=False, count=len),
        "count with `len(images)`": paced(),
        "don't count its images": paced(count=len, before=len),
        "these are batches per second": paced(before=lambda images: 1, count=lambda images: 1),
        "Turn the fraction around": paced(count=len, give=lambda n, s: s / n),
        "each pass starts the workers again": paced(count=len, again=True),
        "a batch is a pair": paced(count=lambda images: 2),
        "the time came out as 0": paced(count=len, give=lambda n, s: n / (s - s)),
        "10 / 5 = 2 is expected": lambda loader, clock: 9.0,
    },
    "lesson_09.epoch_seconds": {
        "this divides by 0": lambda n, load, train, w: n * max(load / w, train) / 1000,
    },
    "lesson_09.waits": {
        "the first one here only names the process": lambda events: [
            e["dur"] / 1000 for e in events
        ],
    },
    "lesson_09.whole_batches": {
        "with six images its length is 3": whole_batches(length=lambda images, labels: 3),
        "with an s": whole_batches(get="__getitem__"),
        "labels and images are swapped": whole_batches(
            item=lambda images, labels, k: (labels[k], images[k])
        ),
        "returned NoneType: two tensors are expected": whole_batches(
            item=lambda images, labels, k: None
        ),
        "Index the tensors with the list": whole_batches(
            item=lambda images, labels, k: [(images[i], labels[i]) for i in k]
        ),
        "it picks rows one by one and stacks them": whole_batches(
            item=lambda x, y, k: (torch.stack([x[i] for i in k]), y[k])
        ),
        "it returns others, or a different order": whole_batches(
            item=lambda images, labels, k: (images[sorted(k)], labels[sorted(k)])
        ),
        "the labels belong to others": whole_batches(
            item=lambda images, labels, k: (images[k], labels[sorted(k)])
        ),
    },
    "lesson_10.from_file": {
        "somewhere the whole file becomes an array": from_file(np.load),
        "mode 'c' reserves private memory": from_file(partial(mapped, mode="c")),
        "that changed the file on the disk": from_file(partial(mapped, mode="r+"), row=getitem),
        "that killed the process: the tensor still was the file": from_file(row=getitem),
        "`__len__` returned None: is a `return` missing?": from_file(length=lambda images: None),
        "the file holds 7,011 images": from_file(length=lambda images: images.size),
        "`__getitem__` returned None": from_file(tensor=lambda row: None),
        "make it a tensor with `torch.from_numpy`": from_file(tensor=lambda row: row),
        "has the shape (1, 3, 64, 64)": from_file(row=lambda images, k: images[k : k + 1].copy()),
        "has the type torch.float64": from_file(row=lambda images, k: images[k] / 255),
        "does `__getitem__` use its `index`?": from_file(row=lambda images, k: images[0].copy()),
        "does the dataset keep every sample?": keeping(),
        "it came back changed": keeping(least=7_000),
    },
    "lesson_10.mean_and_std": {
        "it returned float64: two numbers are expected": lambda path: in_blocks(path)[0],
        "take a block of the map first": lambda path: (mapped(path) / 255).mean(),
        "`std` subtracts the mean from every number": lambda path: (
            in_blocks(path)[0],
            mapped(path).std(),
        ),
        "Take fewer images at a time": partial(in_blocks, size=2_048),
        "scale the bytes to 0 to 1": partial(in_blocks, scale=1),
        "the last block is short. Lesson 03": means_of_blocks,
        "divided by the number of images": lambda path: (12_288 * in_blocks(path)[0], 0.3),
        "Inside a block it's small": lambda path: (in_blocks(path)[0], means_of_blocks(path)[1]),
        "the square of a byte needs two bytes": partial(
            in_blocks, square=lambda rows: rows**2 / 255**2
        ),
        "take its square root": partial(in_blocks, end=lambda m, q: q - m * m),
        "subtract the square of the mean": partial(in_blocks, end=lambda m, q: q**0.5),
        "this is the mean of the squares": partial(in_blocks, end=lambda m, q: q),
        "Does each image count once, the last one too?": partial(in_blocks, short=1),
    },
    "lesson_10.write_whole": {
        "It should hold all the parts, in order": lambda path, parts: renamed(
            path, list(parts)[:1]
        ),
        "an unfinished one was there: write under another name until the end.": write_directly,
        "at the end the old file was overwritten or removed": collect_first,
        "the file got its name before it was closed: its last bytes were not": rename_too_early,
        "let it through, or nobody will know": say_nothing,
        "write it beside `path`": elsewhere,
        "Write each one when it comes": lambda path, parts: renamed(path, [b"".join(parts)]),
        "the unfinished file got the name all the same": renamed_anyway,
        "mode 'x' does that": partial(renamed, mode="xb"),
    },
    "lesson_11.block_order": {
        "one list of indices is expected, not a list of lists": block_order(
            give=lambda indices: [list(indices)]
        ),
        "the short block too.": block_order(cut=lambda samples: samples - samples % 4),
        "the last index is 9.": lambda samples, block, random: list(range(12)),
        "keep a block's samples together": lambda samples, block, random: shuffled(
            range(samples), random
        ),
        "some never came: shuffle them": block_order(blocks=in_file_order),
        "inside a block the samples are still in file order": block_order(inside=in_file_order),
        "draw from the `random`": block_order(
            blocks=lambda items, random: shuffled(items, Random())
        ),
    },
    "lesson_11.shuffled_copy": {
        "you moved the images but not the labels": copied(labels=lambda labels, order: labels),
        "it returned 1000 labels": copied(labels=lambda labels, order: labels[order[:1_000]]),
        "order the labels exactly as": copied(read=lambda images, part: images[np.sort(part)]),
        "still in file order: shuffle them": copied(order=lambda count, random: np.arange(count)),
        "or there twice": copied(order=lambda count, random: random.integers(count, size=count)),
        "it read 2500 images at once": copied(step=2_500),
        "there is no file at `path`": lambda images, labels, path, random: labels,
    },
    "lesson_11.own_loader": {
        "draws from the whole file": partial(DataLoader, shuffle=True),
        "it reads in file order": DataLoader,
        "hands out 1,000 indices, but the `kept` used in this check (not yours)": own_loading(
            lambda kept: len(kept.dataset)
        ),
        "`Mapped` needs `collate_fn=tuple`": own_loading(collate_fn=tuple),
        "it mixes 96 blocks of 4: 4 blocks of 96 are expected": own_loading(block=4, window=96),
        "its batches hold 96: 32 are expected": own_loading(batch_size=96),
        "the loader reads something other than `kept`": lambda kept: own_loading()(kept.dataset),
    },
    "lesson_12.shuffle_buffer": {
        "At the end, what's left": buffered(),
        "it returned a list: it read everything before": lambda samples, size, random: [*samples],
        "with a buffer of 4, 10 samples were held at once": all_at_once,
        "a sample came 4 places early, and 3 is the most": lambda samples, size, random: buffered(
            rest=shuffled
        )(samples, size + 1, random),
        "draw from the `random` that you are given": lambda samples, size, random: buffered(
            rest=shuffled
        )(samples, size, Random()),
        "is always among [0]: fill it, then take any": buffered(
            lambda buffer, random: buffer.pop(0), shuffled
        ),
        "this mixes four samples, then the next four.": four_at_a_time,
        "comes out in order: shuffle it.": buffered(rest=in_file_order),
        "use `yield from`": buffered(rest=lambda buffer, random: [buffer]),
        "it shuffles the list you give it": buffered(
            rest=lambda buffer, random: random.shuffle(buffer)
        ),
    },
    "lesson_12.share": {
        **{message: shared_as(between, alone) for between, alone, message in UNSHARED},
        "`get_worker_info()` gives None, which has no `id`": shared,
        "worker 0 would take steps of 0": or_all(
            lambda samples, w: islice(samples, w.num_workers, None, w.id)
        ),
        "a stream has no index": or_all(lambda samples, w: samples[w.id :: w.num_workers]),
        "a stream has no length": or_all(
            lambda samples, w: islice(samples, len(samples) // w.num_workers)
        ),
        "it had read 9 samples when it gave its first": or_all(
            lambda samples, w: list(samples)[w.id :: w.num_workers]
        ),
        "it gave worker 1 of 2 ['a']": or_all(lambda samples, w: islice(samples, w.id)),
        "use `yield from`": lambda samples, w: iter([islice(samples, 1)]),
    },
    "lesson_12.epoch_order": {
        "each is expected once, in a list.": lambda shards, epoch, seed=0: Random(epoch).choices(
            shards, k=10
        ),
        "gave a different order the second time": ordered(lambda epoch, seed: Random()),
        "Shuffle a copy.": ordered(copy=lambda shards: shards),
        "no tuple or list as its seed": ordered(lambda epoch, seed: Random((seed, epoch))),
        "epochs 0 and 1 have the same order: the": ordered(lambda epoch, seed: Random(seed)),
        "the same order with seed 0: the": ordered(lambda epoch, seed: Random(seed * epoch)),
        "seeds 0 and 1 give the same order": ordered(lambda epoch, seed: Random(epoch)),
        "`hash` of a text is different in each process": ordered(
            lambda epoch, seed: Random(hash(f"{seed}, {epoch}"))
        ),
    },
    "lesson_12.checked": {
        "use `yield from`": lambda samples, promised: iter([samples]),
        "3 samples came, 5 were promised, and it raised nothing": checked(
            lambda came, promised: None
        ),
        "it had read 5 samples before it gave the first": read_first,
        "count on the way": lambda samples, promised: (
            compare(len(list(samples)), promised) or samples
        ),
        "of 5 samples it passed on []: each is expected once, in order": compared_inside,
        "5 samples came, 5 were promised, and it raised ValueError": checked(
            lambda came, promised: compare(came, promised, int.__eq__)
        ),
        "set it to 0 before the loop": counted_from_one,
        "it raised an AssertionError": checked(asserted),
        "a ValueError that names both numbers is expected": checked(refuse_with_one_number),
    },
    "lesson_14.pad": {
        "the rows are torch.float32, and the texts are torch.int64": partial(
            padded, kind=torch.Tensor.float
        ),
        "the rows are list, and the texts": partial(padded, kind=torch.Tensor.tolist),
    },
    "lesson_14.load_weights": {
        "only there": loading(lambda name: name.replace("module.", "")),
        "with `strict=False` PyTorch keeps quiet": loading(
            lambda name: name.replace("module.", ""), strict=False
        ),
        "`lstrip` removes letters": loading(lambda name: name.lstrip("module.")),
        "a file without `module.` has to load, too": loading(lambda name: name[7:]),
        "let PyTorch raise": loading(strict=False),
        "build a new one": loading_in_place,
        "in place of the model": loading(give=id),
    },
    "lesson_14.valid_loss": {
        "graphs were alive at once": mean_of(weighed, lambda total, n, k: (total / n).item()),
        "it changed `.grad`, which belongs to training": going_backward,
        "it changed `.grad`": backward_and_cleared,
        "it returned a tensor: turn it into a plain number": mean_of(weighed, graph=False),
        "a tensor that still carries a graph": mean_of(
            whole=lambda *_: torch.ones(1, requires_grad=True)
        ),
        "it left gradients switched off": without_gradients_for_good,
        "cuts off the fraction": mean_of(lambda loss, n: int(loss) * n),
        "the last one has only 2 images": mean_of(
            lambda loss, n: loss.item(), lambda total, n, k: total / k
        ),
        "the sum of all losses over all images": mean_of(lambda loss, n: loss.item()),
        "it returned None": mean_of(whole=lambda *_: None),
    },
    "lesson_15.good_images": {
        "the damaged one is still in it": good_files(lambda name, damaged: True),
        "these are the damaged ones": good_files(lambda name, damaged: name in damaged),
        "bulldog/2.png is gone, too": good_files(
            lambda name, damaged: Path(name).name != Path(damaged[0]).name
        ),
        "the damaged one is among": good_files(lambda name, damaged: name != "bulldog/0.png"),
        "returned list: return a dataset.": good_files(
            lambda name, damaged: name not in damaged, list
        ),
        "it has 4 samples: 8 files, one of them damaged, leave 7.": good_files(
            lambda name, damaged: name[:3] != "dog"
        ),
        "the folder has changed. Leave the damaged file on the disk": deleting,
    },
    "lesson_15.loaders": {
        "256 images of one class: the folder is sorted": both({}),
        "only 64 of 100 held-out images came": both(valid={"drop_last": True}),
        "a training batch has 64 samples": both(size=64),
        "hands out held-out images": both(last=lambda one, other: (other, one)),
        "the second loader hands out training images": lambda train, held_out: both()(train, train),
        "only 900 of 1,000 training images came in an epoch.": lambda train, held_out: both()(
            Subset(train, torch.randperm(1_000)[:900]), held_out
        ),
    },
    "lesson_15.planned": {
        "2,405 images, but there are 2,404 to learn from: one of the": project(samples=2_405),
        "leave out the held-out ones.": project(samples=3_007),
        "count the files of `train` that can be read.": project(samples=2_000),
        "it has 76 batches, the last of 4. A step has to learn from 256": project(batch_size=32),
        "5 epochs see 12,020 samples, and the budget is 10,000": project(epochs=5),
        "it has no peak: that takes both shape=": project(shape=None),
        "its peak has 0 bytes for the optimizer": project(optimizer_fn=torch.optim.SGD),
        "of one step, but only 88.00 MB are allowed: which part is the largest": project(
            model=network(), micro_batch_size=None
        ),
        "plan is int: `measure.plan(...)` makes one.": type("Project", (), {"plan": 40}),
    },
    "lesson_15.under_cap": {
        "requirement `memory`: the run ran out of memory under a cap of 88.00 MB": project(
            lambda self, *places: torch.zeros(100_000_000)
        ),
        "`train` returned tuple: return the model and its history": project(
            lambda self, data, checkpoint, epochs: (past(epochs), Firsts())
        ),
        "the history has no finished epoch of training.": project(
            lambda self, *places: (Firsts(), History())
        ),
        "it writes mine.txt outside the checkpoint's folder": ran(
            lambda data: (data / "mine.txt").write_text("mine")
        ),
        "it writes train outside the checkpoint's folder": ran(
            lambda data: os.rename(data / "train", data / "trained")
        ),
        "it starts a process: keep to one": ran(lambda data: os.system("true")),
        "it starts a process": ran(lambda data: get_context("spawn").Process().start()),
        "requirement `kept`: the plan isn't the one the run started": project(replanning),
        "`optimizer_steps`: 40 planned, 50 in the history.": project(
            lambda self, *places: (Firsts(), past(5))
        ),
        "`samples_per_epoch`: 2,404 planned, 3,007 in the history.": ran(samples=3_007),
        "leaves out the short last batch: give `drop_last=True` to both": ran(samples=2_304),
    },
    "lesson_15.learned": {
        "requirement `honest`: the history ends with train of epoch 4 and no accuracy": ran(),
        "its accuracy comes from 512 images: 603 are held out": ran(valid=(512, 0.99)),
        "the history says 99.0%, the model you returned gets": ran(valid=(603, 0.99)),
        "opened 1 of their files": peeking(0),
        "opened held-out files": peeking(3),
        "requirement `accuracy`: ": peeking(1),
    },
    "lesson_15.resumes": {
        "the second run didn't go on from the first": ran(),
        "it had trained for [3, 3, 3]: go by `epochs`": project(
            lambda self, *places: (Firsts(), past(3))
        ),
        "is that of an unbroken run, but the second isn't": going_on(
            loss=lambda epoch, done: 1 / epoch + done
        ),
        "differ in their first epoch: set a seed": going_on(
            loss=lambda epoch, done: perf_counter()
        ),
        "an epoch had 2,404 images": going_on(samples=2_404),
    },
}
