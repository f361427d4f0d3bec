"""A sheet to draw a digit on, pixel by pixel, and ten bars: what a small network takes it for."""

from functools import cache

import ipywidgets
import torch
from torch import Tensor, nn

from dlhelpers.data import load
from dlhelpers.explore.frames import Explorer
from dlhelpers.show.plots import PALETTE, new_axes, show
from dlhelpers.train.loop import fit

PAD = 4  # pixels of paper around a scan, so that it can be moved
TRIES = (
    "Move the 3 one column to the left. What is it now, and how sure is the network?",
    "Swap ink and paper, then go through the ten scans. What do they all become?",
    "Choose blank and draw a face. Click a pixel to turn it over. Which digit is your face?",
)


def explore_digit(model: nn.Module | None = None) -> Explorer:
    """Draw on 8 x 8 pixels, move the drawing, swap ink and paper: what does a network make of it?

    model  gives ten scores for images (n, 1, 8, 8); else lesson 00's network, trained in a moment on its scans
    """
    sheets, model = _sheets(), model or _trained()
    keys = [ipywidgets.Button(layout={"width": "30px", "height": "30px"}) for _ in range(64)]
    seen = {}  # of what was drawn last: its start, its sheet, and the pixels in sight

    def draw(start: str, right: int, down: int, swapped: bool):
        if start != seen.get("start"):
            seen.update(start=start, sheet=sheets[start].clone())
        top, left = PAD - down, PAD - right
        seen["pixels"] = seen["sheet"][top : top + 8, left : left + 8]
        image = 1 - seen["pixels"] if swapped else seen["pixels"]
        for key, grey in zip(keys, (255 * image.flatten()).int().tolist(), strict=True):
            key.style.button_color = f"rgb({grey},{grey},{grey})"
        how = f"{start}, {right:+d} columns, {down:+d} rows{', ink and paper swapped' * swapped}"
        return _draw(model, image, how)

    controls = (
        ("start from", "3", "blank", *"012456789"),
        ("columns to the right", 0, -PAD, PAD),
        ("rows down", 0, -PAD, PAD),
        ("swap ink and paper", False),
    )
    explorer = Explorer(draw, controls, TRIES, [("3", -1, 0, False), ("3", 0, 0, True)])
    explorer.redraw()  # the contrasts were drawn last

    def turn(key: ipywidgets.Button) -> None:
        place = divmod(keys.index(key), 8)
        seen["pixels"][place] = 1 - seen["pixels"][place]
        explorer.redraw()

    for k, key in enumerate(keys):
        key.tooltip = f"row {k // 8 + 1}, column {k % 8 + 1}"
        key.on_click(turn)
    columns = {"grid_template_columns": "repeat(8, 30px)", "grid_gap": "1px"}
    column = explorer.widget.children[0]
    column.children = ipywidgets.GridBox(keys, layout=columns), *column.children
    return explorer


@cache
def _sheets() -> dict[str, Tensor]:
    """Blank paper, and on such paper the first scan of each digit."""
    scans = load("digits", "train")
    sheets = {"blank": torch.zeros(2 * PAD + 8, 2 * PAD + 8)}
    for digit, name in enumerate(scans.classes):
        scan = scans.images[scans.labels == digit][0, 0]
        sheets[name] = nn.functional.pad(scan, (PAD,) * 4)
    return sheets


@cache
def _trained() -> nn.Module:
    """The network of lesson 00 after 40 steps, each on all training scans; the caller's random state is kept."""
    scans = load("digits", "train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        whole = [(scans.images, scans.labels)]
        fit(model, whole, nn.CrossEntropyLoss(), optimizer, epochs=40, progress=False)
    return model


def _draw(model, image, how):
    with torch.inference_mode():
        where = next(model.parameters()).device
        chances = (100 * model(image[None, None].to(where)).softmax(dim=1)[0]).tolist()
    ax = new_axes(4.4, 2.5)
    picture = ax.inset_axes((-0.6, 0, 0.55, 1))
    picture.imshow(image.numpy(), cmap="gray", vmin=0, vmax=1)
    picture.set(xticks=[], yticks=[])
    second, first = sorted(range(10), key=chances.__getitem__)[-2:]
    colours = [PALETTE[1 if digit == first else 5] for digit in range(10)]
    bars = ax.bar(range(10), chances, color=colours)
    ax.bar_label(bars, [f"{chance:.0f}" for chance in chances], fontsize=9)
    axis = "digit, and what the network gives it (%)"
    ax.set(xticks=range(10), yticks=[], ylim=(0, 112), xlabel=axis, frame_on=False)
    return show(
        ax,
        f"The network says {first}, with {chances[first]:.0f} %, then {second}, with {chances[second]:.0f} %. (Drawn:"
        f" {how}.)",
    )
