"""Teachers as the training step asks them: frozen, counted, and served from file where the answer is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from understudy.bank import AnswerBank
from understudy.data import Augment, Batch, ImageSet
from understudy.data.batches import uploaded
from understudy.models import Classifier, Frozen, Penultimate, freeze, model_digest
from understudy.runs.run import Run
from understudy.runs.tensors import digest
from understudy.training.companion import Companion

View = Literal["clean", "adversarial"]


@dataclass(frozen=True, eq=False)
class Teachers:
    """Whom a student learns from."""

    main: Classifier
    others: Mapping[str, Classifier] = field(default_factory=dict)
    """Further teachers by name."""
    other_view: View = "clean"
    """Which images they look at."""
    file_answers: bool = True
    """Whether answers to clean views are put on file."""
    bank: Path | None = None
    """Answers of the main one filed earlier, in their folder, which the run's bank takes over."""

    def named(self) -> dict[str, Classifier]:
        """Return all of them, by what messages call them."""
        return {"teacher": self.main, **{f"{name} teacher": other for name, other in self.others.items()}}


class Asked:
    """A frozen teacher.

    Args:
        network: the teacher.
        features: whether its penultimate features are wanted too; then every answer is asked anew.
        bank: where answers on clean views are filed; None asks every time.
        rows: the row, in the bank's data set, of each row of the training set.
        view: which images it looks at, where it is a further teacher.
    """

    def __init__(
        self,
        network: Frozen,
        *,
        features: bool = False,
        bank: AnswerBank | None = None,
        rows: Int64[Tensor, " n"] | None = None,
        view: View = "clean",
    ) -> None:
        self.network = network
        self.view = view
        self.bank = None if features else bank
        self._rows = rows
        self._tap = Penultimate(network) if features else None

    @torch.no_grad()
    def answer(self, x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b d"] | None]:
        """Return logits, and features where they are wanted, in float32."""
        if self._tap is None:
            return self.network(x), None
        logits, features = self._tap(x)
        return logits, features.float()

    def clean(self, batch: Batch) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b d"] | None]:
        """Return what the teacher says of a batch as it came out of the augmentation, from file where it is filed."""
        if self.bank is None:
            return self.answer(batch.x)
        rows = batch.rows_cpu if self._rows is None else self._rows[batch.rows_cpu]

        def ask(positions: Int64[Tensor, " m"]) -> Float[Tensor, "m k"]:
            everything = len(positions) == len(batch.x)
            return self.answer(batch.x if everything else batch.x[uploaded(positions, batch.x.device)])[0]

        return self.bank.get(self.bank.keys(rows, batch.view), ask), None


class Evaluations:
    """Counts the rows that go through frozen networks; a companion of the training loop, so that resuming counts on.

    Args:
        networks: what is counted, all together.
    """

    name = "evaluations"

    def __init__(self, *networks: Frozen) -> None:
        self.rows = 0
        for network in networks:
            network.register_forward_pre_hook(self._count)

    def restore(self, step: int, kept: Mapping[str, Tensor]) -> None:  # noqa: ARG002 (the protocol's signature)
        """Go on from the count at a checkpoint."""
        self.rows = int(kept["rows"]) if kept else 0

    def state(self, step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the count."""
        return {"rows": torch.tensor(self.rows)}

    def epoch_ended(self, epoch: int, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Do nothing."""

    def _count(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.rows += len(inputs[0])


@dataclass(frozen=True, eq=False)
class Staff:
    """The teachers of a run, ready to be asked."""

    main: Asked | None = None
    others: Mapping[str, Asked] = field(default_factory=dict)
    evaluations: Evaluations | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def banks(self) -> list[AnswerBank]:
        """Return the banks in use."""
        everyone = [each for each in (self.main, *self.others.values()) if each is not None]
        return [each.bank for each in everyone if each.bank is not None]

    def companions(self) -> Sequence[Companion]:
        """Return what belongs into the checkpoints."""
        return [*self.banks(), *([self.evaluations] if self.evaluations else [])]

    def finish(self) -> None:
        """Close the banks, so that other runs may use them."""
        for bank in self.banks():
            bank.finish()

    def facts(self) -> dict[str, Any]:
        """Return what was asked, and of whom."""
        if self.evaluations is None:
            return {}
        counts = [bank.counts() for bank in self.banks()]
        answers = {name: sum(count[name] for count in counts) for name in ("asked", "served")}
        return {"teacher_evaluations": self.evaluations.rows, **({"answers": answers} if counts else {}), **self.about}


def staff(
    teachers: Teachers | None,
    data: ImageSet,
    *,
    rows: Int64[Tensor, " n"],
    uses: frozenset[str],
    augment: Augment,
    run: Run,
) -> Staff:
    """Return the teachers frozen for a run, with their banks where answers are filed.

    Args:
        teachers: the networks; None for none.
        data: all labelled images, by whose rows answers are filed.
        rows: those that are trained on.
        uses: what the method looks at; a teacher whose features are wanted is asked anew every time.
        augment: decides how many views an image has.
        run: its folder holds the banks.

    Raises:
        ConfigError: the answers filed earlier are of another teacher, other images or other views.
    """
    if teachers is None:
        return Staff()
    features = "teacher_features" in uses
    files = teachers.file_answers and augment.crop_padding <= MOST_PADDING
    bank = None
    if files and "teacher_clean" in uses and not features:
        bank = _bank(teachers.main, data, augment, run, base=teachers.bank)
    main = Asked(_frozen(teachers.main, run), features=features, bank=bank, rows=rows)
    others = {}
    for name, network in teachers.others.items():
        kept = files and teachers.other_view == "clean"
        own = _bank(network, data, augment, run, name=name) if kept else None
        others[name] = Asked(_frozen(network, run), bank=own, rows=rows, view=teachers.other_view)
    counted = Evaluations(main.network, *(other.network for other in others.values()))
    told = {name: {"spec": other.spec, "sha256": model_digest(other)} for name, other in teachers.others.items()}
    return Staff(main, others, counted, {"other_teachers": told} if told else {})


MOST_PADDING = 16
"""Above this an image has more views than an epoch will ever meet again, and answers are not filed."""


def _frozen(network: Classifier, run: Run) -> Frozen:
    options = run.options
    return freeze(
        network.to(run.device),
        precision=options.precision,
        channels_last=options.channels_last,
        compiled=options.compile,
    )


def _bank(
    network: Classifier, data: ImageSet, augment: Augment, run: Run, *, name: str = "", base: Path | None = None
) -> AnswerBank:
    """Return the bank of a teacher in the run's folder; that of the main one is where others look for it."""
    return AnswerBank(
        run.folder / f"bank-{name}" if name else run.folder / "bank",
        teacher=model_digest(network),
        data=digest({"images": data.images}),
        rows=len(data),
        views=augment.views,
        classes=network.classes,
        base=base,
        device=run.device,
        precision=run.options.precision,
        name=f"answers_{name}" if name else "answers",
    )
