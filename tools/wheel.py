"""For the build: the README as a package index shows it, where a link within the repository would lead nowhere."""

import sys
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

sys.path.insert(0, str(Path(__file__).parent))
from addresses import ROOT, full, home


class ReadmeHook(MetadataHookInterface):
    """Gives each picture and link of the README its full address."""

    def update(self, metadata: dict) -> None:
        """Write the field `readme`."""
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": full(text, home())}
