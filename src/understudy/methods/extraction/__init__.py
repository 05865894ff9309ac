"""Copying an encoder from its answers: an audit of how fast that goes, for owners."""

from understudy.methods.extraction._plan import OverBudget, Plan, control_rows, spared
from understudy.methods.extraction._widths import Match, check_widths, matched

__all__ = ["Match", "OverBudget", "Plan", "check_widths", "control_rows", "matched", "spared"]
