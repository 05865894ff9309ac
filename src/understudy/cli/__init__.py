"""The command line: verbs that parse, call and print, with no logic of their own."""

from understudy.cli.app import main

__all__ = ["main"]
