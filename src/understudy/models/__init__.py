"""Classifiers and encoders: build them from a spec, save and load them, freeze them for reading."""

from understudy.models._fold import FLOAT32_TOLERANCE
from understudy.models.build import build_model
from understudy.models.classifier import Classifier, Normalise
from understudy.models.cost import count_macs, count_parameters, model_digest
from understudy.models.encoder import Encoder, build_encoder, encoder_of
from understudy.models.frozen import BF16_TOLERANCE, Frozen, Precision, freeze
from understudy.models.mirror import Mirror
from understudy.models.modes import evaluating
from understudy.models.network import Network
from understudy.models.penultimate import Penultimate
from understudy.models.resolve import resolve_encoder, resolve_model
from understudy.models.specs import format_spec, parse_spec
from understudy.models.store import load_encoder, load_model, load_network, read_about, save_model

__all__ = [
    "BF16_TOLERANCE",
    "FLOAT32_TOLERANCE",
    "Classifier",
    "Encoder",
    "Frozen",
    "Mirror",
    "Network",
    "Normalise",
    "Penultimate",
    "Precision",
    "build_encoder",
    "build_model",
    "count_macs",
    "count_parameters",
    "encoder_of",
    "evaluating",
    "format_spec",
    "freeze",
    "load_encoder",
    "load_model",
    "load_network",
    "model_digest",
    "parse_spec",
    "read_about",
    "resolve_encoder",
    "resolve_model",
    "save_model",
]
