"""Which views an image gets: a function of the seed and of names, whatever else is in the batch."""

from collections import OrderedDict
from collections.abc import Iterable

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from understudy.data._view_parameters import ViewParameters, joined
from understudy.data.views import Views
from understudy.errors import ConfigError
from understudy.runs.seeds import stream

_CHUNK = 1024  # images whose parameters are drawn together
_KEPT = 64  # chunks that are kept; each is 1024 rows of about 120 bytes


class ViewStream:
    """Views by number: the parameters of (image, view) depend on the seed, the name and these two alone.

    They are drawn on the CPU, so that the device changes no view.

    Args:
        views: the distribution.
        seed: the run's seed.
        name: the stream's name; streams of other names are unrelated.
    """

    def __init__(self, views: Views, seed: int, name: str) -> None:
        self.views = views
        self._seed, self._name = seed, name
        self._chunks: OrderedDict[tuple[tuple[int, ...], int, int], ViewParameters] = OrderedDict()

    def parameters(
        self,
        shape: tuple[int, ...],
        rows: Int64[Tensor, " b"],
        view: int | Iterable[int],
        *,
        device: torch.device | str = "cpu",
    ) -> ViewParameters:
        """Return what was drawn for some images.

        Args:
            shape: (c, h, w) of the images.
            rows: image indices, in any order, repeated or not. Shape (b,).
            view: the number of the view, from 0; of several numbers the rows of the first come first.
            device: where the parameters are wanted.
        """
        rows = rows.cpu()
        numbers = [view] if isinstance(view, int) else list(view)
        return joined([self._one_view(shape, rows, number) for number in numbers]).to(device)

    def _one_view(self, shape: tuple[int, ...], rows: Int64[Tensor, " b"], view: int) -> ViewParameters:
        chunks = rows // _CHUNK
        held, inside = torch.unique(chunks, return_inverse=True)
        table = joined([self._chunk(tuple(shape), chunk, view) for chunk in held.tolist() or [0]])
        return table.take(inside * _CHUNK + rows % _CHUNK)

    def _chunk(self, shape: tuple[int, ...], chunk: int, view: int) -> ViewParameters:
        key = (shape, chunk, view)
        if key not in self._chunks:
            generator = stream(self._seed, f"{self._name}|{chunk}", step=view)
            self._chunks[key] = self.views.draw(_CHUNK, shape, generator)
        self._chunks.move_to_end(key)
        while len(self._chunks) > _KEPT:
            self._chunks.popitem(last=False)
        return self._chunks[key]


def batch_views(
    images: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"],
    views: Views,
    count: int,
    *,
    seed: int,
    name: str,
    step: int,
) -> Float[Tensor, "n c h w"]:
    """Return fresh views of a batch: a function of (seed, name, step), drawn on the images' device.

    Args:
        images: grey or RGB images. Shape (b, c, h, w).
        views: the distribution.
        count: views of each image, at least 1.
        seed: the run's seed.
        name: the stream's name.
        step: step of the run, from 0.

    Returns:
        Shape (count * b, c, h, w), in [0, 1]: the first views of all images, then the second, and so on.

    Raises:
        ConfigError: count is below 1.
        ShapeError: images neither grey nor RGB.
    """
    if count < 1:
        raise ConfigError(f"{count} views of each image", expected="1 or more")
    generator = stream(seed, name, step=step, device=images.device)
    parameters = views.draw(count * len(images), tuple(images.shape[1:]), generator)
    return views.apply(images.repeat(count, 1, 1, 1), parameters)
