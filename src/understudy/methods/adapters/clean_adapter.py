"""The control: one adapter, trained on the sentences as they are.

Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen: LoRA: Low-Rank Adaptation of Large Language Models. ICLR 2022,
arXiv 2106.09685.

Fidelity: paper. LoRA on the query and value projections; the recipe is ours. With `--kind pfeiffer` or `houlsby` it is
a bottleneck adapter instead (Pfeiffer et al. 2021; Houlsby et al. 2019), which acts on the output of a block's last
linear map, before the residual. Sentences are pooled as the backbone's own class for classification does it (BERT: a
frozen pooler over the first token), not by a mean over tokens.
"""

from collections.abc import Sequence
from typing import ClassVar

from understudy.attacks.text.base import TextAttack
from understudy.methods.method import Fidelity
from understudy.methods.text_facts import costs, slot_report
from understudy.methods.text_method import TextMethod, TextOutcome
from understudy.training.foundation import CLEAN, Foundation


class CleanAdapter(TextMethod):
    """Train one adapter on the sentences as they are: slot 0 of every other method, and the control.

    Hu et al.: LoRA: Low-Rank Adaptation of Large Language Models. ICLR 2022, arXiv 2106.09685.
    """

    fidelity: ClassVar[Fidelity] = "paper"
    uses_attacks: ClassVar[bool] = False

    def adapt(self, foundation: Foundation, attacks: Sequence[TextAttack]) -> TextOutcome:  # noqa: ARG002 (needs none)
        """Return slot 0."""
        clean = foundation.victim
        slots = {CLEAN: clean}
        return TextOutcome(
            model=clean,
            clean=clean,
            slots=slots,
            facts={
                **costs(foundation, model=[foundation.clean], steps=0, seconds=0.0),
                "slots": slot_report(slots, foundation),
            },
        )

    def own_steps(self, rows: int, attacks: int, attacked: int) -> int:  # noqa: ARG002 (the base's signature)
        """Return 0: slot 0 is the method."""
        return 0
