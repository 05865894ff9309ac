"""A tiny encoder made on the spot: masked language modelling on the embedded reviews, with misspelt words among them.

Devlin et al. 2019 (arXiv:1810.04805): 15 % of the tokens are chosen, of which 80 % become the mask, 10 % a random token
and 10 % stay, and the model names what stood there. Two additions: some words are misspelt first, so that their
single characters come to mean something; and the state of the first token alone names every word of the sentence, so
that it comes to stand for the sentence, which next-sentence prediction did in the paper. The word embeddings start
from latent semantic analysis (Deerwester et al. 1990; here on positive pointwise mutual information), which saves most
of the steps, and nothing is dropped out. No label takes part.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from understudy.data import Shuffle, TextSet, load_texts
from understudy.data.reviews import review_words
from understudy.losses import hard_cross_entropy, soft_cross_entropy
from understudy.models.text.backbone import SYNTHETIC, Backbone, load_backbone
from understudy.models.text.extras import quiet, transformers
from understudy.models.text.tiny import build_tiny
from understudy.runs.files import folder_aside
from understudy.runs.run import Run
from understudy.runs.seeds import derive_seed, stream
from understudy.training.loop import fit
from understudy.training.recipe import Recipe

TINY = Recipe(
    epochs=8,
    batch_size=16,
    optimiser="adamw",
    learning_rate=1e-3,
    weight_decay=0.01,
    schedule="linear",
    warmup_frac=0.1,
)
"""How the tiny encoder is trained: 600 steps, about 20 seconds on one slow core."""

POSITIONS = 128
"""Tokens that a sentence of the tiny encoder may have."""

_CHOSEN, _MISSPELT = 0.15, 0.1  # shares of the tokens and of the words
_SPREAD = 0.1  # standard deviation of the first weights: 0.02, which suits BERT's width, learns slowly at 64
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, eq=False)
class MaskedBatch:
    """One batch of sentences with tokens hidden.

    Args:
        encoded: what the model takes; each of shape (b, s).
        places: the chosen tokens, counted through the whole batch. Shape (m,).
        targets: what stood there. Shape (m,).
        words: a share for every token of the vocabulary, equal for all that the sentence held before it was misspelt,
            with sum 1. Shape (b, v).
    """

    encoded: Mapping[str, Int64[Tensor, "b s"]]
    places: Int64[Tensor, " m"]
    targets: Int64[Tensor, " m"]
    words: Float[Tensor, "b v"]


class Speller(nn.Module):
    """A BERT with its head of masked language modelling, which names chosen tokens only.

    Args:
        model: a `BertForMaskedLM`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        for part in model.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0  # far from overfitting, and a third of the time on a CPU

    def forward(
        self, encoded: Mapping[str, Tensor], places: Int64[Tensor, " m"]
    ) -> tuple[Float[Tensor, "m v"], Float[Tensor, "b v"]]:
        """Return logits for the tokens at `places`, and for each sentence's first token."""
        states = self.model.bert(**encoded).last_hidden_state
        return self.model.cls(states.flatten(0, 1)[places]), self.model.cls(states[:, 0])


def train_tiny(
    folder: Path, *, seed: int, run: Run, recipe: Recipe = TINY, phase: str = "backbone", max_length: int = POSITIONS
) -> Path:
    """Train a tiny encoder on the embedded synthetic reviews and write it as a Transformers folder.

    The folder serves as a backbone and, with its head of masked language modelling, as a source of words. Its
    `config.json` says that the encoder is made of synthetic sentences, whoever uses it.

    Args:
        folder: where it goes; one that is there whole is left as it is.
        seed: of the first weights, of what is hidden and of what is misspelt.
        run: where checkpoints and metrics go: killed and called again, it ends in the same bytes.
        recipe: optimiser, schedule and epochs.
        phase: the phase's name, which names its checkpoint.
        max_length: positions, in tokens.

    Returns:
        The folder.

    Raises:
        DependencyError: `transformers` is not installed.
        DivergenceError, Interrupted: as `understudy.training.fit` does.
    """
    if (folder / "config.json").is_file():
        return folder
    data = load_texts("reviews", "train")
    with TemporaryDirectory() as aside:
        start = build_tiny(review_words(), Path(aside) / "tiny", max_length=max_length, seed=seed)
        backbone = load_backbone(start, labels=data.classes, max_length=max_length, seed=seed)
        with quiet():
            network = Speller(transformers().BertForMaskedLM.from_pretrained(start))
    _draw(network.model, data, backbone)
    batches = MaskedBatches(data, backbone, batch_size=recipe.batch_size, seed=seed, device=run.device)
    fit(
        network,
        batch_at=batches.at,
        objective=masked_lm_objective,
        recipe=recipe,
        steps_per_epoch=batches.steps_per_epoch,
        run=run,
        phase=phase,
        clip_norm=1.0,
    )
    if run.rank == 0:
        setattr(network.model.config, SYNTHETIC, True)
        with quiet(), folder_aside(folder) as written:
            network.model.cpu().save_pretrained(written)
            backbone.tokenizer.save_pretrained(written)
    run.wait()
    return folder


class MaskedBatches:
    """Batches of sentences, misspelt and with tokens hidden anew in each epoch; a function of (seed, step) alone."""

    def __init__(
        self, data: TextSet, backbone: Backbone, *, batch_size: int, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        self._data, self._backbone, self._seed, self._device = data, backbone, seed, device
        self._shuffle = Shuffle(len(data), batch_size=batch_size, seed=seed, name="masked")
        self._special = torch.tensor(backbone.tokenizer.all_special_ids)
        self._vocabulary = len(backbone.tokenizer)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass."""
        return self._shuffle.steps_per_epoch

    def at(self, step: int) -> MaskedBatch:
        """Return the batch of a step."""
        texts = [self._data.texts[row] for row in self._shuffle.at(step).tolist()]
        random = Random(derive_seed(self._seed, "misspelt", step=step))
        plain = self._backbone.encode(texts)["input_ids"]
        words = _held(plain, self._vocabulary, self._special).float()
        encoded = self._backbone.encode([misspell(text, random, share=_MISSPELT) for text in texts])
        generator = stream(self._seed, "masked", step=step)
        tokens = encoded["input_ids"]
        encoded["input_ids"], places = self._hide(tokens, generator)
        moved = {name: values.to(self._device) for name, values in encoded.items()}
        targets = tokens.flatten()[places]
        shares = words / words.sum(dim=1, keepdim=True)
        return MaskedBatch(moved, places.to(self._device), targets.to(self._device), shares.to(self._device))

    def _hide(
        self, tokens: Int64[Tensor, "b s"], generator: torch.Generator
    ) -> tuple[Int64[Tensor, "b s"], Int64[Tensor, " m"]]:
        """Return the tokens with the chosen ones hidden, and where those are."""
        draws, kinds = torch.rand(2, *tokens.shape, generator=generator)
        chosen = (draws < _CHOSEN) & ~torch.isin(tokens, self._special)
        chosen[0, 1] = True  # a mean over no token would be no number
        others = torch.randint(self._vocabulary, tokens.shape, generator=generator)
        hidden = torch.where(kinds < 0.8, self._backbone.tokenizer.mask_token_id, others)
        hidden = torch.where(kinds < 0.9, hidden, tokens)
        return torch.where(chosen, hidden, tokens), chosen.flatten().nonzero().flatten()


def masked_lm_objective(module: nn.Module, batch: MaskedBatch, /) -> Mapping[str, Tensor]:
    """Return the loss of naming hidden tokens, plus that of naming a sentence's words from its first token.

    Both are cross-entropies in float32: the mean over the chosen tokens, and against the shares of the words.
    """
    named, whole = module(batch.encoded, batch.places)
    hidden = hard_cross_entropy(named.float(), batch.targets, reduction="mean")
    sentence = soft_cross_entropy(whole.float(), batch.words, reduction="batchmean")
    return {"loss": hidden + sentence, "hidden": hidden, "sentence": sentence}


def _draw(model: Any, data: TextSet, backbone: Backbone) -> None:
    """Widen the first weights in place, and start the word embeddings from what stands in a sentence with what."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(_SPREAD / model.config.initializer_range)
        table = model.bert.embeddings.word_embeddings.weight
        special = torch.tensor(backbone.tokenizer.all_special_ids)
        held = _held(backbone.encode(data.texts)["input_ids"].cpu(), len(table), special)
        seen = held.sum(dim=0) > 0
        meanings = semantic_embeddings(held[:, seen], table.shape[1])
        table[seen] = (_SPREAD * meanings / meanings.std()).to(table)


def semantic_embeddings(held: Float[Tensor, "n v"], width: int) -> Float[Tensor, "v {width}"]:
    """Return an embedding for every word by latent semantic analysis of which words share a sentence.

    The leading eigenvectors of the words' positive pointwise mutual information, each times its eigenvalue; zeros
    where it has fewer than `width` positive ones.

    Args:
        held: 1 where a sentence holds a word; every word is held somewhere. Float64.
        width: length of an embedding.
    """
    together = (held.T @ held).fill_diagonal_(0)
    often = together.sum(dim=1)
    ratio = together * together.sum() / (often[:, None] * often[None, :]).clamp(min=1)
    values, vectors = torch.linalg.eigh(ratio.clamp(min=1).log())
    leading = vectors[:, -width:] * values[-width:].clamp(min=0)
    return nn.functional.pad(leading, (0, width - leading.shape[1]))


def _held(tokens: Int64[Tensor, "n s"], vocabulary: int, special: Int64[Tensor, " p"]) -> Float[Tensor, "n v"]:
    """Return 1 where a sentence holds a token of the vocabulary, special ones aside, in float64."""
    held = torch.zeros(len(tokens), vocabulary, dtype=torch.float64).scatter_(1, tokens, 1.0)
    held[:, special] = 0.0
    return held


def misspell(text: str, random: Random, *, share: float | int) -> str:
    """Return a sentence in which some words of at least three letters have one swapped, replaced, lost or added.

    Args:
        text: the sentence.
        random: what is drawn from.
        share: probability of each word.
    """
    words = text.split()
    return " ".join(_edited(word, random) if len(word) > 2 and random.random() < share else word for word in words)


def _edited(word: str, random: Random) -> str:
    place = random.randrange(len(word) - 1)
    kind, letter = random.randrange(4), random.choice(_LETTERS)
    if kind == 0:
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    kept_from = place if kind == 1 else place + 1
    return word[:place] + ("" if kind == 2 else letter) + word[kept_from:]
