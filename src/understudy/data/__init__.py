"""Labelled images, from files, by name or embedded, and the batches made of them."""

from understudy.data.batches import Augment, Batch, Batches
from understudy.data.images import ImageSet, Split, as_float, check_fits
from understudy.data.shuffle import Shuffle
from understudy.data.sources import load_images

__all__ = [
    "Augment",
    "Batch",
    "Batches",
    "ImageSet",
    "Shuffle",
    "Split",
    "as_float",
    "check_fits",
    "load_images",
]
