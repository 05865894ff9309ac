"""Drawing inputs out of a teacher by descending an energy of the input alone."""

from understudy.synthesis.descent import Descent, descend
from understudy.synthesis.fill import Shard, fill_bank
from understudy.synthesis.schedule import Shape, step_size_at

__all__ = ["Descent", "Shape", "Shard", "descend", "fill_bank", "step_size_at"]
