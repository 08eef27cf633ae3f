"""What the build adds to the project's metadata: the README as a package index shows it."""

import sys
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

ROOT = Path(__file__).parent


class ReadmeHook(MetadataHookInterface):
    """Sets ``readme``, whose relative links would lead nowhere."""

    def update(self, metadata: dict) -> None:
        """Add the text; its links lead to the address called Source, if the project names one."""
        sys.path.insert(0, str(ROOT / "docs" / "tools"))
        from index_readme import for_index

        text = (ROOT / "README.md").read_text(encoding="utf-8")
        base = metadata.get("urls", {}).get("Source")
        metadata["readme"] = {"content-type": "text/markdown", "text": for_index(text, base)}
