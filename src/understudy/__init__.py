"""understudy: train a stand-in for a neural network, and learn how good the stand-in is.

The names below are the public API; each is imported when it is first used, so that importing the package is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from understudy.bank import Bank
    from understudy.catalogue import load as load_method
    from understudy.data import ImageSet, load_images
    from understudy.errors import UnderstudyError
    from understudy.evaluation import evaluate
    from understudy.models import Classifier, build_model, freeze, load_model, resolve_model, save_model
    from understudy.report import write_comparison, write_report
    from understudy.runs.options import RunOptions
    from understudy.runs.run import Run
    from understudy.study.job import execute, make_job

_WHERE = {
    "Bank": "understudy.bank:Bank",
    "Classifier": "understudy.models:Classifier",
    "ImageSet": "understudy.data:ImageSet",
    "Run": "understudy.runs.run:Run",
    "RunOptions": "understudy.runs.options:RunOptions",
    "UnderstudyError": "understudy.errors:UnderstudyError",
    "build_model": "understudy.models:build_model",
    "evaluate": "understudy.evaluation:evaluate",
    "execute": "understudy.study.job:execute",
    "freeze": "understudy.models:freeze",
    "load_images": "understudy.data:load_images",
    "load_method": "understudy.catalogue:load",
    "load_model": "understudy.models:load_model",
    "make_job": "understudy.study.job:make_job",
    "resolve_model": "understudy.models:resolve_model",
    "save_model": "understudy.models:save_model",
    "write_comparison": "understudy.report:write_comparison",
    "write_report": "understudy.report:write_report",
}

__all__ = [
    "Bank",
    "Classifier",
    "ImageSet",
    "Run",
    "RunOptions",
    "UnderstudyError",
    "build_model",
    "evaluate",
    "execute",
    "freeze",
    "load_images",
    "load_method",
    "load_model",
    "make_job",
    "resolve_model",
    "save_model",
    "write_comparison",
    "write_report",
]


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'understudy' has no attribute {name!r}")
    module, _, attribute = _WHERE[name].partition(":")
    return getattr(import_module(module), attribute)
