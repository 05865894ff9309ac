"""A control: the surrogate as it starts, without one query or step.

The floor that every score is read against: an untrained network is a feature extractor too, and in some tasks not a
bad one. Wu et al.: Refine, Discriminate and Align (ECCV 2024, arXiv 2312.00855) record such a row in their code.

Fidelity: instantiation. The weights are those that every method of the same seed starts from.
"""

from typing import ClassVar

from pydantic import model_validator

from understudy.data import ImageSet
from understudy.methods.extraction._plan import OverBudget, Plan
from understudy.methods.extractor import DIGITS, Extracted, Extractor
from understudy.methods.method import Fidelity, preset
from understudy.models import Encoder
from understudy.runs.run import Run
from understudy.targets import Endpoint


class RandomSurrogate(Extractor):
    """Leave the surrogate as it is.

    The untrained row of Wu et al.: Refine, Discriminate and Align. ECCV 2024, arXiv 2312.00855.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"

    random_control: bool = False
    """Whether the surrogate is kept a second time; there is no reason to."""
    no_query_control: bool = False
    """Off: what is not trained has no training that a control could match."""

    @model_validator(mode="after")
    def _has_no_training_to_match(self) -> "RandomSurrogate":
        if self.no_query_control:
            raise ValueError("no_query_control has no place here: there is no training that it could match")
        return self

    @classmethod
    @preset
    def digits(cls) -> "RandomSurrogate":
        """The embedded digits."""
        return cls(**DIGITS)

    @property
    def queries_per_image(self) -> int:
        """None is asked."""
        return 0

    @property
    def rows_per_image(self) -> int:
        """None is seen."""
        return 0

    def plan(self, rows: int, budget: int | None, *, over_budget: OverBudget = "cut") -> Plan:
        """Return a plan without a query or a step."""
        planned = super().plan(rows, budget, over_budget=over_budget)
        return Plan(planned.images, queries=0, steps=0)

    def extract(self, *, endpoint: Endpoint, surrogate: Encoder, data: ImageSet, plan: Plan, run: Run) -> Extracted:  # noqa: ARG002
        """Do nothing."""
        surrogate.to(run.device).eval()
        return Extracted(plan.images, steps=0)
