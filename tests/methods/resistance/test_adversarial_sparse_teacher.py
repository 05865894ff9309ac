"""The Adversarial Sparse Teacher: whose target is whose, what a step leaves alone, and what it is at its limits."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.methods.resistance.conftest import RECIPE, SPEC, STEPS
from understudy.data import ImageSet, as_float
from understudy.errors import ConfigError, DivergenceError
from understudy.losses import kept_classes
from understudy.methods.baseline.supervised import Supervised
from understudy.methods.resistance import adversarial_sparse_teacher as module
from understudy.methods.resistance._support import Support, support_facts
from understudy.methods.resistance.adversarial_sparse_teacher import AdversarialSparseTeacher
from understudy.models import Classifier, model_digest, resolve_model
from understudy.runs.run import Run
from understudy.runs.tensors import digest, load_tensors
from understudy.training import Recipe

MakeRun = Callable[..., Run]
Net = Callable[..., Classifier]
AST = AdversarialSparseTeacher

SMALL: dict[str, Any] = {"fit": RECIPE, "attack_steps": 2, "step_size": 0.1}
