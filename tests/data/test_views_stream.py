"""Views by number: a function of seed, name, image and view, whatever else is asked for."""

from collections.abc import Callable
from dataclasses import fields

import pytest
import torch

from understudy.data import ViewParameters, Views, ViewStream, batch_views, view_stream
from understudy.errors import ConfigError

SHAPE = (3, 32, 32)
RECIPE = Views.extraction(0.9)


def equal(first: ViewParameters, second: ViewParameters) -> bool:
    return all(getattr(first, field.name).equal(getattr(second, field.name)) for field in fields(ViewParameters))


def test_an_image_gets_the_same_view_in_any_batch() -> None:
    rows = torch.tensor([5, 0, 1023, 1024, 5, 9_999, 2047, 2048])
    together = ViewStream(RECIPE, 0, "target").parameters(SHAPE, rows, 3)
    for place, row in enumerate(rows.tolist()):
        alone = ViewStream(RECIPE, 0, "target").parameters(SHAPE, torch.tensor([row]), 3)
        assert equal(alone, together.take(slice(place, place + 1)))


def test_a_view_is_the_same_whatever_was_asked_before() -> None:
    used = ViewStream(RECIPE, 0, "target")
    for view in (4, 0, 7):
        used.parameters(SHAPE, torch.arange(3000), view)
    fresh = ViewStream(RECIPE, 0, "target").parameters(SHAPE, torch.arange(100), 2)
    assert equal(used.parameters(SHAPE, torch.arange(100), 2), fresh)


def test_several_views_come_view_by_view() -> None:
    stream, rows = ViewStream(RECIPE, 0, "target"), torch.tensor([3, 1, 2000])
    found = stream.parameters(SHAPE, rows, range(2, 5))
    assert len(found) == 9
    for block, view in enumerate(range(2, 5)):
        assert equal(found.take(slice(3 * block, 3 * block + 3)), stream.parameters(SHAPE, rows, view))


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: ViewStream(RECIPE, 1, "target").parameters(SHAPE, rows, 0),
        lambda rows: ViewStream(RECIPE, 0, "surrogate").parameters(SHAPE, rows, 0),
        lambda rows: ViewStream(RECIPE, 0, "target").parameters(SHAPE, rows, 1),
        lambda rows: ViewStream(RECIPE, 0, "target").parameters(SHAPE, rows + 1024, 0),
        lambda rows: ViewStream(RECIPE, 0, "target").parameters(SHAPE, rows + 1, 0),
    ],
    ids=["seed", "name", "view", "chunk", "image"],
)
def test_each_part_of_the_key_changes_the_draw(change: Callable[[torch.Tensor], ViewParameters]) -> None:
    rows = torch.arange(1000)
    first, second = ViewStream(RECIPE, 0, "target").parameters(SHAPE, rows, 0), change(rows)
    assert (first.factors == second.factors).double().mean() < 0.01
    assert torch.corrcoef(torch.stack((first.factors[:, 0], second.factors[:, 0])))[0, 1].abs() < 0.16


def test_few_chunks_are_kept_and_forgotten_ones_come_back_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_stream, "_KEPT", 2)
    stream, rows = ViewStream(RECIPE, 0, "target"), torch.arange(10)
    first = stream.parameters(SHAPE, rows, 0)
    stream.parameters(SHAPE, rows, range(1, 6))
    assert len(stream._chunks) == 2
    assert equal(stream.parameters(SHAPE, rows, 0), first)


def test_one_stream_serves_images_of_several_sizes() -> None:
    stream, rows = ViewStream(RECIPE, 0, "target"), torch.arange(10)
    assert stream.parameters(SHAPE, rows, 0).boxes[:, 2].unique().tolist() == [30]
    assert stream.parameters((3, 224, 224), rows, 0).boxes[:, 2].unique().tolist() == [213]


def test_no_images_have_no_views() -> None:
    assert len(ViewStream(RECIPE, 0, "target").parameters(SHAPE, torch.tensor([], dtype=torch.int64), range(3))) == 0


def test_parameters_come_on_the_device_asked_for() -> None:
    found = ViewStream(RECIPE, 0, "target").parameters(SHAPE, torch.arange(3), 0, device="meta")
    assert found.boxes.device.type == "meta"


def test_batch_views_come_view_by_view() -> None:
    images = torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 3, 8, 8) * 60
    found = batch_views(images, Views(flip=0.5), 3, seed=0, name="views", step=0)
    assert found.equal((images / 255).repeat(3, 1, 1, 1))


def test_batch_views_are_a_function_of_seed_name_and_step() -> None:
    images = torch.randint(0, 256, (20, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    key = {"seed": 0, "name": "views", "step": 0}
    first = batch_views(images, RECIPE, 2, **key)
    assert batch_views(images, RECIPE, 2, **key).equal(first)
    for changed in ({"seed": 1}, {"name": "other"}, {"step": 1}):
        assert not batch_views(images, RECIPE, 2, **{**key, **changed}).equal(first)
    assert not first[:20].equal(first[20:])


def test_no_view_for_the_target_is_one_for_the_surrogate() -> None:
    """Property 14: with the two crops of the specification no image is ever shown to both."""
    images = torch.randint(0, 256, (50, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    stream = ViewStream(Views.extraction(0.9), 0, "target")
    sent = Views.extraction(0.9).apply(images.repeat(4, 1, 1, 1), stream.parameters(SHAPE, torch.arange(50), range(4)))
    used = batch_views(images, Views.extraction(0.75), 4, seed=0, name="surrogate", step=0)
    assert not {view.numpy().tobytes() for view in sent} & {view.numpy().tobytes() for view in used}


@pytest.mark.parametrize("count", [0, -1])
def test_no_views_of_each_image_are_refused(count: int) -> None:
    with pytest.raises(ConfigError, match="1 or more"):
        batch_views(torch.zeros(2, 3, 8, 8), Views(), count, seed=0, name="views", step=0)
