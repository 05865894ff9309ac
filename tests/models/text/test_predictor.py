"""Predictors, whole models and the tiny encoder."""

import string
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from understudy.errors import ConfigError
from understudy.models.text.adapter import Adapter
from understudy.models.text.backbone import Backbone, load_backbone
from understudy.models.text.extras import quiet, transformers
from understudy.models.text.full import FullModel, average
from understudy.models.text.predictor import Predictor, TextClassifier
from understudy.models.text.slots import SlotModel, merge
from understudy.models.text.tiny import build_tiny
from understudy.runs.tensors import digest

MakeAdapter = Callable[..., Adapter]
TEXTS = ("the film is good", "a dull plot", "never bad", "the actors was bright zzz qwerty in a story good good bad")


def test_probabilities_come_in_the_order_of_the_texts(tiny_backbone: Backbone, make_adapter: MakeAdapter) -> None:
    model = SlotModel(tiny_backbone, [make_adapter(tiny_backbone, 0)])
    with torch.no_grad():
        expected = torch.cat([model(**tiny_backbone.encode([text])).softmax(-1) for text in TEXTS])
    model.train()  # a predictor judges without dropout, whatever the network did before
    for rows in (1, 3, 64):
        found = Predictor(model, tiny_backbone, rows=rows).probs(TEXTS)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert found.dtype == torch.float32
    assert not found.requires_grad


def test_no_text_gives_no_rows(tiny_backbone: Backbone, make_adapter: MakeAdapter) -> None:
    predictor = Predictor(SlotModel(tiny_backbone, [make_adapter(tiny_backbone, 0)]), tiny_backbone)
    assert predictor.probs([]).shape == (0, 2)
    assert isinstance(predictor, TextClassifier)
    assert (predictor.passes, predictor.classes, predictor.labels) == (1.0, 2, ("no", "yes"))


def test_fixed_weights_mix_the_slots_of_every_text(tiny_backbone: Backbone, make_adapter: MakeAdapter) -> None:
    adapters = [make_adapter(tiny_backbone, seed) for seed in range(2)]
    mixed = Predictor(SlotModel(tiny_backbone, adapters), tiny_backbone, weights=[0.25, 0.75])
    alone = Predictor(SlotModel(tiny_backbone, [merge(adapters, [0.25, 0.75])]), tiny_backbone)
    torch.testing.assert_close(mixed.probs(TEXTS), alone.probs(TEXTS), rtol=0, atol=1e-5)
    with pytest.raises(ConfigError, match="coefficient"):
        Predictor(SlotModel(tiny_backbone, adapters), tiny_backbone, weights=[1.5, -0.5])


def test_a_context_is_part_of_what_is_judged(tiny_backbone: Backbone, make_adapter: MakeAdapter) -> None:
    predictor = Predictor(SlotModel(tiny_backbone, [make_adapter(tiny_backbone, 0)]), tiny_backbone)
    with_context = predictor.probs(["good", "bad"], ["the plot is dull", "film"])
    assert not torch.allclose(with_context, predictor.probs(["good", "bad"]), atol=1e-4)


def test_bf16_answers_are_float32_and_near(tiny_backbone: Backbone, make_adapter: MakeAdapter) -> None:
    model = SlotModel(tiny_backbone, [make_adapter(tiny_backbone, seed) for seed in range(2)])
    exact = Predictor(model, tiny_backbone, weights=[0.5, 0.5]).probs(TEXTS)
    rough = Predictor(model, tiny_backbone, weights=[0.5, 0.5], precision="bf16").probs(TEXTS)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=0, atol=0.1)
    torch.testing.assert_close(rough.sum(-1), torch.ones(4))


def test_the_digest_follows_weights_and_mixture(tiny_backbone: Backbone, make_adapter: MakeAdapter) -> None:
    pair = [make_adapter(tiny_backbone, seed) for seed in range(2)]
    digests = {
        Predictor(SlotModel(tiny_backbone, pair, lora_mix=mix), tiny_backbone, weights=weights).sha256
        for mix in ("factor", "product")
        for weights in ([0.5, 0.5], [1.0, 0.0])
    }
    assert len(digests) == 4
    again = Predictor(SlotModel(tiny_backbone, pair), tiny_backbone, weights=[1.0, 0.0], rows=3)
    assert again.sha256 in digests


def test_a_whole_model_trains_its_own_copy_and_saves_a_plain_folder(tiny_backbone: Backbone, tmp_path: Path) -> None:
    before = digest(tiny_backbone.model.state_dict())
    model = FullModel(tiny_backbone)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    model(**tiny_backbone.encode(TEXTS)).square().sum().backward()
    optimiser.step()
    assert digest(tiny_backbone.model.state_dict()) == before
    assert digest(model.model.state_dict()) != before
    model.save(tmp_path / "full")
    again = load_backbone(tmp_path / "full", labels=("no", "yes"), max_length=32, seed=9)
    expected = Predictor(model, tiny_backbone).probs(TEXTS)
    torch.testing.assert_close(Predictor(FullModel(again), again).probs(TEXTS), expected, rtol=0, atol=1e-6)
    with pytest.raises(ConfigError, match="without slots"):
        model(weights=torch.ones(1, 1), **tiny_backbone.encode(TEXTS[:1]))


def test_a_soup_is_the_mean_of_all_weights(tiny_backbone: Backbone) -> None:
    first, second = FullModel(tiny_backbone), FullModel(tiny_backbone)
    with torch.no_grad():
        for value in second.parameters():
            value.add_(1.0)
    soup = average([first, second], [0.25, 0.75]).state_dict()
    for name, value in first.state_dict().items():
        torch.testing.assert_close(soup[name], value + 0.75)
    with pytest.raises(ConfigError, match="no model"):
        average([])
    with pytest.raises(ConfigError):
        average([first, second], [0.5, 0.6])


def test_the_tiny_encoder_is_deterministic_and_a_masked_language_model_too(tmp_path: Path) -> None:
    folders = [
        build_tiny(words, tmp_path / name, hidden=16, heads=2, seed=seed)
        for name, words, seed in (("a", ("Good", "film"), 0), ("b", ("film", "good", "film"), 0), ("c", ("film",), 1))
    ]
    first, second, third = ({file.name: file.read_bytes() for file in folder.iterdir()} for folder in folders)
    assert first == second
    assert first["model.safetensors"] != third["model.safetensors"]
    with quiet():
        masked, loading = transformers().AutoModelForMaskedLM.from_pretrained(folders[0], output_loading_info=True)
    assert not loading["missing_keys"]
    assert masked.config.vocab_size == len(load_backbone(folders[0], labels=("a", "b"), max_length=8, seed=0).tokenizer)


def test_every_printable_text_has_tokens_of_the_tiny_encoder(tiny_backbone: Backbone) -> None:
    text = " ".join(string.printable.split()) + " gooood Fílm"
    tokens = tiny_backbone.tokenizer.tokenize(text)
    assert "[UNK]" not in tokens
    with pytest.raises(ConfigError, match="multiple"):
        build_tiny(("a",), Path("never"), hidden=10, heads=4, seed=0)
