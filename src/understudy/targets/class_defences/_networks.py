"""Networks that defences use: loaded from run folders when they are needed, and their gradients per query."""

from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from understudy.errors import ConfigError
from understudy.models import Classifier, load_model, model_digest

_NUMBERS_AT_ONCE = 2**24
"""Numbers of per-query gradients that are held at a time: 64 MiB of float32, a few times over."""


def load_owned(folder: str, *, classes: int, where: str) -> Classifier:
    """Return the classifier of a run or model folder, in eval mode; a folder that did not change is read once.

    Raises:
        ConfigError: it has other classes than the classifier that is defended.
        IntegrityError: it cannot be loaded.
    """
    model, _ = _load(folder, _stamp(folder))
    if model.classes != classes:
        raise ConfigError(
            f"a network of {model.classes} classes beside a classifier of {classes}",
            where=f"{where}, {folder}",
            expected="a network trained for the classes of the defended classifier",
        )
    return model


def owned_digest(folder: str) -> str:
    """Return the hash of the weights in a folder.

    Raises:
        IntegrityError: they cannot be loaded.
    """
    return _load(folder, _stamp(folder))[1]


def check_images(
    images: Float[Tensor, " b *input"] | None, model: Classifier, *, where: str
) -> Float[Tensor, " b *input"]:
    """Return the queries, without their gradient, for a network that looks at them.

    Raises:
        ConfigError: there are none, or they are of another shape.
    """
    if images is None:
        raise ConfigError(
            "this defence looks at the queries themselves, and there are only answers",
            where=where,
            fix="choose a defence that needs the probabilities alone",
        )
    if tuple(images.shape[1:]) != tuple(model.input_shape):
        raise ConfigError(
            f"queries of the shape {tuple(images.shape[1:])}",
            where=where,
            expected=f"{tuple(model.input_shape)}, the input of the network in its folder",
        )
    return images


def gradient_products(
    model: nn.Module, images: Float[Tensor, " b *input"], y: Float64[Tensor, "b k"], *, norms: bool
) -> tuple[Float64[Tensor, "b k"], Float64[Tensor, "b k"] | None]:
    """Return G Gᵀy and the squared lengths ‖G_k‖² for each query, with G_k = ∇_w ln F_k(x) of a network F.

    One vector-Jacobian product gives Gᵀy, the transpose of that product G(Gᵀy), both for many queries at once; G itself
    (classes x weights for each query) is never held.

    Args:
        model: F gives the softmax of its logits; in eval mode. Its parameters are w.
        images: in [0, 1]. Shape (b, *input).
        y: weights of the classes. Shape (b, k).
        norms: whether the squared lengths are wanted; they cost k further products.
    """
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    dtype = next(iter(weights.values())).dtype

    def one(x: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        def log_probs(w: dict[str, Tensor]) -> Tensor:
            logits: Tensor = functional_call(model, w, (x.unsqueeze(0),))
            return logits.log_softmax(dim=1).squeeze(0)

        pull = vjp(log_probs, weights)[1]
        transposed = vjp(pull, row)[1]  # pull is linear in the row, so that its transpose is G itself
        (products,) = transposed(pull(row))
        if not norms:
            return products, products
        lengths = [_squared(pull(unit)[0]) for unit in torch.eye(len(row), dtype=row.dtype, device=row.device)]
        return products, torch.stack(lengths)

    rows = max(1, _NUMBERS_AT_ONCE // sum(weight.numel() for weight in weights.values()))
    chunks = zip(torch.split(images, rows), torch.split(y, rows), strict=True)
    with sdpa_kernel(SDPBackend.MATH):  # the other kernels of attention have no second derivative
        parts = [vmap(one)(x.detach().to(dtype), row.detach().to(dtype)) for x, row in chunks]
    products = torch.cat([part[0] for part in parts]).double()
    return products, torch.cat([part[1] for part in parts]).double() if norms else None


def _squared(gradient: dict[str, Tensor]) -> Tensor:
    return torch.stack([part.square().sum() for part in gradient.values()]).sum()


@lru_cache(maxsize=4)
def _load(folder: str, stamp: tuple[int, int]) -> tuple[Classifier, str]:  # noqa: ARG001 (a new stamp reads again)
    model = load_model(folder).requires_grad_(False).eval()
    return model, model_digest(model)


def _stamp(folder: str) -> tuple[int, int]:
    for place in (Path(folder), Path(folder) / "model"):
        record = place / "model.json"
        if record.is_file():
            state = record.stat()
            return state.st_mtime_ns, state.st_size
    return 0, 0
