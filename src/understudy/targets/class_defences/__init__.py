"""What an owner does to a classifier's answers before they leave: one file a defence, joined to chains by `+`."""

from understudy.targets._chains import LINK
from understudy.targets.class_defences._table import CLASS_DEFENCES
from understudy.targets.class_defences.base import ClassDefence
from understudy.targets.class_defences.chain import (
    describe_class_defences,
    identify_class_defences,
    parse_class_defences,
    serve,
)
from understudy.targets.class_defences.classifier import defended_classifier
from understudy.targets.class_defences.grad2 import GRAD2
from understudy.targets.class_defences.labels import Labels
from understudy.targets.class_defences.mad import MAD
from understudy.targets.class_defences.measures import keeps_top1, l1_distance
from understudy.targets.class_defences.misinformation import Misinformation
from understudy.targets.class_defences.modelguard_s import ModelGuardS
from understudy.targets.class_defences.modelguard_w import ModelGuardW
from understudy.targets.class_defences.noise import Noise
from understudy.targets.class_defences.reverse_sigmoid import ReverseSigmoid
from understudy.targets.class_defences.rounding import Rounding
from understudy.targets.class_defences.top_k import TopK

__all__ = [
    "CLASS_DEFENCES",
    "GRAD2",
    "LINK",
    "MAD",
    "ClassDefence",
    "Labels",
    "Misinformation",
    "ModelGuardS",
    "ModelGuardW",
    "Noise",
    "ReverseSigmoid",
    "Rounding",
    "TopK",
    "defended_classifier",
    "describe_class_defences",
    "identify_class_defences",
    "keeps_top1",
    "l1_distance",
    "parse_class_defences",
    "serve",
]
