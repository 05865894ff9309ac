"""Text classifiers: frozen language models with adapters, mixed per sample."""

from understudy.models.text.adapter import Adapter, AdapterConfig, LoraMix, new_adapter
from understudy.models.text.backbone import Backbone, load_backbone
from understudy.models.text.full import FullModel
from understudy.models.text.gate import Gate
from understudy.models.text.merge import merge
from understudy.models.text.mixture import Explained, MixedAdapters
from understudy.models.text.peft_files import load_adapter, save_adapter
from understudy.models.text.predictor import Predictor, TextClassifier
from understudy.models.text.slots import SlotModel
from understudy.models.text.store import export_adapter, is_text_model, load_text_model, save_text_model

__all__ = [
    "Adapter",
    "AdapterConfig",
    "Backbone",
    "Explained",
    "FullModel",
    "Gate",
    "LoraMix",
    "MixedAdapters",
    "Predictor",
    "SlotModel",
    "TextClassifier",
    "export_adapter",
    "is_text_model",
    "load_adapter",
    "load_backbone",
    "load_text_model",
    "merge",
    "new_adapter",
    "save_adapter",
    "save_text_model",
]
