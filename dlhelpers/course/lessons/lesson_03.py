"""What lesson 03, Weigh your averages, asks."""

from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

TITLE = "Weigh your averages"

constant_model = Prediction(
    "lesson_03.constant_model",
    'A model that has learned nothing answers "1" to every image. Of our 75 images, 19 show a one. What is the model\'s'
    " accuracy, in percent to the nearest tenth?",
    answer=25.3,
    within=0.05,
    because="19 right answers in 75 are 25.3 %.",
    wrong={
        33.3: "That would hold if the three classes were equally many.",
        19: "19 is the number of right answers; divide it by 75.",
        0.253: "That is the fraction; the question asks for percent.",
    },
    hints=["Accuracy is right answers divided by all answers.", "100 * 19 / 75"],
)

usual_loop = Prediction(
    "lesson_03.usual_loop",
    "75 images, sorted by class, come in batches of 32, 32 and 11, and the truth is 25.3 %. Does this loop print"
    ' "more", "less" or "the same"?',
    answer="less",
    choices=("more", "less", "the same"),
    because="The last 11 images are all twos. Their accuracy of 0 counts as much as that of 32 images.",
    wrong={
        "more": "It would print more if the short last batch were better than the others.",
        "the same": "It would be the same if all batches were equally long.",
    },
    hints=[
        "25 zeros, 19 ones and 31 twos: what do the last 11 images show, and what does the model say to them?"
    ],
)

sample_weight = Prediction(
    "lesson_03.sample_weight",
    "Each of the three batches gets the same weight in the mean of batch means. How many times as much does one image"
    " in the batch of 11 count as one image in a batch of 32? (To the nearest tenth.)",
    answer=2.9,
    within=0.06,
    because="Among 11 images, each has 1/11 of its batch's weight; among 32, each has 1/32. That is 32 to 11.",
    wrong={
        1: "It would be 1 if all batches were equally long. Here 11 images share what elsewhere 32 share.",
        0.344: "It is the other way round: in a small batch each image counts for more.",
        0.3: "It is the other way round: in a small batch each image counts for more.",
        3: "Close, but divide 32 by 11.",
    },
    hints=["One image in a batch of n has 1/n of the batch's weight.", "(1 / 11) / (1 / 32)"],
)

worst_pair = Prediction(
    "lesson_03.worst_pair",
    "257 images in batches of 256. The model is right on the first 256 and wrong on the last one. Which accuracy, in"
    " percent, does the mean of batch means print?",
    answer=50,
    within=0.2,
    because="Two batches, one at 100 % and one at 0 %: a single image counts as much as the other 256 together.",
    wrong={
        99.6: "That is the truth, and what weighing would print. The mean of batch means has two batches to average.",
        0.5: "That is the fraction; the question asks for percent.",
        0: "The last batch alone has 0 %. It is averaged with the first.",
        100: "One image is wrong, and it has a batch to itself.",
    },
    hints=["How many batches are there, and what is the accuracy of each?"],
)

all_batch_sizes = Prediction(
    "lesson_03.all_batch_sizes",
    "We evaluate a trained model on all 359 test images with `evaluate`, once for each batch size from 1 to 359. How"
    " many different accuracies come out?",
    answer=1,
    because="Each image counts once, however the images are grouped.",
    wrong={
        359: "That is the number of batch sizes. With the mean of batch means, many of them would differ.",
        2: "Whether the batch size divides the number of images no longer matters once samples are weighed.",
    },
    hints=["evaluate adds over samples and divides by samples. Where does the batch size enter?"],
)

divides = Question(
    "lesson_03.divides",
    "For which batch sizes is the mean of batch means right for every model?",
    [
        Choice(
            "For small ones",
            "a batch size of 1 is safe, but 2 on 75 images already leaves a last batch of 1.",
        ),
        Choice(
            "For those that divide the number of samples",
            "then all batches hold equally many samples, and equal weights are the right weights. A batch size as"
            " large as the dataset, or larger, is the same case with one batch.",
            right=True,
        ),
        Choice(
            "For powers of two", "64 does not divide 75. Powers of two are a habit, and no cure."
        ),
        Choice(
            "For none: only shuffling makes it right",
            "shuffling decides which images are in the short last batch, so the error turns random. It is not gone.",
        ),
    ],
    hints=["When do all batches deserve the same weight?"],
)

f1_scores = Question(
    "lesson_03.f1_scores",
    "The F1 score of a class is 2 T / (2 T + F), where T counts the images of the class that the model found. F counts"
    " its mistakes about the class: images of the class that it missed, plus images of other classes that it took for"
    " this one. A colleague weighs the F1 score of each batch with the number of its samples. Is the result the F1"
    " score of the dataset?",
    [
        Choice(
            "Yes, weighing with samples repairs every average",
            "it repairs means over samples, and F1 is none.",
        ),
        Choice(
            "No, because F1 is not a mean over samples",
            "it is a ratio of counts. Add up T and F over all batches, and divide once at the end.",
            right=True,
        ),
        Choice(
            "Only if the last batch is full",
            "even with equal batches, a mean of ratios is not the ratio of sums.",
        ),
    ],
    hints=["Can you write F1 as a sum over samples, divided by their number?"],
)

mean_loss = Exercise(
    "lesson_03.mean_loss",
    """
    Write `mean_loss(losses, sizes)`: the mean over all samples, where `losses` holds the mean loss of each batch and
    `sizes` the number of its samples. Do not round.
    """,
    minutes=5,
    cases=[
        (([1.0, 3.0], [1, 1]), 2.0),
        (([1.0, 3.0], [3, 1]), 1.5),
        (([0.0, 0.0, 1.0], [32, 32, 11]), 11 / 75),
        (([1.0, 2.0, 6.0], [3, 1, 2]), 17 / 6),
        (([2.5], [7]), 2.5),
    ],
    wrong=[
        (
            lambda losses, sizes: sum(losses) / len(losses),
            "this is the mean of batch means: a batch of 1 counts as much as a batch of 3.",
        ),
        (
            lambda losses, sizes: (
                sum(loss * n for loss, n in zip(losses, sizes, strict=True)) / len(sizes)
            ),
            "the weights are right, but the sum is divided by the number of batches. Divide by the samples.",
        ),
        (
            lambda losses, sizes: sum(loss * n for loss, n in zip(losses, sizes, strict=True)),
            "this is the sum over all samples. Divide it by their number.",
        ),
        (
            lambda losses, sizes: sum(losses) / sum(sizes),
            "the losses are means already: multiply each by its number of samples before you add.",
        ),
    ],
    hints=[
        "A batch's mean times its size is the sum over its samples.",
        "Add those sums, and divide by the number of all samples.",
    ],
    code="""
    def mean_loss(losses, sizes):
        return sum(loss * n for loss, n in zip(losses, sizes)) / sum(sizes)
    """,
)

running_mean = Exercise(
    "lesson_03.running_mean",
    """
    A progress bar shows the mean of all samples so far. Write `running_mean(mean, seen, batch_mean, n)`: the new mean
    after a batch of `n` samples with the mean `batch_mean`, when the `seen` samples before had the mean `mean`. At the
    first batch `seen` is 0; one formula serves for all batches.
    """,
    minutes=10,
    cases=[
        ((0.0, 0, 0.5, 32), 0.5),
        ((1.0, 3, 3.0, 1), 1.5),
        ((0.5, 64, 0.0, 11), 32 / 75),
        ((2.0, 5, 2.0, 3), 2.0),
    ],
    wrong=[
        (
            lambda mean, seen, batch_mean, n: (mean + batch_mean) / 2,
            "this gives the newest batch half of all the weight, however many samples came before.",
        ),
        (
            lambda mean, seen, batch_mean, n: (mean * n + batch_mean * seen) / (seen + n),
            "the weights are exchanged: `mean` stands for `seen` samples, `batch_mean` for `n`.",
        ),
        (
            lambda m, seen, b, n: m * seen + b * n,
            "this is the sum over all samples. Divide it by their number.",
        ),
        (
            lambda mean, seen, batch_mean, n: (mean + batch_mean * n) / (seen + n),
            "`mean` is a mean already: times `seen`, it is the sum over the samples before.",
        ),
        (
            lambda mean, seen, batch_mean, n: (
                (mean * seen + batch_mean * n) / seen if seen else batch_mean
            ),
            "the sum is right. Divide it by all samples, those of this batch too.",
        ),
        (
            lambda mean, seen, batch_mean, n: 0.9 * mean + 0.1 * batch_mean,
            "this is an exponential average. Many bars show one: it is smooth, and it is not the mean of the epoch.",
        ),
        (
            lambda mean, seen, batch_mean, n: mean + (batch_mean - mean) / (seen + 1),
            "this counts the batch as one sample: it has n.",
        ),
    ],
    hints=[
        "Go back to sums: what do the samples seen so far add up to?",
        "mean * seen + batch_mean * n",
    ],
    code="""
    def running_mean(mean, seen, batch_mean, n):
        return (mean * seen + batch_mean * n) / (seen + n)
    """,
)
