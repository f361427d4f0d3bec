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


JUDGED = {
    "lesson_01.every_other": [
        (Whole, "must return the number of samples you keep"),
        (RoundedDown, "samples 0, 2, 4 and 6 are four. Round up."),
        (IndexPassedOn, "Sample k of yours is sample 2 * k."),
        (OddOnes, "IndexError: index 7 is beyond a dataset of 7 samples"),
        (OneTooMany, "of six and seven samples it has the lengths 4 and 4: 3 and 4 are expected."),
        (NoLength, "`__len__` gave back None: is a `return` missing?"),
        (NoSample, "`__getitem__` gave back None"),
        (NoLabel, "a sample came without its label"),
        (Backwards, "of the samples 0 to 6 it returns [6, 4, 2, 0]"),
        (NoEnd, "index 4 is beyond its length of 4"),
        (len, "a class is expected"),
    ]
}
