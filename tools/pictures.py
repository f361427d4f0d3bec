"""Write the pictures of README and site: those that the lessons show, taken from their stored outputs.

python tools/pictures.py    after a lesson was run anew; a test knows when they are stale
"""

import base64
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURES = {"sawtooth": ("03_weigh_your_averages", "draw-sizes")}


def picture(lesson: str, cell: str) -> bytes:
    """Return the picture that a cell of a lesson shows, as PNG."""
    book = json.loads((ROOT / "notebooks" / f"{lesson}.ipynb").read_text(encoding="utf-8"))
    [outputs] = [found["outputs"] for found in book["cells"] if found["id"] == cell]
    shown = "".join(outputs[0]["data"]["text/html"])
    return base64.b64decode(re.search('data:image/png;base64,([^"]+)', shown)[1])


if __name__ == "__main__":
    for name, place in PICTURES.items():
        (ROOT / "docs" / "images" / f"{name}.png").write_bytes(picture(*place))
