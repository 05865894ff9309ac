"""Every defence by name."""

import warnings
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType

from understudy.errors import ConfigError
from understudy.targets.defences.b4b import B4B
from understudy.targets.defences.base import Defence
from understudy.targets.defences.bucket_noise import BucketNoise
from understudy.targets.defences.noise import Noise
from understudy.targets.defences.permutation import Permutation
from understudy.targets.defences.quantise import Quantise
from understudy.targets.defences.rotation import Rotation
from understudy.targets.defences.rounding import Rounding
from understudy.targets.defences.topk import TopK
from understudy.targets.defences.truncate import Truncate

DEFENCES: dict[str, type[Defence]] = {
    "noise": Noise,
    "rounding": Rounding,
    "topk": TopK,
    "quantise": Quantise,
    "truncate": Truncate,
    "rotation": Rotation,
    "permutation": Permutation,
    "bucket_noise": BucketNoise,
    "b4b": B4B,
}
"""The defences of this package, by the name that specs use."""


@cache  # looking through all installed packages takes milliseconds
def all_defences() -> Mapping[str, type[Defence]]:
    """Return the table together with what other packages add under the entry point `understudy.defences`.

    Raises:
        ConfigError: two defences have one name.
    """
    found = dict(DEFENCES)
    for point in entry_points(group="understudy.defences"):
        if point.name in found:
            raise ConfigError(f"two defences are named {point.name!r}", where=point.value)
        try:
            found[point.name] = point.load()
        except (ImportError, AttributeError) as error:  # somebody else's package must not take ours down
            warnings.warn(f"the defence {point.name!r} of {point.value} cannot be loaded: {error}", stacklevel=2)
    return MappingProxyType(found)
