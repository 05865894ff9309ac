"""One string for any target: a trained model, an ONNX file or answers on file."""

import torch

from understudy.models import Precision, resolve_encoder, resolve_model
from understudy.targets.access import Access
from understudy.targets.module import ModuleTarget
from understudy.targets.onnx import OnnxTarget
from understudy.targets.stored import StoredTarget
from understudy.targets.target import Target, parse_access


def resolve_target(
    spec: str,
    *,
    access: Access | str = Access.EMBEDDINGS,
    device: torch.device | str = "cpu",
    precision: Precision = "float32",
    k: int = 5,
) -> Target:
    """Return the target that a command line names.

    Args:
        spec: `onnx:FILE`, `onnx:FILE#OUTPUT`, `stored:FILE`, the folder of a trained classifier or encoder, or
            `hf:NAME`, `timm:NAME` or `python:module:factory`. Embeddings of a classifier are what its last linear
            layer sees.
        access: what it gives. A `python:` factory returns a module of embeddings or of logits, as this says.
        device: where it runs.
        precision: of the weights of a model.
        k: probabilities that are shown under access `top-k`.

    Raises:
        ConfigError: the string names nothing.
        AccessError: the target has no such answers.
        DependencyError: a package that it needs is not installed.
        IntegrityError: the file or folder cannot be loaded.
    """
    wanted = parse_access(access)
    kind, _, rest = spec.partition(":")
    if kind == "onnx":
        path, _, output = rest.partition("#")
        return OnnxTarget(path, access=wanted, output=output or None, name=spec, device=device, k=k)
    if kind == "stored":
        return StoredTarget(rest, access=wanted, name=spec)
    network = resolve_encoder(spec) if wanted is Access.EMBEDDINGS else resolve_model(spec)
    return ModuleTarget(network, access=wanted, name=spec, device=device, precision=precision, k=k)
