"""Labelled images and sentences, from files, by name or embedded, and the batches made of them."""

from understudy.data._view_parameters import ViewParameters
from understudy.data.adapt import adapt, adaptation
from understudy.data.batches import Augment, Batch, Batches
from understudy.data.images import ImageSet, Split, as_float, check_fits
from understudy.data.shuffle import Shuffle
from understudy.data.sources import load_images
from understudy.data.text_set import TextSet, TextSplit
from understudy.data.text_sources import load_texts
from understudy.data.view_stream import ViewStream, batch_views
from understudy.data.views import Views

__all__ = [
    "Augment",
    "Batch",
    "Batches",
    "ImageSet",
    "Shuffle",
    "Split",
    "TextSet",
    "TextSplit",
    "ViewParameters",
    "ViewStream",
    "Views",
    "adapt",
    "adaptation",
    "as_float",
    "batch_views",
    "check_fits",
    "load_images",
    "load_texts",
]
