"""What tests of word-level attacks share: a victim that counts cue words, and WordNet files written by hand."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from understudy.attacks.text.wordnet import PARTS

CUES = {"good": 2.0, "fine": 1.5, "great": 2.5, "film": 0.2, "bad": -2.0, "dull": -1.5, "poor": -2.5, "movie": 0.1}
SYNSETS: dict[str, list[list[str]]] = {
    "noun": [["film", "movie", "motion_picture"], ["good", "goodness"], ["story", "tale"], ["woman", "lady"]],
    "verb": [["run", "race"], ["film", "shoot"]],
    "adj": [["good", "poor", "sound(a)"], ["fine", "dull"], ["great", "Grand", "bad"], ["poor", "needy"]],
    "adv": [["well", "good"]],
}
EXCEPTIONS = {"noun": {"women": "woman"}, "verb": {"ran": "run"}}


class CueVictim:
    """Two classes: 1 where the cue words of a text sum to more than 0. Counts the texts that it is asked about."""

    classes = 2
    labels = ("negative", "positive")
    passes = 1.0
    sha256 = "cues"
    backbone = SimpleNamespace(unknown_token="[UNK]", visible_words=lambda text, context=None: len(text.split()))  # noqa: ARG005

    def __init__(self, cues: Mapping[str, float] = CUES) -> None:
        self.cues = cues
        self.asked = 0

    def logit(self, text: str) -> float:
        return 0.1 + sum(self.cues.get(word.lower().strip(".,!?()"), 0.0) for word in text.split())

    def probs(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> Tensor:  # noqa: ARG002
        self.asked += len(texts)
        positive = torch.sigmoid(torch.tensor([self.logit(text) for text in texts], dtype=torch.float64))
        return torch.stack([1 - positive, positive], dim=1).float()


@pytest.fixture
def cue_victim() -> CueVictim:
    return CueVictim()


MakeWordNet = Callable[..., Path]


@pytest.fixture
def make_wordnet(tmp_path: Path) -> MakeWordNet:
    """Return a function that writes a folder of WordNet's files from synsets: `make_wordnet()` gives SYNSETS."""

    def make_wordnet(
        name: str = "wordnet",
        *,
        synsets: Mapping[str, Sequence[Sequence[str]]] = SYNSETS,
        exceptions: Mapping[str, Mapping[str, str]] = EXCEPTIONS,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for part in PARTS:
            _write_part(folder, part, synsets.get(part, [["word", "term"]]))
            lines = [f"{form} {base}\n" for form, base in exceptions.get(part, {"zz": "z"}).items()]
            (folder / f"{part}.exc").write_text("".join(lines))
        return folder

    return make_wordnet


def _write_part(folder: Path, part: str, synsets: Sequence[Sequence[str]]) -> None:
    data, offsets = "  1 a licence stands at the top  \n", {}
    for names in synsets:
        offset = len(data)
        words = " ".join(f"{name} 0" for name in names)
        data += f"{offset:08d} 03 {part[0]} {len(names):02x} {words} 000 | a gloss  \n"
        for name in names:
            offsets.setdefault(name.partition("(")[0].lower(), []).append(offset)
    index = "  1 a licence stands at the top  \n"
    for lemma, own in sorted(offsets.items()):
        listed = " ".join(f"{offset:08d}" for offset in own)
        index += f"{lemma} {part[0]} {len(own)} 1 @ {len(own)} 0 {listed}  \n"
    (folder / f"data.{part}").write_text(data)
    (folder / f"index.{part}").write_text(index)
