"""Classifiers from elsewhere: `hf:NAME` (Hugging Face), `timm:NAME`, `python:module:factory` (your code).

Weights are read from safetensors only; remote code is never trusted.
"""

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from understudy.errors import ConfigError, DependencyError, DivergenceError, ShapeError, nearest
from understudy.models.classifier import Classifier
from understudy.models.modes import evaluating

_PREFIXES = ("hf:", "timm:", "python:")


@dataclass(frozen=True)
class Facts:
    """What is known of a network's inputs and outputs; None where it is not."""

    input_shape: Sequence[int] | None = None
    classes: int | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None


def is_foreign(spec: str) -> bool:
    """Return whether a spec names a classifier that is not one of our architectures."""
    return spec.startswith(_PREFIXES)


def load_foreign(spec: str, given: Facts, *, seed: int = 0) -> Classifier:
    """Return a classifier from elsewhere, in eval mode.

    Args:
        spec: `hf:NAME` (a hub repository or local folder of transformers), `timm:NAME`, or
            `python:module:factory`, where `factory()` returns a module that gives logits. That module may
            have attributes `input_shape`, `classes`, `mean` and `std`; without mean and std it takes inputs
            in [0, 1].
        given: facts that go before what the network says of itself.
        seed: of weights that the network draws when it is built, from torch's global generator, which is restored.

    Raises:
        ConfigError: the name cannot be loaded, or the input shape is not known.
        DependencyError: the package that it needs is not installed.
        ShapeError: it does not give logits of shape (batch, classes).
        DivergenceError: its logits are NaN or infinite.
    """
    prefix, _, name = spec.partition(":")
    loaders = {"hf": _from_transformers, "timm": _from_timm, "python": _from_python}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net, own = loaders[prefix](name)
    net = net.float()  # hub weights may come in half precision, and our inputs are float32
    input_shape = given.input_shape or own.input_shape
    if input_shape is None:
        raise ConfigError(
            "the input shape of this network is not known",
            where=spec,
            fix="give it, or set `input_shape = (channels, height, width)` on the module",
        )
    shape = tuple(int(size) for size in input_shape)
    classes = _count_classes(net, shape, given.classes or own.classes, spec)
    mean = given.mean or own.mean or [0.0] * shape[0]
    std = given.std or own.std or [1.0] * shape[0]
    model = Classifier(net, spec=spec, input_shape=shape, classes=classes, mean=mean, std=std)
    return model.eval()


@torch.no_grad()
def _count_classes(net: nn.Module, shape: tuple[int, ...], classes: int | None, spec: str) -> int:
    """Run two inputs of zeros, check that the outputs are logits, and return the number of classes."""
    like = next(net.parameters(), torch.zeros(()))
    zeros = torch.zeros(2, *shape, dtype=like.dtype, device=like.device)
    try:
        with evaluating(net):
            logits = net(zeros)
    except Exception as error:
        raise ShapeError(
            f"the network cannot take inputs of shape {shape}: {error}",
            where=spec,
            fix="give the input shape that it was made for",
        ) from error
    found = tuple(logits.shape) if isinstance(logits, Tensor) else (type(logits).__name__,)
    if len(found) != 2 or found[0] != 2 or (classes is not None and found[1] != classes):
        raise ShapeError(
            f"the network's output for two inputs is {found}",
            where=spec,
            expected=f"logits of shape (2, {classes or 'classes'})",
        )
    if not torch.isfinite(logits).all():
        raise DivergenceError("the network's logits for an input of zeros are NaN or infinite", where=spec)
    return int(found[1])


class _Logits(nn.Module):
    """Hand on only the logits of a transformers model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return cast(Tensor, self.model(pixel_values=pixel_values).logits)


def _from_transformers(name: str) -> tuple[nn.Module, Facts]:
    where = f"hf:{name}"
    try:
        from transformers import AutoModelForImageClassification
        from transformers.image_processing_base import ImageProcessingMixin
    except (ImportError, RuntimeError) as error:
        raise _missing("transformers", "hf", where, error) from error
    try:
        model, loading = AutoModelForImageClassification.from_pretrained(
            name, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ConfigError(
            f"this model cannot be loaded: {error}",
            where=where,
            expected="an image classifier with safetensors weights, on the hub or in a local folder",
        ) from error
    if absent := sorted(loading["missing_keys"]):
        raise ConfigError(
            f"the weights lack {len(absent)} tensors, {absent[0]!r} first; they would be random",
            where=where,
            expected="a trained classifier, head included",
        )
    try:
        processor, _ = ImageProcessingMixin.get_image_processor_dict(name)
    except OSError:
        processor = {}  # without one, the network takes inputs in [0, 1]
    if not processor.get("do_rescale", True):
        raise ConfigError("its image processor does not rescale pixels to [0, 1]", where=where)
    normalised = processor.get("do_normalize", True)
    return _Logits(model), Facts(
        input_shape=_processed_shape(model.config, processor),
        mean=processor.get("image_mean") if normalised else None,
        std=processor.get("image_std") if normalised else None,
    )


def _processed_shape(config: Any, processor: dict[str, Any]) -> tuple[int, int, int] | None:
    """Return the shape of what an image processor gives, or else the shape in the configuration."""
    size = processor.get("crop_size" if processor.get("do_center_crop") else "size")
    size = size or getattr(config, "image_size", None)
    if isinstance(size, dict):
        edge = size.get("shortest_edge")
        size = (size.get("height", edge), size.get("width", edge))
    height, width = size if isinstance(size, tuple | list) else (size, size)
    return None if height is None or width is None else (getattr(config, "num_channels", 3), height, width)


def _from_timm(name: str) -> tuple[nn.Module, Facts]:
    where = f"timm:{name}"
    try:
        import timm
        from huggingface_hub import hf_hub_download
        from timm.data.config import resolve_model_data_config
    except (ImportError, RuntimeError) as error:
        raise _missing("timm", "vision", where, error) from error
    if not timm.is_model(name):
        raise ConfigError(f"timm has no model {name!r}", where=where, expected=nearest(name, timm.list_models()))
    configuration = timm.get_pretrained_cfg(name)
    if configuration is None or not configuration.hf_hub_id:
        raise ConfigError("timm has no weights for this model on the hub", where=where)
    try:
        weights = hf_hub_download(configuration.hf_hub_id, "model.safetensors")
    except OSError as error:  # every error of the hub is one
        raise ConfigError(f"the weights cannot be fetched: {error}", where=where) from error
    # Given as a file, so that timm never falls back to a pickle.
    model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": weights})
    configure: Callable[[nn.Module], dict[str, Any]] = resolve_model_data_config
    data = configure(model)
    return model, Facts(input_shape=data["input_size"], mean=data["mean"], std=data["std"])


def _from_python(name: str) -> tuple[nn.Module, Facts]:
    where = f"python:{name}"
    module_name, _, factory_name = name.partition(":")
    if not module_name or not factory_name:
        raise ConfigError("the module or its factory is missing", where=where, expected="python:module:factory")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ConfigError(
            f"the module cannot be imported: {error}",
            where=where,
            fix="install it, or put its folder on PYTHONPATH",
        ) from error
    factory = getattr(module, factory_name, None)
    if factory is None:
        names = [key for key in vars(module) if not key.startswith("_")]
        raise ConfigError(
            f"{module_name!r} has no {factory_name!r}", where=where, expected=nearest(factory_name, names)
        )
    # A spec may come from a file, so only what the named package itself defines is called.
    package = str(getattr(factory, "__module__", "")).partition(".")[0]
    if package != module_name.partition(".")[0] or not (
        inspect.isfunction(factory) or (inspect.isclass(factory) and issubclass(factory, nn.Module))
    ):
        raise ConfigError(
            f"{factory_name!r} is no factory",
            where=where,
            expected=f"a function or module class that {module_name!r} defines",
        )
    try:
        net = factory()
    except Exception as error:
        raise ConfigError(f"the factory fails: {type(error).__name__}: {error}", where=where) from error
    if not isinstance(net, nn.Module):
        raise ConfigError(f"the factory returns a {type(net).__name__}", where=where, expected="a torch.nn.Module")
    return net, Facts(*(_plain(getattr(net, key, None)) for key in ("input_shape", "classes", "mean", "std")))


def _plain(value: Any) -> Any:
    """Return a tensor as a list: modules keep their mean and std as buffers."""
    return value.flatten().tolist() if isinstance(value, Tensor) else value


def _missing(package: str, extra: str, where: str, error: Exception) -> DependencyError:
    return DependencyError(
        f"{package} cannot be imported: {error}", where=where, fix=f"pip install 'understudy[{extra}]'"
    )
