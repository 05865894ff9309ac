"""One training loop, its optimisers and schedules, and exact checkpoints."""

from understudy.training.loop import Objective, fit
from understudy.training.recipe import Recipe

__all__ = ["Objective", "Recipe", "fit"]
