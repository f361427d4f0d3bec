"""Where the bytes of a training are: what has to stay, what may be dropped, and what a monitor adds up."""

from dlhelpers.explore.frames import Explorer, name_rows
from dlhelpers.show.plots import PALETTE, new_axes, show

LIMIT = 4  # GB of a pretended container
PROCESS = 0.3  # GB of Python and PyTorch, which a forked worker shares
WORKER = {"fork": 0.02, "spawn": 0.3}  # GB of its own that each worker adds, without data
BATCHES = 2  # that wait for each worker
IMAGE = 0.602112e-3  # GB of an image of 3 x 224 x 224 float32
TRIES = (
    "Raise the dataset to 60 GB. Where do the two bars stop, and is this run in danger?",
    "Go back to 1 GB, choose a list, and add workers, from 0 up. When does it break? And with an array?",
    "Switch to spawn, with 4 workers. What happens with the array, the map, and the path of a map?",
)


def explore_kinds() -> Explorer:
    """Play with what a dataset keeps and how its workers start: does a training fit into 4 GB?

    A forked worker copies a list of small objects as it reads it, and shares an array. Under spawn (forkserver is
    alike) it gets a pickle, with a copy of all but a path. Pages of a file fill what is left. The monitor adds up the
    resident size of each process, in which pages that several of them share count several times.
    """
    controls = (
        ("the dataset keeps", "the path of a map", "a map", "an array", "a list"),
        ("workers start by", "fork", "spawn"),
        ("dataset (GB)", 1, 1, 60),
        ("workers", 4, 0, 8),
        ("batch size (images)", 64, 1, 256),
    )
    contrasts = ("a list", "fork", 2, 2, 64), ("a map", "spawn", 2, 2, 64)
    return Explorer(_draw, controls, TRIES, contrasts)


def _draw(kept, start, size, workers, batch_size):
    mapped = kept.endswith("map")
    copied = kept == "a list" or start == "spawn" and kept != "the path of a map"
    loaded = 0 if mapped else size
    anonymous = PROCESS + loaded + workers * (WORKER[start] + copied * size)
    shared = workers * BATCHES * batch_size * IMAGE
    needed = anonymous + shared
    pages = max(0, min(size, LIMIT - needed)) if mapped else 0
    seen = pages if mapped and not copied else size  # by each worker
    resident = (1 + workers) * PROCESS + shared + loaded + workers * seen
    if mapped and (copied or not workers):
        resident += pages  # the main process has read them
    ax, left = new_axes(5.8, 2), 0
    for k, part in enumerate((anonymous, shared, pages)):
        look = {"color": PALETTE[k]}
        if k == 2:
            look = {"facecolor": "white", "edgecolor": PALETTE[2], "hatch": "//"}
        ax.barh(0, part, left=left, height=0.6, **look)
        left += part
    ax.barh(1, resident, height=0.6, color="#999999")
    names = f"each page counted once\n{left:.2f} GB", f"resident, added up\n{resident:.2f} GB"
    ax.axvline(LIMIT, color=PALETTE[4])
    axis = "GB; blue: anonymous, yellow: shared, hatched: pages of the file; red: the limit"
    name_rows(ax, names, 4 * LIMIT, "")
    ax.set_xlabel(axis, fontsize=9, loc="right")
    verdict = "fits" if needed <= LIMIT else "does not fit"
    return show(
        ax,
        f"{kept.capitalize()} of {size} GB; workers: {workers} ({start}). {anonymous:.2f} GB anonymous and"
        f" {shared:.2f} GB shared: that {verdict} under {LIMIT} GB. Pages of the file take {pages:.2f} GB of"
        f" what is left. A monitor that adds up resident sizes says {resident:.2f} GB.",
    )
