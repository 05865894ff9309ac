"""BAE-R: candidates come from a masked language model at the place in the current text; what it refuses."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.attacks.text import Record, Resources, Sentence, Words, attack_sentences
from understudy.attacks.text.bae import BAE, MaskedCandidates
from understudy.attacks.text.masked_lm import MaskedWords
from understudy.errors import DependencyError
from understudy.models.text.tiny import build_tiny

WORDS = ("good", "bad", "fine", "film", "plot", "dull", "poor", "story", "great", "movie")
SENTENCES = [Sentence("A good film , a fine story", 1, 0), Sentence("the great film", 1, 1), Sentence("of the", 1, 2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked language model of weights so large that the context decides, as in a trained one."""
    transformers: Any = pytest.importorskip("transformers")
    folder = build_tiny(WORDS, tmp_path_factory.mktemp("bae") / "lm", hidden=32, max_length=32, seed=5)
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder)
    with torch.no_grad():
        for weight in model.bert.encoder.parameters():
            weight.mul_(10.0)
    model.save_pretrained(folder)
    return folder


def records(attack: BAE, victim: Any, resources: Resources) -> list[Record]:
    return [
        record for part in attack_sentences(attack, victim, SENTENCES, seed=0, resources=resources) for record in part
    ]


def test_every_new_word_is_one_that_the_model_expects_there(cue_victim: Any, folder: Path) -> None:
    found = records(BAE(word_class=False, max_candidates=20), cue_victim, Resources(masked_lm=str(folder)))
    assert [record.status for record in found] == ["success", "success", "failed"]
    assert found[2].no_candidates
    assert sum(record.queries for record in found) == cue_victim.asked
    masked = MaskedWords(str(folder))
    for record in found[:2]:
        words, attacked = Words.of(record.text), record.attacked.split()
        assert len(record.changed) == 1  # one cue decides, so the current text was the original one
        (place,) = record.changed
        assert attacked[place] in masked.top(words, [place], 20)[0]
        assert len(attacked) == len(words)


def test_candidates_fit_the_current_text(folder: Path) -> None:
    candidates = MaskedCandidates(MaskedWords(str(folder)), 9)
    before, after = Words.of("a good film , a story"), Words.of("poor plot film dull")
    rng = random.Random(0)
    assert len(candidates(before, 2, rng)) == 9
    assert candidates(before, 2, rng) == candidates(before, 2, rng)
    assert candidates(before, 2, rng) != candidates(after, 2, rng)


def test_word_classes_keep_candidates_out(cue_victim: Any, folder: Path, make_wordnet: Callable[..., Path]) -> None:
    synsets = {
        "adj": [["good"], ["great"], ["fine"]],
        "noun": [["film", "movie"], ["plot"], ["story"]],
        "adv": [["bad"], ["dull"], ["poor"]],
    }
    resources = Resources(masked_lm=str(folder), wordnet=make_wordnet(synsets=synsets))
    found = records(BAE(max_candidates=20), cue_victim, resources)
    assert all(record.status == "failed" for record in found)
    for record in found:
        after = record.attacked.split()
        assert all(after[place].lower() not in ("bad", "dull", "poor") for place in record.changed)


def test_missing_resources(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="--masked-lm") as caught:
        BAE().prepare(Resources())
    assert "deepwordbug and textbugger" in str(caught.value)
    with pytest.raises(DependencyError, match="wordnet-base"):
        BAE().prepare(Resources(masked_lm=str(folder), wordnet=tmp_path))
    with pytest.raises(DependencyError, match="--similarity-encoder"):
        BAE(word_class=False, similarity=0.9).prepare(Resources(masked_lm=str(folder)))


def test_similarity_is_against_the_original(cue_victim: Any, folder: Path) -> None:
    attack = BAE(word_class=False, similarity=1.0)
    resources = Resources(masked_lm=str(folder), similarity_encoder=str(folder))
    assert records(attack, cue_victim, resources)[0].status == "success"  # shorter than the window: not checked
    assert any("original" in words for words in attack.constraints())
    assert "similarity of sentences not asked for" in BAE().constraints()
    assert BAE.paper_preset().max_candidates == 50
