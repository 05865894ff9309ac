"""Recovery: learn the way back from what is served to what the teacher meant, and distil that.

The attacker trains a network of its own on the labels that it has (a shadow), passes the shadow's answers through the
defence that it knows to stand before the teacher, and regresses the clean answers on the defended ones. Applied to the
teacher's served answers, the regression gives an estimate of the clean ones. Where no defence is known, and the teacher
itself was made to mislead, the pairs are what was served and what the shadow says of the same image.

Chen, Guan, Gong, Dong, Xue: D-DAE: Defense-Penetrating Model Extraction Attacks. IEEE S&P 2023;
in short Chen et al. 2023, IEEE S&P.

With mode bayes the estimate is the mean of those clean answers, drawn from a Dirichlet prior, that the defence turns
into what was served. Tang, Dai, DiValentin, Ding, Hass, Gong, Chen, Li: ModelGuard: Information-Theoretic Defense
Against Model Extraction Attacks. USENIX Security 2024 (its partial Bayes attacker).

Fidelity: instantiation. The idea of both, from descriptions of them; sizes and schedules are ours:

- One shadow of the student's architecture, trained by the student's recipe; where no label is known, on the class of
  the served answer. The pairs are of every training image as it is.
- The regression is a perceptron of one hidden layer that corrects the logarithm of the answer, and is trained on the
  divergence at the temperature at which the student then learns.
- The prior is symmetric, and the draws that count as consistent are the nearest ones in L1, with all that lie as near.
- Draws of a defence from the owner's seed are simulated with a seed of the attacker's.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from understudy.data import Shuffle, as_float
from understudy.losses import hard_cross_entropy, tempered_kl
from understudy.methods.attackers._inner import train_inner, untrained
from understudy.methods.attackers._recover import Regressor, consistent_mean
from understudy.methods.distiller import Knowledge, Taught
from understudy.methods.method import Fidelity
from understudy.methods.softened import Softened
from understudy.models import Classifier, Network, freeze
from understudy.runs.seeds import derive_seed, stream
from understudy.targets.class_defences import serve
from understudy.training import Recipe, fit
from understudy.training.answers import Answers

_REGRESSION = Recipe(
    epochs=1, batch_size=256, optimiser="adam", learning_rate=3e-3, weight_decay=0.0, schedule="cosine"
)
_ROWS = 1024  # of one pass through shadow and defence
_SMALLEST = 1e-12  # of a drawn probability, which has to have a logarithm


class Recovery(Softened):
    """Distil an estimate of the clean answers, regressed or averaged out of those that are served.

    Chen et al. 2023, IEEE S&P: D-DAE: Defense-Penetrating Model Extraction Attacks.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"

    mode: Literal["regress", "bayes"] = "regress"
    """A regression learnt from a shadow network, or the mean of draws consistent with a known defence."""
    hidden: PositiveInt = 64
    """Units of the regression's hidden layer."""
    regression_steps: PositiveInt = 2000
    """Steps in which the regression is trained, of 256 pairs each."""
    draws: PositiveInt = 4096
    """Clean answers drawn from the prior in mode bayes."""
    neighbours: PositiveInt = 16
    """Draws, nearest to an answer, of which the mean is taken in mode bayes."""
    concentration: Annotated[PositiveFloat, Field(le=1000)] = 1.0
    """Of the Dirichlet prior in mode bayes, spread evenly over the classes; with less of it, draws are surer."""

    def prepare(self, knowledge: Knowledge) -> Callable[[Taught], Taught]:
        """Learn the way back, and put recovered answers in the place of those that were served.

        Without a known defence there is nothing to average in mode bayes: answers stay as they are.
        """
        if self.mode == "regress":
            return self._regressed(knowledge)
        return self._averaged(knowledge) if knowledge.defence else lambda taught: taught

    def cost(self, model: Network, *, rows: int | None, bank: object = None) -> dict[str, int]:
        """Return what a distiller costs, with the training of shadow and regression."""
        cost = super().cost(model, rows=rows, bank=bank)
        if self.mode == "bayes":
            return cost
        steps = 2 * cost["training_steps"] + self.regression_steps
        return {**cost, "training_steps": steps, "images_seen": 2 * cost["images_seen"]}

    def _regressed(self, knowledge: Knowledge) -> Callable[[Taught], Taught]:
        shadow = untrained(knowledge, "shadow")
        train_inner(shadow, knowledge, loss=_labelled, recipe=self.fit, phase="shadow")
        served, clean = self._pairs(shadow, knowledge)
        run = knowledge.run
        regressor = Regressor(knowledge.classes, self.hidden, generator=stream(run.seed, "regression"))
        regressor.to(run.device).standardise(served)
        shuffle = Shuffle(len(served), batch_size=_REGRESSION.batch_size, seed=run.seed, name="regression")

        def batch_at(step: int) -> tuple[Tensor, Tensor]:
            rows = shuffle.at(step, rank=run.rank, world=run.world).to(run.device)
            return served[rows], clean[rows]

        def objective(module: nn.Module, pairs: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            found = module(pairs[0])
            return {"loss": tempered_kl(found, pairs[1], temperature=self.temperature, reduction="batchmean")}

        fit(
            regressor,
            batch_at=batch_at,
            objective=objective,
            recipe=_REGRESSION,
            steps_per_epoch=self.regression_steps,
            run=run,
            phase="regression",
        )

        @torch.no_grad()
        def recovered(taught: Taught) -> Taught:
            return replace(taught, answers=Answers(regressor(_log_probs(taught.answers)), "logits"))

        return recovered

    @torch.no_grad()
    def _pairs(self, shadow: Classifier, knowledge: Knowledge) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
        """Return logarithms of answers as they are served, and the shadow's logits in their place."""
        frozen, memory = freeze(shadow), dict[str, Tensor]()
        served, clean = [], []
        for rows, images in _chunks(knowledge, len(knowledge.data)):
            logits = frozen(images)
            if knowledge.defence:
                answers = _through_defence(knowledge, logits, rows, images, memory)
            else:
                plain = torch.full_like(rows, knowledge.augment.plain)
                answers = knowledge.served.at(knowledge.rows[rows], plain)
            served.append(_log_probs(answers))
            clean.append(logits)
        return torch.cat(served), torch.cat(clean)

    def _averaged(self, knowledge: Knowledge) -> Callable[[Taught], Taught]:
        drawn = np.random.default_rng(derive_seed(knowledge.run.seed, "recovery_prior"))
        probs = drawn.dirichlet(np.full(knowledge.classes, self.concentration / knowledge.classes), size=self.draws)
        clean = torch.from_numpy(probs).clamp_min(_SMALLEST)
        clean = (clean / clean.sum(dim=1, keepdim=True)).to(knowledge.run.device)
        memory: dict[str, Tensor] = {}
        found = [
            _through_defence(knowledge, clean[start : start + len(rows)].log(), rows, images, memory).values
            for start, (rows, images) in zip(range(0, self.draws, _ROWS), _chunks(knowledge, self.draws), strict=True)
        ]
        served, softened = torch.cat(found), Answers(clean, "probabilities").softened(self.temperature).float()

        def averaged(taught: Taught) -> Taught:
            mean = consistent_mean(taught.answers.values, served, softened, neighbours=self.neighbours)
            return replace(taught, answers=Answers(self.temperature * mean.clamp_min(_SMALLEST).log(), "logits"))

        return averaged


def _labelled(logits: Tensor, taught: Taught) -> Tensor:
    return hard_cross_entropy(logits, taught.labels, reduction="mean")


def _log_probs(answers: Answers) -> Float32[Tensor, "b k"]:
    return functional.log_softmax(answers.logits().float(), dim=1)


def _chunks(knowledge: Knowledge, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield positions of training images, over and over up to `size`, and the images, as they are."""
    everything = torch.arange(size) % len(knowledge.data)
    for rows in torch.split(everything, _ROWS):
        yield rows, as_float(knowledge.data.images[rows.to(knowledge.data.images.device)])


def _through_defence(
    knowledge: Knowledge, logits: Tensor, rows: Tensor, images: Tensor, memory: dict[str, Tensor]
) -> Answers:
    seed = derive_seed(knowledge.run.seed, "recovery_defence")  # the owner's own is not for the attacker to know
    keys = knowledge.rows[rows].to(logits.device)
    served = serve(knowledge.defence, logits, images=images, keys=keys, seed=seed, memory=memory)
    return Answers(served, "probabilities")
