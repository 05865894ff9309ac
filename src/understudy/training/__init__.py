"""One training loop, its optimisers and schedules, and exact checkpoints."""

from understudy.training.companion import Companion
from understudy.training.loop import Objective, fit
from understudy.training.recipe import Recipe

__all__ = ["Companion", "Objective", "Recipe", "fit"]
