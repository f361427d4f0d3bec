"""Write the pictures of README and site: those that the lessons show, taken from their stored outputs.

python tools/pictures.py    after a lesson was run anew; a test knows when they are stale
"""

import base64
import re

from shown import ROOT, cells

PICTURES = {"sawtooth": ("03", "draw-sizes")}


def picture(lesson: str, cell: str) -> bytes:
    """Return the picture that a cell of a lesson shows, as PNG."""
    shown = "".join(cells(lesson)[cell]["outputs"][0]["data"]["text/html"])
    return base64.b64decode(re.search('data:image/png;base64,([^"]+)', shown)[1])


if __name__ == "__main__":
    for name, place in PICTURES.items():
        (ROOT / "docs" / "images" / f"{name}.png").write_bytes(picture(*place))
