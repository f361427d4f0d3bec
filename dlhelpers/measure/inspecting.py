"""Look through a folder of images before you train on it: what is there, what is damaged, and how to read it."""

import shutil
from collections import Counter
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path

from dlhelpers.base.progress_bars import tqdm_bar
from dlhelpers.base.sizes import human_bytes
from dlhelpers.base.tables import ShownAsTable, Table
from dlhelpers.data.folders import CONTROL, ImageFiles, Unusable
from dlhelpers.machine.devices import cores
from dlhelpers.machine.memory import memory_budget

ROOM = 0.5  # the part of what is free that a dataset may take
WHY = {
    "memory": "as float32 it takes at most half of the free memory, so decode once and keep the tensors",
    "map": "too much for memory, so write it as one file with python -m dlhelpers pack, and map that",
    "stream": "too much for memory and for a second copy on this disk, so read it in sequence",
}


@dataclass(frozen=True, repr=False)
class FolderReport(ShownAsTable):
    """What lies in a folder of images, and how to read it. Shown as a table.

    files, bytes   of the images, as they lie on the disk
    sizes          (width, height) in pixels, as they are to be seen, and how many images have it
    damaged        the name and the reason of each image that cannot be decoded
    classes        the name of each class, and its images
    decoded_bytes  of all pixels at 3 bytes each; as float32 they take four times as many
    free_memory, free_disk   bytes
    """

    files: int
    bytes: int
    sizes: Counter[tuple[int, int]]
    damaged: dict[str, str]
    classes: Counter[str]
    decoded_bytes: int
    free_memory: int
    free_disk: int

    @property
    def recommendation(self) -> str:
        """How to read it: "memory" while float32 takes half of what is free there, then "map", then "stream"."""
        if 4 * self.decoded_bytes <= ROOM * self.free_memory:
            return "memory"
        return "map" if self.decoded_bytes <= ROOM * self.free_disk else "stream"

    def table(self) -> Table:
        """Return rows of what was found, with the numbers that decide; the damaged files are notes."""
        ((width, height), often), *_ = self.sizes.most_common()
        ranked = self.classes.most_common()
        (largest, most), (smallest, fewest) = ranked[0], ranked[-1]
        rows = [
            ["images", f"{self.files:,}, of them damaged {len(self.damaged):,}"],
            ["on the disk", human_bytes(self.bytes)],
            ["sizes", f"{len(self.sizes):,}, most often {width} x {height} pixels ({often:,})"],
            [
                "classes",
                f"{len(self.classes):,}, {smallest} {fewest:,} to {largest} {most:,} images",
            ],
            ["always guessing", f"{largest} is right for {most / self.files:.0%}"],
            ["decoded", f"{human_bytes(self.decoded_bytes)}, times 4 as float32"],
            ["free", f"{human_bytes(self.free_memory)} memory, {human_bytes(self.free_disk)} disk"],
            ["recommended", f"{self.recommendation}: {WHY[self.recommendation]}"],
        ]
        notes = [f"{name}: {reason}" for name, reason in self.damaged.items()]
        return Table(["what", "found"], rows, notes=notes)


def inspect_folder(folder: str | Path) -> FolderReport:
    """Decode each image of FOLDER/CLASS once, with all cores, and return what is there and how to read it.

    Links to folders inside a class are not followed; control characters in names are shown as "?". Raises OSError for
    what is no folder, or has no class or a class without images; ValueError for a folder of splits, a class that is a
    link to a folder above, and where no image can be decoded.
    """
    root = Path(folder)
    files = ImageFiles(root, size=1)  # with a size, images may differ in theirs
    for name in files.classes:
        if root.resolve().is_relative_to((root / name).resolve()):
            raise ValueError(f"{root / name} leads up to a folder that holds it: remove this link")
    sizes, damaged = Counter(), {}
    # on leaving, the pool drops what it has not begun, so an interrupt is quick
    with ThreadPool(cores()) as pool, tqdm_bar(True, total=len(files), unit="image") as bar:
        shapes = pool.imap(lambda index: files.decode(index).shape, range(len(files)))
        for _ in files.samples:
            try:
                _, height, width = next(shapes)
                sizes[width, height] += 1
            except Unusable as error:
                name, reason = error.args
                damaged[name] = reason
            bar.update()
    if not sizes:
        raise ValueError(f"no image of {len(files)} in {root} can be decoded: {name}, {reason}")
    return FolderReport(
        len(files),
        sum(Path(path).lstat().st_size for path, _ in files.samples),
        sizes,
        damaged,
        Counter(CONTROL.sub("?", files.classes[label]) for label in files.targets),
        sum(3 * width * height * many for (width, height), many in sizes.items()),
        memory_budget(),
        shutil.disk_usage(root).free,
    )
