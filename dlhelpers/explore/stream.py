"""Workers as lanes: which samples of a stream each hands out, in which order, and which have come before."""

from random import Random

from dlhelpers.data.streams import shuffle_buffer
from dlhelpers.explore.frames import Explorer, name_rows
from dlhelpers.show.plots import PALETTE, counted, new_axes, show

SAMPLES, GAP = 20, 0.5  # of the stream; between two batches
TRIES = (
    "Let two workers share the stream, then one, then three. When is a batch short, even though 4 divides 20?",
    "Two workers that share, each with a buffer of 20, big enough for everything it gets: is that a full shuffle?"
    " Look for an odd number in the batches of worker 0.",
    "One worker, buffers of 2, 4 and 8: how many places early can a sample come, and how many late? Which of the two"
    " follows a rule?",
)


def explore_stream() -> Explorer:
    """Play with the workers and the shuffle buffer of a loader over a stream of 20 samples: what comes, and when?"""
    controls = (
        ("workers", 2, 1, 3),
        ("workers share the stream", False),
        ("buffer per worker (samples)", 1, 1, SAMPLES),
        ("batch size (samples)", 4, 1, 8),
    )
    return Explorer(_draw, controls, TRIES, ((2, True, 1, 4), (1, True, 8, 4)))


def _draw(workers, shared, buffer, batch_size):
    """Draw a lane for each worker; the loader takes a batch from each in turn."""
    lanes, early, late = [], 0, 0
    for w in range(workers):
        part = range(w, SAMPLES, workers) if shared else range(SAMPLES)
        lanes.append(list(shuffle_buffer(part, buffer, Random(w))))
        moved = [part.index(sample) - place for place, sample in enumerate(lanes[w])]
        early, late = max(early, *moved), max(late, -min(moved))
    came, repeats, sizes = set(), set(), []
    for start in range(0, len(lanes[0]), batch_size):
        for w, lane in enumerate(lanes):
            batch = lane[start : start + batch_size]
            repeats |= {(w, sample) for sample in batch if sample in came}
            came |= {*batch}
            sizes += [len(batch)] * bool(batch)
    ax = new_axes(5.8, 0.5 + 0.4 * workers)
    for w, lane in enumerate(lanes):
        places = [k + GAP * (k // batch_size) for k in range(len(lane))]
        colour = (PALETTE[5], PALETTE[1], PALETTE[2])[w]
        boxes = ax.bar(places, 0.72, 0.94, w - 0.36, color=colour, edgecolor="#555555")
        for x, box, sample in zip(places, boxes, lane, strict=True):
            if (w, sample) in repeats:
                box.set(facecolor="white", edgecolor=colour, hatch="///")
            # no label of bars: those take twice as long to draw
            ax.text(x, w, sample, ha="center", va="center", fontsize=8, in_layout=False)
    wide = SAMPLES + GAP * (SAMPLES // batch_size)
    axis = "its batches, from left to right; hatched: the sample came before"
    name_rows(ax, [f"worker {w}" for w in range(workers)], wide, axis)
    ax.set(xticks=[], xlim=(-0.7, wide))
    ax.tick_params(length=0)
    return show(
        ax,
        f"{counted(workers, 'worker')}: {sum(sizes)} samples come in {counted(len(sizes), 'batch')},"
        f" {sum(size < batch_size for size in sizes)} of them short; {len(repeats)} samples are repeats. Within its"
        f" worker, a sample comes at most {early} places early and {late} late.",
    )
