"""Every defence of a classifier by name."""

from understudy.targets.class_defences.base import ClassDefence
from understudy.targets.class_defences.grad2 import GRAD2
from understudy.targets.class_defences.labels import Labels
from understudy.targets.class_defences.mad import MAD
from understudy.targets.class_defences.misinformation import Misinformation
from understudy.targets.class_defences.modelguard_s import ModelGuardS
from understudy.targets.class_defences.modelguard_w import ModelGuardW
from understudy.targets.class_defences.noise import Noise
from understudy.targets.class_defences.reverse_sigmoid import ReverseSigmoid
from understudy.targets.class_defences.rounding import Rounding
from understudy.targets.class_defences.top_k import TopK

CLASS_DEFENCES: dict[str, type[ClassDefence]] = {
    kind.name: kind
    for kind in (
        Labels,
        TopK,
        Rounding,
        Noise,
        ReverseSigmoid,
        MAD,
        GRAD2,
        Misinformation,
        ModelGuardW,
        ModelGuardS,
    )
}
"""The serving-time defences of classifiers, by the name that specs use."""
