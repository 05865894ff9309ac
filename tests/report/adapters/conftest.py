"""Folders of studies of text classifiers under attack, with made-up numbers."""

import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

MakeStudy = Callable[..., Path]


@dataclass(frozen=True)
class Text:
    """A page as one reads it: its words with plain spaces, its source, and the ids of its sections."""

    words: str
    source: str
    sections: list[str]

    @property
    def first(self) -> str:
        """What stands above the first section."""
        return self.words.partition("Clean and attacked accuracy")[0]


@pytest.fixture
def read() -> Callable[[Path], Text]:
    """Return a function that reads a page: no markup, scripts or styles."""

    def words(page: Path) -> Text:
        source = page.read_text(encoding="utf-8")
        bare = re.sub(r"<(script|style).*?</\1>", " ", source, flags=re.DOTALL)
        text = re.sub(r"</?(?:b|code|abbr|strong|mark)\b[^>]*>", "", bare)
        plain = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())
        return Text(plain, bare, re.findall(r'<section id="([^"]+)"', bare))

    return words


@pytest.fixture
def make_study(tmp_path: Path, studies: Any) -> MakeStudy:
    """Return a function that writes the folder of a study; `edit` changes the record before it is written."""

    def make(
        *args: Any, edit: Callable[[dict[str, Any]], object] | None = None, file: str = "withstand.json", **parts: Any
    ) -> Path:
        record = studies.made_up(*args, **parts)
        if edit is not None:
            edit(record)
        folder = tmp_path / "withstand-1a2b3c"
        folder.mkdir(exist_ok=True)
        (folder / file).write_text(json.dumps(record), encoding="utf-8")
        return folder

    return make
