"""Attackers: students that know how teachers resist distillation, and try to learn from them all the same."""
