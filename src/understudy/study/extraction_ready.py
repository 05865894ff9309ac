"""An extraction with everything loaded and checked, before its first query."""

from dataclasses import dataclass
from typing import Any

import torch

from understudy.data import ImageSet, adapt, adaptation, as_float, load_images
from understudy.errors import ConfigError
from understudy.methods.extraction import check_widths
from understudy.models import Encoder, resolve_encoder
from understudy.runs.seeds import derive_seed
from understudy.runs.tensors import digest
from understudy.study.copy_scores import EvaluationSet
from understudy.study.extraction_job import Extraction
from understudy.targets import StoredTarget, Target, check_access, resolve_target
from understudy.targets.defences import Defence, parse_defences


@dataclass(frozen=True)
class Ready:
    """An extraction with everything loaded and checked, before its first query."""

    target: Target
    defences: tuple[Defence, ...]
    surrogate: Encoder
    pool: ImageSet
    adapted: str | None
    """What was done to the pool's images to fit the target, in words."""
    evaluation: tuple[EvaluationSet, ...]
    config: dict[str, Any]
    facts: dict[str, object]


def prepare_extraction(job: Extraction) -> Ready:
    """Load what an extraction needs, and check that it fits together; the target is not asked.

    Raises:
        AccessError: the method needs more than the target gives.
        UnderstudyError: something is missing, damaged, or does not fit.
    """
    options, terms = job.options, job.terms
    target = resolve_target(job.target, access=terms.access, device=options.torch_device(), precision=options.precision)
    check_access(target, job.method.requires, what=job.name)
    if job.target_sha256 not in (None, target.identity):
        raise ConfigError(
            "the target is not the one that the configuration was made for (its SHA-256 differs)",
            where=job.target,
            fix="name the right target, or remove target_sha256 from the configuration",
        )
    defences = parse_defences(terms.defences)
    width = target.width
    for defence in defences:
        defence.check(width)
        width = defence.width(width)
    images = load_images(job.data, "train", labelled=False)
    pool = adapt(images, target.input_shape)
    surrogate = resolve_encoder(
        job.surrogate,
        input_shape=target.input_shape,
        mean=pool.mean,
        std=pool.std,
        width=width if job.method.match == "linear" else None,
        seed=derive_seed(options.seed, "surrogate"),
    )
    if job.method.queries_per_image != 0:
        check_widths(width, surrogate.width, job.method.match)
    job.method.plan(len(pool), terms.budget, over_budget=terms.over_budget)
    evaluation = tuple(
        EvaluationSet.load(source, target.input_shape, rows=job.probes.train_rows) for source in _probe_sources(job)
    )
    if isinstance(target, StoredTarget):
        _check_stored(target, evaluation)
    facts: dict[str, object] = {"train_sha256": digest({"images": pool.images}), "target_sha256": target.identity}
    for number, one in enumerate(evaluation):
        facts[f"probe_{number}_sha256"] = one.digest()
    config = {**job.config(), "target_sha256": target.identity}
    adapted = adaptation(images.shape, target.input_shape)
    return Ready(target, defences, surrogate, pool, adapted, evaluation, config, facts)


def _probe_sources(job: Extraction) -> tuple[str, ...]:
    if job.probe:
        return job.probe
    return (job.data,) if load_images(job.data, "train", labelled=False).labelled else ()


def _check_stored(target: StoredTarget, evaluation: tuple[EvaluationSet, ...]) -> None:
    """Refuse stored answers that cannot be evaluated, before anything is trained.

    Raises:
        TargetError: an image of an evaluation set is not on file.
    """
    for one in evaluation:
        for images in (one.train.images, one.test.images):
            for part in torch.split(images, 1024):
                target.answer(as_float(part))
