"""The tiny encoder made on the spot, and adapters trained on it."""

from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor

from understudy.data import load_texts
from understudy.data.reviews import review_words
from understudy.models.text.adapter import AdapterConfig, new_adapter
from understudy.models.text.backbone import Backbone, load_backbone
from understudy.models.text.predictor import Predictor
from understudy.models.text.slots import SlotModel
from understudy.models.text.tiny import build_tiny
from understudy.runs.interrupts import Interrupted
from understudy.runs.run import Run
from understudy.training import Recipe
from understudy.training import loop as loop_module
from understudy.training.masked_lm import (
    TINY,
    MaskedBatches,
    masked_lm_objective,
    misspell,
    semantic_embeddings,
    train_tiny,
)
from understudy.training.text_batches import TextBatches
from understudy.training.text_fit import fit_text

SHORT = TINY.model_copy(update={"epochs": 1, "batch_size": 32})


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = build_tiny(review_words(), tmp_path_factory.mktemp("tiny") / "bert", hidden=32, seed=0)
    return load_backbone(folder, labels=("negative", "positive"), max_length=64, seed=0)


def short_reviews() -> object:
    return load_texts("reviews[:96]", "train")


def test_what_is_hidden_is_named_and_nothing_else(backbone: Backbone) -> None:
    data = short_reviews()
    batches = MaskedBatches(data, backbone, batch_size=32, seed=0)
    hidden = named = 0
    for step in range(3):
        batch = batches.at(step)
        tokens = batch.encoded["input_ids"].flatten()
        kept = tokens[batch.places] == batch.targets
        masked = tokens[batch.places] == backbone.tokenizer.mask_token_id
        special = torch.tensor(backbone.tokenizer.all_special_ids)
        assert not torch.isin(batch.targets, special).any()
        everywhere = torch.zeros(len(tokens), dtype=torch.bool)
        everywhere[batch.places] = True
        assert not (tokens == backbone.tokenizer.mask_token_id)[~everywhere].any()
        assert torch.allclose(batch.words.sum(dim=1), torch.ones(32))
        assert (batch.words[:, special] == 0).all()
        hidden, named = hidden + int(masked.sum()), named + len(batch.places)
        assert (kept | masked).float().mean() > 0.7  # the rest is random tokens
    assert 0.6 < hidden / named < 0.95


def test_masked_batches_are_a_function_of_seed_and_step(backbone: Backbone) -> None:
    def at(step: int, seed: int) -> dict[str, Tensor]:
        batch = MaskedBatches(short_reviews(), backbone, batch_size=32, seed=seed).at(step)
        return {**batch.encoded, "places": batch.places, "targets": batch.targets, "words": batch.words}

    once, again = at(4, 0), at(4, 0)
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not torch.equal(once["targets"], at(4, 1)["targets"])
    assert not torch.equal(once["targets"], at(1, 0)["targets"])


def test_the_loss_is_that_of_a_slow_reading_of_its_definition(backbone: Backbone) -> None:
    """Token by token and word by word, from made-up logits, in Python's floats."""
    batch = MaskedBatches(short_reviews(), backbone, batch_size=32, seed=0).at(0)
    generator = torch.Generator().manual_seed(0)
    named = torch.randn(len(batch.places), batch.words.shape[1], generator=generator)
    whole = torch.randn(batch.words.shape, generator=generator)

    class Fixed(torch.nn.Module):
        def forward(self, *_: object) -> tuple[Tensor, Tensor]:
            return named, whole

    found = masked_lm_objective(Fixed(), batch)
    rows = [-row.double().log_softmax(0)[target] for row, target in zip(named, batch.targets, strict=True)]
    hidden = float(sum(rows)) / len(rows)
    sentence = 0.0
    for logits, share in zip(whole, batch.words, strict=True):
        words = share.nonzero().flatten().tolist()
        sentence -= sum(float(logits.double().log_softmax(0)[word]) for word in words) / len(words)
    assert float(found["hidden"]) == pytest.approx(hidden, rel=1e-5)
    assert float(found["sentence"]) == pytest.approx(sentence / 32, rel=1e-5)
    assert float(found["loss"]) == pytest.approx(hidden + sentence / 32, rel=1e-5)


def test_words_that_share_sentences_get_near_embeddings() -> None:
    held = torch.tensor([[1, 1, 0, 0, 1], [1, 1, 0, 0, 1], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1]], dtype=torch.float64)
    near = torch.nn.functional.cosine_similarity(
        *(semantic_embeddings(held, 2)[rows] for rows in ([0, 2, 0], [1, 3, 2])), dim=1
    )
    assert near[:2].tolist() == pytest.approx([1, 1])
    assert float(near[2]) < 0.5
    assert semantic_embeddings(held, 9).shape == (5, 9)


def test_misspelt_words_differ_by_one_edit() -> None:
    random = Random(0)
    for _ in range(200):
        found = misspell("wonderful", random, share=1)
        assert abs(len(found) - 9) <= 1
        before, after = list("wonderful"), list(found)
        while before and after and before[0] == after[0]:
            before, after = before[1:], after[1:]
        while before and after and before[-1] == after[-1]:
            before, after = before[:-1], after[:-1]
        assert len(before) <= 2
        assert len(after) <= 2
    assert misspell("a so  fine", random, share=0) == "a so fine"
    assert misspell("it is so", random, share=1) == "it is so"  # too short to be told again


def test_the_encoder_is_a_folder_of_transformers_and_made_once(make_run, tmp_path: Path) -> None:
    folder = train_tiny(tmp_path / "made", seed=0, run=make_run("one"), recipe=SHORT)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    loaded = load_backbone(folder, labels=("negative", "positive"), max_length=128, seed=0)
    assert set(review_words()) <= set(loaded.tokenizer.get_vocab())
    assert loaded.synthetic  # whoever is given the folder knows it
    train_tiny(folder, seed=0, run=make_run("two"), recipe=SHORT)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_interrupted_and_taken_up_again_it_ends_in_the_same_bytes(
    make_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_tiny(tmp_path / "encoder", seed=0, run=make_run("whole"), recipe=SHORT)
    stops = iter([False] * 20 + [True])
    with monkeypatch.context() as patch:
        patch.setattr(loop_module, "asked_to_stop", lambda: next(stops, True))
        patch.setattr(Run, "check_interrupt", _interrupt)
        with pytest.raises(Interrupted):
            train_tiny(tmp_path / "encoder again", seed=0, run=make_run("part"), recipe=SHORT)
    assert not (tmp_path / "encoder again").exists()
    part = train_tiny(tmp_path / "encoder again", seed=0, run=make_run("part"), recipe=SHORT)
    for file in whole.iterdir():
        assert (part / file.name).read_bytes() == file.read_bytes(), file.name


def _interrupt(_: Run) -> None:
    raise Interrupted


def test_adapters_are_fitted_and_taken_up_again_exactly(backbone: Backbone, make_run) -> None:
    """A LoRA slot, dropout and all: stopped half way and resumed it has the weights of one that was not."""
    data = load_texts("reviews[:128]", "train")
    recipe = Recipe(epochs=2, batch_size=32, optimiser="adamw", learning_rate=3e-3, weight_decay=0.0, schedule="linear")

    def fitted(run: Run) -> SlotModel:
        network = SlotModel(backbone, [new_adapter(backbone, AdapterConfig(rank=2), seed=0)])
        batches = TextBatches(data, backbone, batch_size=32, seed=0)
        fit_text(network, batches, recipe=recipe, run=run, phase="clean")
        return network

    whole = fitted(make_run("whole"))
    stops = iter([False] * 3 + [True])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop_module, "asked_to_stop", lambda: next(stops, True))
        patch.setattr(Run, "check_interrupt", _interrupt)
        with pytest.raises(Interrupted):
            fitted(make_run("part"))
    part = fitted(make_run("part"))
    assert part.adapter(0).sha256 == whole.adapter(0).sha256
    assert whole.adapter(0).sha256 != new_adapter(backbone, AdapterConfig(rank=2), seed=0).sha256
    log = [entry["metrics"] for entry in make_run("whole").events]
    assert {"loss", "accuracy", "learning_rate"} <= log[-1].keys()


def test_the_slot_learns_what_the_words_say(make_run, tmp_path: Path) -> None:
    """Short of the real recipe, but well above chance on sentences that were not trained on."""
    recipe = TINY.model_copy(update={"epochs": 2})
    folder = train_tiny(tmp_path / "made", seed=0, run=make_run("made"), recipe=recipe)
    train, test = load_texts("reviews", "train"), load_texts("reviews", "test")
    backbone = load_backbone(folder, labels=train.classes, max_length=64, seed=0)
    network = SlotModel(backbone, [new_adapter(backbone, AdapterConfig(), seed=0)])
    recipe = Recipe(epochs=3, batch_size=32, optimiser="adamw", learning_rate=3e-3, weight_decay=0.0, schedule="linear")
    fit_text(
        network, TextBatches(train, backbone, batch_size=32, seed=0), recipe=recipe, run=make_run("fit"), phase="fit"
    )
    right = Predictor(network, backbone).probs(test.texts).argmax(dim=1) == test.labels
    assert float(right.float().mean()) > 0.7
