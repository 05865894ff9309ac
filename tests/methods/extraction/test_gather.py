"""Gathering: what a prototype is, what it costs, and what is left of it after a crash or at the end of a budget."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from understudy.bank import Prototypes
from understudy.data import ImageSet, ViewStream, as_float
from understudy.errors import BudgetExhausted, TargetError
from understudy.losses import unit_rows
from understudy.methods.extraction import _gather
from understudy.methods.extraction.cont_steal import ContSteal
from understudy.methods.extraction.rda import RDA, prototypes_of
from understudy.models import Encoder
from understudy.runs.run import Run
from understudy.runs.tensors import digest
from understudy.targets.defences import parse_defences

MakeRun = Callable[..., Run]
METHOD = RDA(views=3, blur=0.5)
IMAGES = 15


@pytest.fixture
def images(pool: ImageSet) -> ImageSet:
    return pool.take(torch.arange(IMAGES))


def rows_of(bank: Prototypes) -> Tensor:
    return bank.rows(torch.arange(len(bank)))


def test_a_prototype_is_the_mean_of_unit_answers_to_views_of_one_image(
    run: Run, images: ImageSet, watch: Any, open_endpoint: Any, target_network: Encoder
) -> None:
    """Refine, one image and one view at a time."""
    bank = METHOD.gather(open_endpoint(METHOD, watch(), run), images, width=32, run=run)
    stream = ViewStream(METHOD.views_with(0.9, "full"), run.seed, "target_views")
    target_network.eval()
    for index in range(IMAGES):
        total = torch.zeros(32)
        for view in range(3):
            drawn = stream.parameters(images.shape, torch.tensor([index]), view)
            with torch.no_grad():
                answer = target_network(stream.views.apply(images.images[index : index + 1], drawn))[0]
            total += answer / answer.norm() / 3
        assert torch.allclose(bank.rows(torch.tensor([index]))[0], total, atol=1e-5)


def test_how_images_are_batched_changes_nothing(
    make_run: MakeRun, images: ImageSet, watch: Any, open_endpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Property 6: within 1e-5, and so with several shards, and a last batch of one image."""
    found = []
    for asked, shard in ((1, 1024), (7, 1024), (100, 1024), (4, 7)):
        monkeypatch.setattr(_gather, "_ASKED", asked)
        monkeypatch.setattr(_gather, "_SHARD", shard)
        run = make_run(f"{asked}-{shard}")
        endpoint = open_endpoint(METHOD, watch(), run, batch_rows=256)
        bank = METHOD.gather(endpoint, images, width=32, run=run)
        assert len(list(bank.folder.glob("shard-*"))) == -(-IMAGES // shard)
        found.append(rows_of(bank))
    for other in found[1:]:
        assert torch.allclose(found[0], other, atol=1e-5)


def test_the_order_of_views_changes_nothing() -> None:
    """Property 6."""
    answers = unit_rows(torch.randn(5, 4, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    found = prototypes_of(answers[[3, 1, 4, 0, 2]], renormalise=False)
    assert torch.allclose(prototypes_of(answers, renormalise=False), found, rtol=0, atol=1e-12)


def test_the_length_of_a_prototype_tells_how_well_its_views_agree(
    make_run: MakeRun, images: ImageSet, watch: Any, open_endpoint: Any
) -> None:
    """Property 11: r² = 1/n + (1 − 1/n)·c̄, at most 1, and 1 for a single view."""
    steal = ContSteal(cached_views=3, crop_surrogate=0.9, blur=0.5)  # keeps every answer of the same distribution
    runs = [make_run(name) for name in ("means", "all", "one")]
    bank = METHOD.gather(open_endpoint(METHOD, watch(), runs[0]), images, width=32, run=runs[0])
    kept = steal.gather(open_endpoint(steal, watch(), runs[1]), images, width=32, run=runs[1])
    answers = rows_of(kept).view(IMAGES, 3, 32)
    assert torch.allclose(answers.mean(dim=1), rows_of(bank), atol=1e-6)
    cosines = answers @ answers.mT  # (images, views, views)
    mean = (cosines.sum(dim=(1, 2)) - 3) / 6
    lengths = bank.lengths()
    assert torch.allclose(lengths.square(), 1 / 3 + 2 / 3 * mean, atol=1e-6)
    assert float(lengths.max()) <= 1
    assert float(lengths.min()) < 0.999
    single = RDA(views=1)
    bank = single.gather(open_endpoint(single, watch(), runs[2]), images, width=32, run=runs[2])
    assert torch.allclose(bank.lengths(), torch.ones(IMAGES), atol=1e-6)
    entries = [entry["metrics"] for entry in runs[0].events if entry["phase"] == "gather"]
    assert entries == [{"length_mean": float(lengths.mean()), "length_min": float(lengths.min())}]


def test_a_single_view_is_the_image_unless_a_view_is_wanted(
    make_run: MakeRun, images: ImageSet, watch: Any, open_endpoint: Any
) -> None:
    for identity in (True, False):
        method, target, run = RDA(views=1, identity_view_when_n_is_1=identity), watch(), make_run(str(identity))
        method.gather(open_endpoint(method, target, run), images, width=32, run=run)
        assert torch.equal(torch.cat(target.sent), as_float(images.images)) is identity


def test_labels_are_not_read(make_run: MakeRun, images: ImageSet, watch: Any, open_endpoint: Any) -> None:
    """Property 12: the same prototypes whether labels tell the images apart or not."""
    found = []
    for name, labels in (("apart", torch.arange(IMAGES) % 10), ("alike", torch.zeros(IMAGES, dtype=torch.int64))):
        run = make_run(name)
        data = replace(images, labels=labels)
        found.append(rows_of(METHOD.gather(open_endpoint(METHOD, watch(), run), data, width=32, run=run)))
    assert torch.equal(*found)


def test_other_seeds_send_other_views(make_run: MakeRun, images: ImageSet, watch: Any, open_endpoint: Any) -> None:
    found = {}
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        run = make_run(name, seed=seed)
        found[name] = METHOD.gather(open_endpoint(METHOD, watch(), run), images, width=32, run=run)
    manifests = [found[name].folder / "manifest.json" for name in ("one", "same", "other")]
    assert manifests[0].read_bytes() == manifests[1].read_bytes() != manifests[2].read_bytes()
    assert not torch.allclose(rows_of(found["one"]), rows_of(found["other"]), atol=1e-3)


def test_defences_act_before_the_mean(run: Run, images: ImageSet, script: Any, open_endpoint: Any) -> None:
    """Property 15: the mean of rounded answers, and not the rounded mean."""
    answers = iter([[0.6, 0.8], [0.28, 0.96], [0.96, 0.28]])
    target = script(lambda x: torch.tensor(next(answers)).expand(len(x), 2), 2)
    endpoint = open_endpoint(METHOD, target, run, defences=parse_defences("rounding:1"))
    bank = METHOD.gather(endpoint, images.take([0]), width=2, run=run)
    assert rows_of(bank)[0].tolist() == pytest.approx([0.633333, 0.7], abs=1e-6)
    assert bank.manifest["defences"] == "rounding:1"


def test_repeats_of_an_image_are_queries_in_their_own_right(
    make_run: MakeRun, images: ImageSet, watch: Any, open_endpoint: Any
) -> None:
    """Without augmentation the n views are one image: n charges, and n answers of a noisy endpoint to average."""
    method = RDA(views=3, target_augment="none")
    lengths = {}
    for replay, charged in ((False, 3 * IMAGES), (True, IMAGES)):
        run = make_run(str(replay))
        endpoint = open_endpoint(method, watch(), run, replay=replay, defences=parse_defences("noise:0.3"))
        lengths[replay] = method.gather(endpoint, images, width=32, run=run).lengths().mean()
        assert endpoint.counts().rows == charged
    assert float(lengths[False]) < float(lengths[True]) - 0.3  # the same noise three times over does not average out
    assert method.replay is False


def test_a_bank_that_is_there_is_not_asked_for_again(
    run: Run, images: ImageSet, watch: Any, open_endpoint: Any
) -> None:
    first = METHOD.gather(open_endpoint(METHOD, watch(), run), images, width=32, run=run)
    silent = watch(raises=AssertionError("asked again"))
    again = METHOD.gather(open_endpoint(METHOD, silent, run), images, width=32, run=run)
    assert torch.equal(rows_of(first), rows_of(again))


@pytest.mark.parametrize("call", [0, 1, 3, 5])
def test_a_target_that_fails_is_not_paid_twice(
    make_run: MakeRun, images: ImageSet, watch: Any, open_endpoint: Any, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Whenever it fails, going on ends in the same bytes and in n·N charges."""
    monkeypatch.setattr(_gather, "_SHARD", 8)
    whole, cut = make_run("whole"), make_run("cut")
    expected = METHOD.gather(open_endpoint(METHOD, watch(), whole), images, width=32, run=whole)
    with pytest.raises(TargetError, match="no power"):
        METHOD.gather(open_endpoint(METHOD, watch(raises=OSError("no power"), at=call), cut), images, width=32, run=cut)
    endpoint = open_endpoint(METHOD, watch(), cut, budget=3 * IMAGES)
    found = METHOD.gather(endpoint, images, width=32, run=cut)
    assert endpoint.counts().rows == 3 * IMAGES
    for path in (expected.folder).iterdir():
        assert (found.folder / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("over_budget", ["cut", "refuse"])
def test_a_crash_costs_what_was_under_way_and_no_image_that_can_be_had(
    make_run: MakeRun, images: ImageSet, watch: Any, open_endpoint: Any, over_budget: str
) -> None:
    """8 rows were sent and never heard of again: the exact budget then pays for the rest of 11 images."""
    budget, run, whole = 3 * IMAGES, make_run("cut"), make_run("whole")
    dying = watch(raises=KeyboardInterrupt(), at=2)
    with pytest.raises(KeyboardInterrupt):
        METHOD.gather(open_endpoint(METHOD, dying, run, budget), images, width=32, run=run)
    endpoint = open_endpoint(METHOD, watch(), run, budget, over_budget=over_budget)
    bank = METHOD.gather(endpoint, images, width=32, run=run)
    assert len(bank) == IMAGES - 4
    assert endpoint.counts().rows == budget
    expected = METHOD.gather(open_endpoint(METHOD, watch(), whole), images, width=32, run=whole)
    assert torch.allclose(rows_of(bank), rows_of(expected)[: IMAGES - 4], atol=1e-6)


def test_a_short_shard_ends_the_bank(
    run: Run, images: ImageSet, watch: Any, open_endpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between a budget's last shard and the manifest, a run does not ask for what would follow."""
    monkeypatch.setattr(_gather, "_SHARD", 8)
    with monkeypatch.context() as patch:
        patch.setattr(_gather.PrototypeWriter, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            METHOD.gather(open_endpoint(METHOD, watch(), run, 3 * 8 + 2 * 7 + 3), images, width=32, run=run)
    bank = METHOD.gather(open_endpoint(METHOD, watch(), run, 100), images, width=32, run=run)
    assert len(bank) == 8 + 5


def test_a_budget_without_a_single_whole_image_is_an_error(
    run: Run, images: ImageSet, watch: Any, open_endpoint: Any
) -> None:
    with pytest.raises(BudgetExhausted, match="before one image was answered"):
        METHOD.gather(open_endpoint(METHOD, watch(), run, 2), images, width=32, run=run)


def test_the_target_stays_as_it_is(
    run: Run, images: ImageSet, watch: Any, open_endpoint: Any, target_network: Encoder
) -> None:
    """Property 13."""
    target_network.train()
    before = digest(target_network.state_dict())
    METHOD.gather(open_endpoint(METHOD, watch(), run), images, width=32, run=run)
    assert digest(target_network.state_dict()) == before
    assert target_network.training
    assert all(weight.grad is None for weight in target_network.parameters())
    target_network.eval()
