"""Perturbed images judged batch by batch, each batch on file as it is done, so that a stopped evaluation goes on."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from understudy.attacks import SLACK, Norm
from understudy.data import ImageSet, as_float
from understudy.errors import DivergenceError
from understudy.evaluation._exact import exact
from understudy.evaluation._outcomes import Attacked, first_of_each, read, there, together
from understudy.runs.interrupts import Interrupted, asked_to_stop
from understudy.runs.progress import ProgressSink, Silent, tracking
from understudy.runs.seeds import stream
from understudy.runs.tensors import save_tensors

Perturb = Callable[[Float[Tensor, "b c h w"], Int64[Tensor, " b"], torch.Generator], Float[Tensor, "b c h w"]]
"""Makes perturbed images of clean ones; the generator is that of the batch."""


@dataclass(frozen=True, eq=False)
class Bench:
    """A network, the images that it is tried on, and for which threat.

    Args:
        model: takes float32 images in [0, 1] and gives logits.
        data: labelled images.
        epsilon: radius in pixel units of [0, 1].
        norm: "linf" or "l2".
        seed: of every random start.
        batch_size: images of one attack; fixed, for a batch is a function of it.
        folder: where finished batches are kept; None keeps none.
        progress: where progress is shown.
        name: what the network is called there.
        climbed: the network as attacks climb it, prepared for speed and equal to within rounding; verdicts come from
            `model`. None for `model` itself.
    """

    model: nn.Module
    data: ImageSet
    epsilon: float
    norm: Norm
    seed: int
    batch_size: int
    folder: Path | None = None
    progress: ProgressSink = field(default_factory=Silent)
    name: str = "model"
    climbed: nn.Module | None = None

    @property
    def attacked(self) -> nn.Module:
        """The network that attacks work on."""
        return self.model if self.climbed is None else self.climbed

    def exact(self) -> AbstractContextManager[None]:
        """Return the arithmetic of an evaluation; the network is in eval mode within."""
        return exact(self.model)

    def judge(
        self,
        name: str,
        perturb: Perturb | None,
        *,
        draws: str | None = None,
        standing: Bool[Tensor, " n"] | None = None,
        radius: float | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> Attacked:
        """Return which images are still classified rightly, of those that are perturbed by `perturb`.

        Args:
            name: of the attack; names its files.
            perturb: makes the images; None asks about them as they are.
            draws: name of the random stream; attacks of one name have the same starts. By default, `name`.
            standing: images to try; the others count as fallen. None tries all.
            radius: bound of the attack, where it is not the bench's.
            about: what else the outcome depends on; a folder with the outcome of something else is refused.

        Raises:
            ConfigError: the folder holds the outcome of something else.
            DivergenceError: the network answers with NaN or infinity.
            Interrupted: the user asked to stop; what is done is on file.
        """
        total, radius = len(self.data), self.epsilon if radius is None else radius
        key = self._identity(draws or name, standing, {**(about or {}), "radius": radius})
        files = [self._file(name, number) for number in range(-(-total // self.batch_size))]
        done = sum(min(self.batch_size, total - n * self.batch_size) for n, file in enumerate(files) if there(file))
        parts = []
        with (
            tracking(self.progress, f"{self.name} {name}", total=total, done=done, unit="images") as track,
            self.exact(),
        ):
            for number, file in enumerate(files):
                if file is not None and file.exists():
                    parts.append(read(file, key))
                    continue
                if asked_to_stop():
                    raise Interrupted
                start, clock = number * self.batch_size, time.monotonic()
                rows = torch.arange(start, min(start + self.batch_size, total))
                found = self._batch(rows, perturb, stream_name=draws or name, standing=standing, radius=radius)
                found["seconds"] = torch.tensor(time.monotonic() - clock, dtype=torch.float64)
                if file is not None:
                    save_tensors(file, found, {"kind": "attacked", "identity": key})
                parts.append(found)
                done += len(rows)
                track.update(done)
        return together(parts)

    def _batch(
        self,
        rows: Int64[Tensor, " b"],
        perturb: Perturb | None,
        *,
        stream_name: str,
        standing: Bool[Tensor, " n"] | None,
        radius: float,
    ) -> dict[str, Tensor]:
        """Return the outcome of one batch."""
        device = self.data.images.device
        tried = rows if standing is None else rows[standing[rows]]
        x = as_float(self.data.images[tried.to(device)])
        labels = self.data.labels[tried.to(device)]
        x_adv = x
        if perturb is not None and len(tried):
            number = int(rows[0]) // self.batch_size
            x_adv = perturb(x, labels, stream(self.seed, f"attack {stream_name}", step=number, device=device))
        within = self.within(x_adv, x, radius=radius)
        kept = within.to(device).view(-1, 1, 1, 1)
        predicted = self.classes(torch.where(kept, x_adv, x)).cpu()
        fallen = within & (predicted != labels.cpu())
        robust = torch.zeros(len(rows), dtype=torch.bool)
        answers = torch.full((len(rows),), -1)
        robust[tried - rows[0]] = ~fallen
        answers[tried - rows[0]] = predicted
        shown = first_of_each(labels.cpu(), fallen) if perturb is not None else torch.zeros(0, dtype=torch.int64)
        return {
            "robust": robust,
            "predicted": answers,
            "rows": tried[shown],
            "images": x_adv.detach().cpu()[shown].contiguous(),
            "outside": (~within).sum(),
        }

    def within(
        self, x_adv: Float[Tensor, "b c h w"], x: Float[Tensor, "b c h w"], *, radius: float
    ) -> Bool[Tensor, " b"]:
        """Return, on the CPU, which perturbed images keep to the radius and to the box."""
        if len(x) == 0:
            return torch.zeros(0, dtype=torch.bool)
        change = (x_adv.double() - x.double()).flatten(1)
        size = change.abs().amax(1) if self.norm == "linf" else change.norm(dim=1)
        boxed = (x_adv.flatten(1).amin(1) >= 0) & (x_adv.flatten(1).amax(1) <= 1)
        return (boxed & (size <= radius + SLACK[self.norm])).cpu()

    def classes(self, x: Float[Tensor, "b c h w"]) -> Int64[Tensor, " b"]:
        """Return the network's top classes.

        Raises:
            DivergenceError: an answer is NaN or infinite.
        """
        if len(x) == 0:
            return torch.zeros(0, dtype=torch.int64)
        with torch.no_grad():
            logits = self.model(x).float()
        broken = int((~logits.isfinite()).any(1).sum())
        if broken:
            raise DivergenceError(
                f"the network answers {broken} of {len(x)} images with NaN or infinity",
                where=f"{self.name}, on {self.data.name}, split {self.data.split}",
                fix="check its weights; train it again with a smaller learning rate or in float32",
            )
        top: Tensor = logits.argmax(1)
        return top

    def _file(self, name: str, number: int) -> Path | None:
        return None if self.folder is None else self.folder / name / f"{number:04d}.safetensors"

    def _identity(self, draws: str, standing: Tensor | None, about: Mapping[str, Any]) -> str:
        """Return a hash of all that an outcome depends on, apart from network and images, which the folder is for."""
        tried = "all" if standing is None else hashlib.sha256(standing.numpy().tobytes()).hexdigest()
        parts = [draws, tried, self.norm, self.seed, self.batch_size, len(self.data), dict(about)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
