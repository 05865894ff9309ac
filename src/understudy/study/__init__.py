"""Runs from start to end: resolve what was asked, carry it out, measure it, show it."""
