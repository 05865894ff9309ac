"""understudy: train a stand-in for a neural network, and learn how good the stand-in is.

The names below are the public API; each is imported when it is first used, so that importing the package is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from understudy.attacks.text import attack_sentences, parse_text_attacks
    from understudy.bank import Bank
    from understudy.catalogue import load as load_method
    from understudy.data import ImageSet, TextSet, load_images, load_texts
    from understudy.errors import UnderstudyError
    from understudy.evaluation import evaluate
    from understudy.models import (
        Classifier,
        Encoder,
        build_encoder,
        build_model,
        freeze,
        load_encoder,
        load_model,
        resolve_encoder,
        resolve_model,
        save_model,
    )
    from understudy.models.text import export_adapter, load_backbone, load_text_model, save_text_model
    from understudy.models.text.hub import MixedAdapterClassifier
    from understudy.report import write_audit, write_comparison, write_report
    from understudy.runs.options import RunOptions
    from understudy.runs.run import Run
    from understudy.study.audit import run_audit
    from understudy.study.audit_job import make_audit
    from understudy.study.extraction import execute_extraction, make_extraction
    from understudy.study.job import execute, make_job
    from understudy.study.text_job import make_adapt, run_adapt
    from understudy.study.withstand import run_withstand
    from understudy.study.withstand_job import make_withstand
    from understudy.targets import Endpoint, Ledger, Target, resolve_target, store_answers
    from understudy.targets.defences import Client, Defence, parse_defences

_WHERE = {
    "Bank": "understudy.bank:Bank",
    "Classifier": "understudy.models:Classifier",
    "Client": "understudy.targets.defences:Client",
    "Defence": "understudy.targets.defences:Defence",
    "Encoder": "understudy.models:Encoder",
    "Endpoint": "understudy.targets:Endpoint",
    "ImageSet": "understudy.data:ImageSet",
    "Ledger": "understudy.targets:Ledger",
    "MixedAdapterClassifier": "understudy.models.text.hub:MixedAdapterClassifier",
    "Run": "understudy.runs.run:Run",
    "RunOptions": "understudy.runs.options:RunOptions",
    "Target": "understudy.targets:Target",
    "TextSet": "understudy.data:TextSet",
    "UnderstudyError": "understudy.errors:UnderstudyError",
    "attack_sentences": "understudy.attacks.text:attack_sentences",
    "build_encoder": "understudy.models:build_encoder",
    "build_model": "understudy.models:build_model",
    "evaluate": "understudy.evaluation:evaluate",
    "execute": "understudy.study.job:execute",
    "execute_extraction": "understudy.study.extraction:execute_extraction",
    "export_adapter": "understudy.models.text:export_adapter",
    "freeze": "understudy.models:freeze",
    "load_backbone": "understudy.models.text:load_backbone",
    "load_encoder": "understudy.models:load_encoder",
    "load_images": "understudy.data:load_images",
    "load_method": "understudy.catalogue:load",
    "load_model": "understudy.models:load_model",
    "load_text_model": "understudy.models.text:load_text_model",
    "load_texts": "understudy.data:load_texts",
    "make_adapt": "understudy.study.text_job:make_adapt",
    "make_audit": "understudy.study.audit_job:make_audit",
    "make_extraction": "understudy.study.extraction:make_extraction",
    "make_job": "understudy.study.job:make_job",
    "parse_defences": "understudy.targets.defences:parse_defences",
    "parse_text_attacks": "understudy.attacks.text:parse_text_attacks",
    "make_withstand": "understudy.study.withstand_job:make_withstand",
    "run_withstand": "understudy.study.withstand:run_withstand",
    "resolve_encoder": "understudy.models:resolve_encoder",
    "resolve_model": "understudy.models:resolve_model",
    "resolve_target": "understudy.targets:resolve_target",
    "run_adapt": "understudy.study.text_job:run_adapt",
    "run_audit": "understudy.study.audit:run_audit",
    "save_model": "understudy.models:save_model",
    "save_text_model": "understudy.models.text:save_text_model",
    "store_answers": "understudy.targets:store_answers",
    "write_audit": "understudy.report:write_audit",
    "write_comparison": "understudy.report:write_comparison",
    "write_report": "understudy.report:write_report",
}

__all__ = [
    "Bank",
    "Classifier",
    "Client",
    "Defence",
    "Encoder",
    "Endpoint",
    "ImageSet",
    "Ledger",
    "MixedAdapterClassifier",
    "Run",
    "RunOptions",
    "Target",
    "TextSet",
    "UnderstudyError",
    "attack_sentences",
    "build_encoder",
    "build_model",
    "evaluate",
    "execute",
    "execute_extraction",
    "export_adapter",
    "freeze",
    "load_backbone",
    "load_encoder",
    "load_images",
    "load_method",
    "load_model",
    "load_text_model",
    "load_texts",
    "make_adapt",
    "make_audit",
    "make_extraction",
    "make_job",
    "make_withstand",
    "parse_defences",
    "parse_text_attacks",
    "resolve_encoder",
    "resolve_model",
    "resolve_target",
    "run_adapt",
    "run_audit",
    "run_withstand",
    "save_model",
    "save_text_model",
    "store_answers",
    "write_audit",
    "write_comparison",
    "write_report",
]


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'understudy' has no attribute {name!r}")
    module, _, attribute = _WHERE[name].partition(":")
    return getattr(import_module(module), attribute)
