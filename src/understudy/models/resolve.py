"""One string for any model: a folder, an architecture, or a classifier from elsewhere."""

import os
from collections.abc import Sequence
from pathlib import Path

from understudy.errors import ConfigError, ShapeError
from understudy.models.architectures import ARCHITECTURES
from understudy.models.build import build_model
from understudy.models.classifier import Classifier
from understudy.models.encoder import Encoder, foreign_encoder, resolve_new_encoder
from understudy.models.foreign import Facts, is_foreign, load_foreign
from understudy.models.store import load_encoder, load_model


def resolve_model(
    spec_or_folder: str | Path,
    *,
    input_shape: Sequence[int] | None = None,
    classes: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
) -> Classifier:
    """Return the model that a command line names.

    Args:
        spec_or_folder: a run or model folder, a spec such as `resnet18:width=16`, `hf:NAME`, `timm:NAME` or
            `python:module:factory`. Where a folder has the name of an architecture, write `./NAME`.
        input_shape: of the data; a new network needs it, and a trained one must agree with it.
        classes: of the data; likewise.
        mean: per channel, for a new network (0 if none is given); a saved one has its own.
        std: per channel, likewise (1 if none is given).
        seed: of a new network's weights.

    Raises:
        ConfigError: the string names nothing, or a new network's shape and classes are not given.
        ShapeError: a trained network does not fit the data.
        IntegrityError: the folder's model cannot be loaded.
    """
    text = str(spec_or_folder)
    if is_foreign(text):
        model = load_foreign(text, Facts(input_shape, classes, mean, std), seed=seed)
    elif _is_path(text):
        model = load_model(text)
    elif input_shape is None or classes is None:
        raise ConfigError(
            f"{text!r} is no trained model, and a new network needs the input shape and the number of classes",
            expected="for a trained model: a run or model folder, hf:NAME, timm:NAME or python:module:factory",
            fix="check the path, or train one with `understudy train`",
        )
    else:
        channels = input_shape[0]
        mean = [0.0] * channels if mean is None else mean
        std = [1.0] * channels if std is None else std
        return build_model(text, input_shape=input_shape, classes=classes, mean=mean, std=std, seed=seed)
    _check_fit(model, text, input_shape, classes)
    return model


def resolve_encoder(
    spec_or_folder: str | Path,
    *,
    input_shape: Sequence[int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    width: int | None = None,
    seed: int = 0,
) -> Encoder:
    """Return the encoder that a command line names; of a trained classifier, what is under its last layer.

    Args:
        spec_or_folder: as `resolve_model`; a `python:` module gives embeddings.
        input_shape: of the data; a new network needs it, and a trained one must agree with it.
        mean: per channel, for a new network (0 if none is given).
        std: per channel, likewise (1 if none is given).
        width: of a new network's embeddings; None takes what its architecture gives, another adds a linear head.
        seed: of a new network's weights.

    Raises:
        ConfigError: the string names nothing, or a new network's shape is not given.
        ShapeError: a trained network does not fit the data or the width.
        IntegrityError: the folder's model cannot be loaded.
    """
    text = str(spec_or_folder)
    if _is_path(text) and not is_foreign(text):
        encoder = load_encoder(text)
        if width not in (None, encoder.width):
            raise ShapeError(
                f"the trained encoder gives {encoder.width} numbers, not {width}",
                where=f"encoder {text!r}",
                fix="a trained encoder gets no new head: name an architecture, or pool the answers (--match pooled)",
            )
    elif input_shape is not None:
        channels = input_shape[0]
        encoder = resolve_new_encoder(
            text,
            input_shape=input_shape,
            mean=[0.0] * channels if mean is None else mean,
            std=[1.0] * channels if std is None else std,
            width=width,
            seed=seed,
        )
    elif is_foreign(text):
        encoder = foreign_encoder(text, Facts(), seed=seed)
    else:
        raise ConfigError(
            f"{text!r} is no trained encoder",
            expected="a run or model folder, or python:module:factory",
            fix="check the path, or train one with `understudy train simclr`",
        )
    if input_shape is not None and tuple(input_shape) != encoder.input_shape:
        raise ShapeError(
            f"the encoder takes inputs of shape {encoder.input_shape}, the data has {tuple(input_shape)}",
            where=f"encoder {text!r}",
            fix="take data of that shape, or another encoder",
        )
    return encoder


def _is_path(text: str) -> bool:
    """Return whether the string is a path: it looks like one, or is no architecture and exists."""
    name = text.partition(":")[0]
    if name in ARCHITECTURES:
        return False
    return os.sep in text or "/" in text or Path(text).exists() or Path(text).suffix[1:].isalpha()


def _check_fit(model: Classifier, text: str, input_shape: Sequence[int] | None, classes: int | None) -> None:
    if input_shape is not None and tuple(input_shape) != model.input_shape:
        raise ShapeError(
            f"the model takes inputs of shape {model.input_shape}, the data has {tuple(input_shape)}",
            where=f"model {text!r}",
            fix="take data of that shape, or another model",
        )
    if classes is not None and classes != model.classes:
        raise ShapeError(
            f"the model has {model.classes} classes, the data has {classes}",
            where=f"model {text!r}",
            fix="take data with those classes, or another model",
        )
