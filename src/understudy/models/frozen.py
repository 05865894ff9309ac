"""Frozen networks: the copy of a classifier or encoder that every attack, synthesis and query uses.

It answers as the original does, within a tolerance: in float32 the logits differ by at most
`FLOAT32_TOLERANCE * (1 + max |logit|)`, in bf16 by at most `BF16_TOLERANCE * (1 + max |logit|)`.
"""

import copy
import os
import shutil
import sys
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.errors import DependencyError, DivergenceError
from understudy.models._fold import fold_batch_norms
from understudy.models.network import Network, Normalise

BF16_TOLERANCE = 1e-1
"""Largest difference of the logits in precision bf16, over 1 + the largest |logit|.

MobileNetV2, 52 layers deep and narrow, comes to 0.06, under torch's own autocast too; the others stay
below 0.02.
"""

Precision = Literal["float32", "bf16"]


class Frozen(nn.Module):
    """A network for reading only: eval mode for ever, no parameter gradients. Made by `freeze`.

    Args:
        net: the prepared network; takes normalised inputs of its own dtype.
        normalise: the classifier's first layer, in float32.
        spec: of the classifier.
        input_shape: of one input.
        classes: number of classes, or the width of an embedding.
        dtype: in which the network computes.
        channels_last: whether images are handed over in channels-last layout.
        notes: what was done to the network, one remark each.
    """

    def __init__(
        self,
        net: nn.Module,
        normalise: Normalise,
        *,
        spec: str,
        input_shape: tuple[int, ...],
        classes: int,
        dtype: torch.dtype,
        channels_last: bool,
        notes: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.net = net
        self.normalise = normalise
        self.spec = spec
        self.input_shape = input_shape
        self.classes = classes
        self.dtype = dtype
        self.channels_last = channels_last
        self.notes = notes
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Float[Tensor, " batch *input"]) -> Float[Tensor, "batch classes"]:
        """Return the float32 logits of inputs in [0, 1]."""
        return self.forward_normalised(self.normalise(x))

    def forward_normalised(self, z: Float[Tensor, " batch *input"]) -> Float[Tensor, "batch classes"]:
        """Return the float32 logits of inputs in the network's normalised coordinates."""
        z = z.to(self.dtype)
        if self.channels_last:
            z = z.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.net(z)
        return logits.float()

    def train(self, mode: bool = True) -> "Frozen":  # noqa: ARG002 (torch's signature)
        """Stay in eval mode, whatever is asked: nothing frozen updates a BatchNorm or drops a unit."""
        return super().train(False)


def freeze(
    model: Network,
    *,
    precision: Precision = "float32",
    channels_last: bool = True,
    compiled: bool = False,
    fold: bool = True,
) -> Frozen:
    """Return a frozen copy, prepared for speed; the model itself is not changed.

    Args:
        model: on any device; the copy stays there.
        precision: of weights and activations. Inputs and logits are float32 either way.
        channels_last: lay out images and convolutions channels-last; of no effect without 2-D convolutions.
        compiled: compile the network with `torch.compile` on its first call.
        fold: fold BatchNorms into the layers before them; where that cannot be done, `notes` says why.

    Raises:
        DivergenceError: a weight is NaN or infinite.
        DependencyError: `compiled` on the CPU, and there is no C++ compiler.
    """
    return Frozen(**prepare(model, precision=precision, channels_last=channels_last, compiled=compiled, fold=fold)[0])


def prepare(
    model: Network, *, precision: Precision, channels_last: bool, compiled: bool, fold: bool
) -> tuple[dict[str, Any], tuple[tuple[str, str], ...]]:
    """Return what `Frozen` is made of, and the names of layers and BatchNorms that were folded together."""
    check_finite(model)
    if compiled:
        _check_compiler(model)
    net = copy.deepcopy(model.net).eval().requires_grad_(False).float()
    notes: list[str] = []
    pairs: tuple[tuple[str, str], ...] = ()
    if fold:
        folded = fold_batch_norms(net, model.input_shape)
        net, pairs = folded.net, folded.pairs
        notes.append(folded.note)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    channels_last = channels_last and any(isinstance(layer, nn.Conv2d) for layer in net.modules())
    net = net.to(dtype=dtype)
    if channels_last:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compiled:
        net.compile()
        notes.append("compiled")
    parts = {
        "net": net,
        "normalise": copy.deepcopy(model.normalise),
        "spec": model.spec,
        "input_shape": model.input_shape,
        "classes": model.outputs,
        "dtype": dtype,
        "channels_last": channels_last,
        "notes": tuple(notes),
    }
    return parts, pairs


def check_finite(model: Network) -> None:
    """Check that every weight and statistic of a model is a number.

    Raises:
        DivergenceError: one is NaN or infinite; the message names the tensor.
    """
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise DivergenceError(
                "the weights hold NaN or infinite values",
                where=f"tensor {name!r} of {model.spec!r}",
                fix="train the model again with a smaller learning rate, or take an earlier checkpoint",
            )


def _check_compiler(model: Network) -> None:
    """Find the C++ compiler before the first call does, hours later and in torch's words."""
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    known = [os.environ.get("CXX", ""), "g++", "clang++", *(["cl"] if sys.platform == "win32" else [])]
    if on_cpu and not any(shutil.which(name) for name in known if name):
        raise DependencyError(
            "compiling for the CPU needs a C++ compiler, and none is installed",
            expected="g++ or clang++ on the path",
            fix="install one, or run without compilation",
        )
