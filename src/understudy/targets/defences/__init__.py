"""What an owner does to answers before they leave: one file a defence, joined to chains by `+`."""

from understudy.targets.defences._spec import describe, parse_defences, split_defences
from understudy.targets.defences._table import DEFENCES, all_defences
from understudy.targets.defences.b4b import B4B
from understudy.targets.defences.base import Client, Defence
from understudy.targets.defences.bucket_noise import BucketNoise, save_centre
from understudy.targets.defences.noise import Noise
from understudy.targets.defences.permutation import Permutation
from understudy.targets.defences.quantise import Quantise
from understudy.targets.defences.rotation import Rotation
from understudy.targets.defences.rounding import Rounding
from understudy.targets.defences.topk import TopK
from understudy.targets.defences.truncate import Truncate

__all__ = [
    "B4B",
    "DEFENCES",
    "BucketNoise",
    "Client",
    "Defence",
    "Noise",
    "Permutation",
    "Quantise",
    "Rotation",
    "Rounding",
    "TopK",
    "Truncate",
    "all_defences",
    "describe",
    "parse_defences",
    "save_centre",
    "split_defences",
]
