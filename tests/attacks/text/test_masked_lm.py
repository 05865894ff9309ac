"""Words that a masked language model expects: against a slow reading of its logits, and folders that are none."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.attacks.text.masked_lm import MaskedWords
from understudy.attacks.text.words import Words
from understudy.errors import ConfigError, IntegrityError
from understudy.models.text.tiny import build_tiny

WORDS = ("good", "bad", "fine", "film", "plot", "dull", "bright", "story", "the", "is", "can't", "b2b")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(WORDS, tmp_path_factory.mktemp("masked") / "lm", hidden=32, max_length=16, seed=3)


def slow_top(folder: Path, text: str, word: str, count: int) -> list[str]:
    """The likeliest whole words at the mask of a text, one text at a time, from the whole vocabulary."""
    transformers: Any = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    encoded = tokenizer(text, return_tensors="pt")
    place = encoded["input_ids"][0].tolist().index(tokenizer.mask_token_id)
    with torch.inference_mode():
        logits = model(**encoded).logits[0, place]
    ranked = tokenizer.convert_ids_to_tokens(logits.argsort(descending=True).tolist())
    whole = [token for token in ranked if token.isalpha() and len(token) > 1 and token != word]
    return whole[:count]


def test_top_words_equal_a_slow_reading_whatever_is_in_the_batch(folder: Path) -> None:
    masked = MaskedWords(str(folder))
    words = Words.of("the film is good")
    together = masked.top(words, [0, 1, 3], 5)
    for position, found in zip([0, 1, 3], together, strict=True):
        text = words.with_word(position, "[MASK]").text
        assert found == slow_top(folder, text, words.words[position], 5)
        assert masked.top(words, [position], 5) == [found]


def test_only_whole_words_of_letters_and_never_the_word_itself(folder: Path) -> None:
    (found,) = MaskedWords(str(folder)).top(Words.of("the film is good"), [1], 1000)
    assert "film" not in found
    assert {"good", "bad", "plot"} <= set(found)
    assert all(name.isalpha() and len(name) > 1 for name in found)  # no pieces, punctuation, numbers or special tokens
    assert "b2b" not in found


def test_casing_and_punctuation_stay(folder: Path) -> None:
    (found,) = MaskedWords(str(folder)).top(Words.of("the Film, is good"), [1], 3)
    assert all(name[0].isupper() and name.endswith(",") for name in found)
    assert MaskedWords(str(folder)).top(Words.of("the -- is"), [1], 3) == [[]]


def test_a_place_beyond_the_models_length_has_none(folder: Path) -> None:
    words = Words.of("the film is good " * 6)
    far, near = MaskedWords(str(folder)).top(words, [20, 1], 3)
    assert far == []
    assert len(near) == 3


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def test_a_model_without_the_head_is_refused(folder: Path, tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    bare = copied(folder, tmp_path / "bare")
    transformers.AutoModel.from_pretrained(folder, add_pooling_layer=False).save_pretrained(bare)
    with pytest.raises(ConfigError, match="weights are missing") as caught:
        MaskedWords(str(bare))
    assert "--masked-lm" in str(caught.value)


def test_what_is_no_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        MaskedWords(str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no config\.json"):
        MaskedWords(str(tmp_path / "empty"))
    broken = copied(folder, tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(IntegrityError, match="cannot be read"):
        MaskedWords(str(broken))
    foreign = copied(folder, tmp_path / "foreign")
    (foreign / "config.json").write_text(json.dumps({"model_type": "no such thing"}))
    with pytest.raises(ConfigError, match="cannot be opened"):
        MaskedWords(str(foreign))
    wordless = copied(folder, tmp_path / "wordless")
    for path in wordless.glob("*token*"):
        path.unlink()
    with pytest.raises(ConfigError, match="no tokenizer"):
        MaskedWords(str(wordless))
