"""Known mistakes in exercises that are judged by a function of their own, each with the message it must get."""


class Whole:
    """A learner's dataset that keeps every sample; the others differ from it in a line or two."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return self.dataset[2 * index]


class RoundedDown(Whole):
    def __len__(self):
        return len(self.dataset) // 2


class IndexPassedOn(Whole):
    def __len__(self):
        return (len(self.dataset) + 1) // 2

    def __getitem__(self, index):
        return self.dataset[index]


class OddOnes(IndexPassedOn):
    def __getitem__(self, index):
        return self.dataset[2 * index + 1]


class OneTooMany(Whole):
    def __len__(self):
        return len(self.dataset) // 2 + 1


class NoEnd(IndexPassedOn):
    def __getitem__(self, index):
        return self.dataset[2 * index % len(self.dataset)]


class NoLength(Whole):
    def __len__(self):
        len(self.dataset)


class NoSample(IndexPassedOn):
    def __getitem__(self, index):
        self.dataset[2 * index]


class NoLabel(IndexPassedOn):
    def __getitem__(self, index):
        return self.dataset[2 * index][0]


class Backwards(IndexPassedOn):
    def __getitem__(self, index):
        return self.dataset[6 - 2 * index]


def one_iteration(*order, give=lambda loss: loss.item()):
    """A learner's train_step that makes these calls in this order, and returns what `give` makes of the loss."""

    def train_step(model, images, labels, loss_fn, optimizer):
        loss = loss_fn(model(images), labels)
        calls = {"clear": optimizer.zero_grad, "backward": lambda: loss.backward(retain_graph=True)}
        for name in order:
            calls.get(name, optimizer.step)()
        return give(loss)

    return train_step


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


JUDGED = {
    "lesson_01.every_other": [
        (Whole, "must return the number of samples you keep"),
        (RoundedDown, "samples 0, 2, 4 and 6 are four. Round up."),
        (IndexPassedOn, "Sample k of yours is sample 2 * k."),
        (OddOnes, "IndexError: index 7 is beyond a dataset of 7 samples"),
        (OneTooMany, "of five, six and seven samples it has the lengths [3, 4, 4]: 3, 3 and 4 are expected."),
        (NoLength, "`__len__` gave back None: is a `return` missing?"),
        (NoSample, "`__getitem__` gave back None"),
        (NoLabel, "a sample came without its label"),
        (Backwards, "of the samples 0 to 6 it returns [6, 4, 2, 0]"),
        (NoEnd, "index 4 is beyond its length of 4"),
        (len, "a class is expected"),
    ],
    "lesson_04.train_step": [
        (one_iteration("backward", "step"), "the gradients of the batches before are still in `.grad`"),
        (one_iteration("clear", "backward"), "the weights did not move"),
        (one_iteration("clear", "step", "backward"), "the weights did not move"),
        (one_iteration("backward", "clear", "step"), "the weights did not move"),
        (one_iteration("clear", "backward", "step", "step"), "take one step a batch"),
        (one_iteration("clear", "backward", "step", give=lambda loss: None), "it gave back None"),
        (one_iteration("clear", "backward", "step", give=lambda loss: loss), "the loss came back as a tensor"),
        (
            one_iteration("clear", "backward", "step", give=lambda loss: loss.item() / 2),
            "[1.0, 0.64, 0.4096] are expected: those before",
        ),
        (3, "a function is expected"),
    ],
    "lesson_07.whole_batches": [
        (len, "a class is expected"),
        (whole_batches(length=lambda labels: 3), "of six images its length is 3"),
        (whole_batches(batch=lambda images, labels, k: None), "gave back NoneType: two tensors are expected"),
        (whole_batches(batch=lambda images, labels, k: images[k]), "gave back Tensor: two tensors are expected"),
        (
            whole_batches(batch=lambda images, labels, k: [(images[i], labels[i]) for i in k]),
            "Index the tensors with the list",
        ),
        (whole_batches(batch=lambda images, labels, k: (images, labels)), "gives others, or another order"),
        (
            whole_batches(batch=lambda images, labels, k: (images[sorted(k)], labels[sorted(k)])),
            "gives others, or another order",
        ),
        (whole_batches(batch=lambda images, labels, k: (images[k], labels[sorted(k)])), "the labels are not theirs"),
    ],
}
