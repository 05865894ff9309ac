"""Lines that the cards of text models share."""

import re
from pathlib import Path

_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def base_model(spec: str) -> str:
    """Return the line of the front matter for a backbone of the hub; none for a folder on somebody's machine."""
    return f"base_model: {spec}\n" if _HUB_NAME.fullmatch(spec) and not Path(spec).exists() else ""
