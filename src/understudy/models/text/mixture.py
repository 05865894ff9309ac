"""Prediction with adapters that are mixed for each sentence, in one batched forward pass.

After AdpMixup: Nguyen, Le: Adapters Mixup: Mixing Parameter-Efficient Adapters to Enhance the Adversarial Robustness of
Fine-tuned Pre-trained Text Classifiers. EMNLP 2024, arXiv 2401.10111.

Fidelity: instantiation. That weights of adapters are mixed per input, by entropies of their predictions, is the
paper's; its equations for the coefficients are not public, and those of `understudy.models.text.gate` are ours.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.errors import ConfigError, ShapeError
from understudy.models.text.adapter import Adapter
from understudy.models.text.backbone import Backbone
from understudy.models.text.gate import GRID, Gate, entropy, min_entropy_beta, mix_weights, nearest_attack
from understudy.models.text.predictor import batches
from understudy.models.text.slots import SlotModel, first_pass
from understudy.runs.tensors import digest

HeadPolicy = Literal["mixed", "clean", "shared"]

CLEAN = "clean"
"""Name of slot 0."""
ATTACKED = "attacked"
"""What is said of a sentence that looks attacked, where the rule cannot say by which attack."""


@dataclass(frozen=True)
class Mixed:
    """The mixture's answer to one batch, with what it was mixed by; on the backbone's device."""

    probs: Float[Tensor, "n c"]
    """Predictions of the mixture."""
    weights: Float[Tensor, "n k"]
    """Share of each slot; rows sum to 1."""
    betas: Float[Tensor, "n m"]
    """Share of the clean slot in each pair (0, k)."""
    entropies: Float[Tensor, "n s"]
    """Entropies of the slots that were asked, the clean one first; nats, or shares of ln(classes)."""


@dataclass(frozen=True)
class Explained(Mixed):
    """The mixture's answer to sentences, with what it was mixed by; on the CPU, rows in the order given."""

    nearest: list[str]
    """The known attack that each sentence looks most like: a slot's name, `clean`, or `attacked`."""


class MixedAdapters:
    """A text classifier whose adapters are mixed anew for each sentence; in eval mode, for prediction only.

    The mix is phi(w) = sum_k w_k phi_k, heads included, with w(x) of `gate`. The head policy `clean` predicts with the
    head of slot 0 whatever w (each slot keeps its own in the first pass); `shared` says that all heads are one.

    Args:
        slots: the adapters, slot 0 the clean one.
        backbone: the frozen language model under them.
        gate: how weights are found.
        profiles: (lo, hi) of each slot's entropies on samples of its own kind; see `Gate.profile`.
        names: of the slots: `clean`, then the known attacks.
        head_policy: which heads are mixed.
        rows: sentences a batch.
        precision: `float32`, or `bf16` (autocast; softmax and entropies stay in float32).

    Raises:
        ConfigError: names repeat, or the first is not `clean`; heads differ under the policy `shared`.
        ShapeError: there are not as many names and profiles as slots.
    """

    def __init__(
        self,
        slots: SlotModel,
        backbone: Backbone,
        gate: Gate,
        profiles: Float[Tensor, "k 2"],
        names: Sequence[str],
        *,
        head_policy: HeadPolicy = "mixed",
        rows: int = 64,
        precision: Literal["float32", "bf16"] = "float32",
    ) -> None:
        self.slots = slots
        self.backbone = backbone
        self.gate = gate
        self.profiles = profiles.detach().cpu().double()
        self.names = tuple(names)
        self.head_policy = head_policy
        self.rows = rows
        self.precision = precision
        self._check()
        self.mixer = _clean_headed(slots) if head_policy == "clean" and slots.slots > 1 else slots

    @property
    def attacks(self) -> int:
        """Number of known attacks, m."""
        return self.slots.slots - 1

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.backbone.classes

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.backbone.labels

    @property
    def passes(self) -> float:
        """Passes of the backbone that one text costs: the first passes that the rule needs, and the mixing pass."""
        return float(self.gate.passes(self.attacks))

    @property
    def sha256(self) -> str:
        """Digest of all that decides the answers."""
        facts = {
            "slots": digest(self.slots.state_dict()),
            "configs": [config.model_dump(mode="json") for config in self.slots.configs],
            "lora_mix": self.slots.lora_mix,
            "head_policy": self.head_policy,
            "gate": self.gate.model_dump(mode="json"),
            "profiles": self.profiles.tolist(),
            "backbone": [self.backbone.sha256, self.backbone.max_length, *self.labels],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def probs(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> Float[Tensor, "n c"]:
        """Return probabilities; see `TextClassifier.probs`."""
        return self._read(texts, contexts, ask_clean=False).probs

    def explain(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> Explained:
        """Return probabilities with the weights, coefficients and entropies behind them.

        Slot 0 is always asked for its entropy, which costs one pass more under the rules `fixed` and `min_entropy`.
        Where the rule gives all attacks one coefficient, `nearest` says no more than `attacked`.

        Args:
            texts: what is classified.
            contexts: a first text each, where the task has pairs.
        """
        found = self._read(texts, contexts, ask_clean=True)
        slots = nearest_attack(found.betas).tolist()
        told = self.gate.tells_attacks_apart or self.attacks == 1
        nearest = [self.names[slot] if told or not slot else ATTACKED for slot in slots]
        return Explained(found.probs, found.weights, found.betas, found.entropies, nearest)

    def mix(self, encoded: Mapping[str, Tensor], *, ask_clean: bool = False) -> Mixed:
        """Return the answer to one batch as the model takes it (word embeddings in place of numbers are fine).

        Args:
            encoded: a batch of `Backbone.encode`; modes and gradients are the caller's.
            ask_clean: ask slot 0 for its entropy, even where the rule has no need of it.
        """
        asked = self.gate.first_slots(self.attacks) or ((0,) if ask_clean and self.attacks else ())
        first = self._first(encoded, asked)
        entropies = self.gate.entropies(first)
        if not self.attacks:
            probs = self._mixed(encoded, first.new_ones(len(first), 1))
            entropies = self.gate.entropies(probs)[:, None]  # the mixture is slot 0
            return Mixed(probs, first.new_ones(len(first), 1), first.new_ones(len(first), 0), entropies)
        if self.gate.rule == "min_entropy":
            return self._lowest(encoded, entropies)
        betas = self.gate.betas(entropies, self.profiles, attacks=self.attacks)
        weights = mix_weights(betas)
        sure = weights[:, 0] == 1 if self.gate.skip_confident else None
        if sure is None or not bool(sure.any()):
            return Mixed(self._mixed(encoded, weights), weights, betas, entropies)
        probs = first[:, 0].clone()
        if not bool(sure.all()):
            rest = {name: value[~sure] for name, value in encoded.items()}
            probs[~sure] = self._mixed(rest, weights[~sure])
        return Mixed(probs, weights, betas, entropies)

    def with_slot(self, adapter: Adapter, profile: Float[Tensor, "2"], name: str) -> "MixedAdapters":
        """Return a mixture that knows one attack more; the slots and profiles that are there stay to the bit.

        Args:
            adapter: trained on the new attack's texts, from the same start as the others.
            profile: (lo, hi) of its entropies on such texts.
            name: of the attack.

        Raises:
            ConfigError: the adapter is of another backbone, rank or head, or the name is taken.
        """
        adapters = [self.slots.adapter(slot) for slot in range(self.slots.slots)]
        return MixedAdapters(
            SlotModel(self.backbone, [*adapters, adapter], lora_mix=self.slots.lora_mix),
            self.backbone,
            self.gate,
            torch.cat([self.profiles, profile.detach().cpu().double()[None]]),
            (*self.names, name),
            head_policy=self.head_policy,
            rows=self.rows,
            precision=self.precision,
        )

    def to(self, device: torch.device | str) -> "MixedAdapters":
        """Move slots and backbone to a device; return itself."""
        self.slots.to(device)
        self.mixer.to(device)
        return self

    def _read(self, texts: Sequence[str], contexts: Sequence[str] | None, *, ask_clean: bool) -> Mixed:
        """Mix all texts, batch by batch, and put the rows back in the order given."""
        self.slots.eval()
        self.mixer.eval()
        clean = ask_clean or not self.attacks or bool(self.gate.first_slots(self.attacks))
        asked = max(len(self.gate.first_slots(self.attacks)), int(clean))
        shapes = (self.classes, self.attacks + 1, self.attacks, asked)
        found = Mixed(*(torch.zeros(len(texts), width) for width in shapes))
        amp = torch.autocast(self.backbone.device.type, torch.bfloat16, enabled=self.precision == "bf16")
        with torch.no_grad(), amp:
            for numbers, encoded in batches(self.backbone, texts, contexts, rows=self.rows):
                mixed = self.mix(encoded, ask_clean=ask_clean)
                for field in fields(Mixed):
                    getattr(found, field.name)[numbers] = getattr(mixed, field.name).float().cpu()
        return found

    def _first(self, encoded: Mapping[str, Tensor], asked: Sequence[int]) -> Float[Tensor, "n s c"]:
        """Return the predictions of the slots asked, each with its own head."""
        if not asked:
            rows = next(iter(encoded.values()))
            return torch.zeros(len(rows), 0, self.classes, dtype=self.backbone.dtype, device=rows.device)
        return torch.softmax(first_pass(self.slots, encoded, asked), dim=-1)

    def _mixed(self, encoded: Mapping[str, Tensor], weights: Float[Tensor, "n k"]) -> Float[Tensor, "n c"]:
        return torch.softmax(self.mixer(weights=weights.to(self.backbone.dtype), **encoded), dim=-1)

    def _lowest(self, encoded: Mapping[str, Tensor], entropies: Float[Tensor, "n s"]) -> Mixed:
        """Return each row's mixture at the coefficient of the grid at which it is surest."""
        rows = len(entropies)
        tried = [self._mixed(encoded, mix_weights(entropies.new_full((rows, self.attacks), beta))) for beta in GRID]
        probs = torch.stack(tried, dim=1)  # (n, g, c)
        beta = min_entropy_beta(entropy(probs))
        chosen = (beta[:, None] - beta.new_tensor(GRID)).abs().argmin(dim=1)
        betas = beta[:, None].expand(rows, self.attacks)
        return Mixed(probs[torch.arange(rows, device=beta.device), chosen], mix_weights(betas), betas, entropies)

    def _check(self) -> None:
        count = self.slots.slots
        if len(self.names) != count or len(self.profiles) != count:
            raise ShapeError(
                f"{count} slots, {len(self.names)} names and {len(self.profiles)} profiles do not fit each other",
                where="MixedAdapters",
                expected="a name and a profile for each slot",
            )
        if self.names[0] != CLEAN or len(set(self.names)) != count or ATTACKED in self.names:
            raise ConfigError(
                f"the slots are called {', '.join(self.names)}",
                where="names",
                expected=f"{CLEAN!r} first, then each attack once, none of them {ATTACKED!r}",
            )
        if not bool((torch.isfinite(self.profiles).all(dim=1) & (self.profiles[:, 0] <= self.profiles[:, 1])).all()):
            raise ConfigError(f"profiles {self.profiles.tolist()}", where="profiles", expected="lo <= hi, both finite")
        if self.head_policy == "shared" and not self._one_head():
            raise ConfigError(
                "the slots' heads differ, and are said to be one",
                where="head_policy",
                fix="mix the heads (head_policy='mixed'), or train the slots with the head of slot 0, frozen",
            )

    def _one_head(self) -> bool:
        first = digest(self.slots.adapter(0).head)
        return all(digest(self.slots.adapter(slot).head) == first for slot in range(1, self.slots.slots))


def _clean_headed(slots: SlotModel) -> SlotModel:
    """Return the same slots, each with the head of slot 0."""
    adapters = [slots.adapter(slot) for slot in range(slots.slots)]
    headed = [replace(adapter, head=adapters[0].head) for adapter in adapters]
    return SlotModel(slots.backbone, headed, lora_mix=slots.lora_mix)
