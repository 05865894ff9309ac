"""The optional packages of the text family, imported when they are needed and kept quiet."""

import importlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from understudy.errors import DependencyError


def transformers() -> ModuleType:
    """Return the package `transformers`, its load reports and progress bars off unless the user set its verbosity.

    Raises:
        DependencyError: it is not installed, or cannot be imported here.
    """
    module = _import("transformers")
    if "TRANSFORMERS_VERBOSITY" not in os.environ:
        module.logging.set_verbosity_error()
        module.logging.disable_progress_bar()
    return module


def peft() -> ModuleType:
    """Return the package `peft`.

    Raises:
        DependencyError: it is not installed, or cannot be imported here.
    """
    transformers()
    return _import("peft")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep announcements of what future versions will change from the user, who cannot act on them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _import(name: str) -> ModuleType:
    try:
        with quiet():
            return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:  # RuntimeError: how Transformers reports a broken part of itself
        raise DependencyError(
            f"text models need the package {name!r}: {error}", fix="pip install 'understudy[text]'"
        ) from error
