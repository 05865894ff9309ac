"""A bridge to the recipes of the package TextAttack, if it is installed: `textattack:pwws`, or a class's name.

Morris et al., "TextAttack: a framework for adversarial attacks, data augmentation, and adversarial training in NLP"
(EMNLP 2020), https://github.com/QData/TextAttack. Nothing of it is copied: its recipe is built over the victim's
probabilities, and its results are turned into records.

Fidelity: official; what runs is that package. Its notion of words, its candidates and its counting of queries are its
own, and many recipes fetch files when they are built. `max_candidates` has no meaning for them.
"""

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import SequenceMatcher
from importlib import import_module
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from understudy.attacks.text.base import Record, Sentence, Status, TextAttack
from understudy.attacks.text.resources import Resources, missing_resource
from understudy.errors import ConfigError, nearest
from understudy.models.text.predictor import TextClassifier
from understudy.runs.seeds import derive_seed


class Bridge(TextAttack):
    """A recipe of the package TextAttack, run by that package."""

    name: ClassVar[str] = "textattack"
    label: ClassVar[str] = "TextAttack"
    summary: ClassVar[str] = "a recipe of the package TextAttack, if it is installed: textattack:RECIPE"
    paper: ClassVar[str] = "Morris et al., EMNLP 2020"
    fidelity: ClassVar[Literal["paper", "official", "instantiation"]] = "official"
    level: ClassVar[Literal["character", "word"]] = "word"
    needs: ClassVar[tuple[str, ...]] = ("the package textattack",)
    positional: ClassVar[str | None] = "recipe"

    recipe: str = "pwws"
    """TextAttack's name of a recipe, such as `pwws` or `deepwordbug`, or the name of its class."""

    def prepare(self, resources: Resources) -> "RecipeRunner":  # noqa: ARG002 - the package looks words up by itself
        """Import the package and find the recipe.

        Raises:
            DependencyError: the package is not installed, or cannot be imported.
            ConfigError: it has no such recipe.
        """
        fix = "pip install textattack (0.3.11 needs Transformers below 5), in an environment of its own"
        try:
            recipes = import_module("textattack.attack_recipes")
            named: dict[str, str] = import_module("textattack.attack_args").ATTACK_RECIPE_NAMES
        except ModuleNotFoundError as error:
            raise missing_resource(self.spec, "the package textattack", fix=fix, where=str(error)) from None
        except (ImportError, LookupError, OSError, RuntimeError) as error:
            what = "the package textattack, which is installed and cannot be imported"
            raise missing_resource(self.spec, what, fix=fix, where=str(error).strip()[:300]) from None
        made = getattr(recipes, named.get(self.recipe, self.recipe).rpartition(".")[2], None)
        if made is None:
            hint = nearest(self.recipe, named)
            raise ConfigError(f"TextAttack has no recipe {self.recipe!r}", where=self.spec, fix=hint)
        return RecipeRunner(self, made)

    def constraints(self) -> tuple[str, ...]:
        """Return what keeps the text near the original."""
        return (f"those of TextAttack's recipe {self.recipe}",)


class RecipeRunner:
    """One recipe, ready to be built over a victim.

    Args:
        attack: the attack and its budget.
        recipe: TextAttack's class of the recipe.
    """

    def __init__(self, attack: Bridge, recipe: Any) -> None:
        self._attack, self._recipe = attack, recipe

    def attack(self, victim: TextClassifier, sentences: Sequence[Sentence], *, seed: int) -> list[Record]:
        """Attack the sentences one after another.

        Raises:
            ConfigError: the recipe cannot be built, for want of files as a rule.
        """
        wrapped = _wrapped(victim)
        try:
            built = self._recipe.build(wrapped)
        except (ImportError, LookupError, OSError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"TextAttack cannot build its recipe {self._attack.recipe}: {str(error).strip()[:300]}",
                where=self._attack.spec,
                fix="give that package the files it asks for, or use the attacks of this tool that need none of it",
            ) from None
        if self._attack.queries is not None:
            built.goal_function.query_budget = self._attack.queries
        records = []
        for sentence in sentences:
            wrapped.context = sentence.context
            with _chance(derive_seed(seed, self._attack.spec, step=sentence.row)):
                result = built.attack(sentence.text, sentence.label)
            records.append(self._record(victim, sentence, result))
        return records

    def _record(self, victim: TextClassifier, sentence: Sentence, result: Any) -> Record:
        """Turn a result into a record; the probabilities are the victim's own, asked again and not counted."""
        attacked = str(result.perturbed_text())
        contexts = None if sentence.context is None else [sentence.context] * 2
        before, after = victim.probs([sentence.text, attacked], contexts).double().tolist()
        predicted = [int(np.argmax(row)) for row in (before, after)]
        status: Status = "failed" if predicted[1] == sentence.label else "success"
        if predicted[0] != sentence.label:
            status, attacked, after, predicted[1] = "skipped", sentence.text, before, predicted[0]
        queries, limit = int(result.num_queries), self._attack.queries
        return Record(
            attack=self._attack.spec,
            row=sentence.row,
            text=sentence.text,
            attacked=attacked,
            label=sentence.label,
            status=status,
            queries=max(1, queries),  # a skipped sentence was asked about once, which TextAttack does not count
            changed=_changed(sentence.text, attacked),
            exhausted=status == "failed" and limit is not None and queries >= limit,
            no_candidates=status == "failed" and attacked == sentence.text and queries <= 1,
            score_before=1.0 - before[sentence.label],
            score_after=1.0 - after[sentence.label],
            predicted_before=predicted[0],
            predicted_after=predicted[1],
            context=sentence.context,
        )


def _wrapped(victim: TextClassifier) -> Any:
    """Return the victim as TextAttack's model wrapper; the first text of a pair is fixed by its `context`."""
    base: Any = import_module("textattack.models.wrappers").ModelWrapper

    class Victim(base):  # type: ignore[misc]
        """Gives ln p: TextAttack takes a softmax of what does not sum to 1 to the last digit."""

        def __init__(self) -> None:
            self.model = victim
            self.context: str | None = None

        def __call__(self, texts: Sequence[str]) -> Any:
            contexts = None if self.context is None else [self.context] * len(texts)
            probs = victim.probs(list(texts), contexts).double()
            return probs.clamp(min=math.ulp(0.0)).log().numpy()

    return Victim()


@contextmanager
def _chance(seed: int) -> Iterator[None]:
    """Seed the global generators that TextAttack draws from, and put them back as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _changed(text: str, attacked: str) -> tuple[int, ...]:
    """Return the positions of words of a text that the attacked one has no longer, or where it has more."""
    words, others = text.split(), attacked.split()
    changed: set[int] = set()
    for kind, start, stop, _, _ in SequenceMatcher(None, words, others, autojunk=False).get_opcodes():
        if kind == "insert":
            changed.add(min(start, len(words) - 1))
        elif kind != "equal":
            changed.update(range(start, stop))
    return tuple(sorted(place for place in changed if place >= 0))
