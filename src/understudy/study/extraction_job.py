"""What an extraction is asked to do: a method, a target with its terms, a surrogate, and images to ask about."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from understudy import catalogue
from understudy.errors import ConfigError
from understudy.evaluation.probe import Probes
from understudy.methods.extractor import Extractor
from understudy.methods.method import validated
from understudy.runs.options import RunOptions
from understudy.runs.run import FREE_OPTIONS
from understudy.study.job import RUNS, defaults, merged, require
from understudy.targets.defences import parse_defences


class Terms(BaseModel):
    """The terms on which a target is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    access: Literal["embeddings", "logits", "top-k", "labels"] = "embeddings"
    """What the target's answers are."""
    budget: PositiveInt | None = None
    """Most queries that may be sent, counted in images; without one the method's own plan decides."""
    over_budget: Literal["cut", "refuse"] = "cut"
    """What becomes of a plan or a request beyond the budget: as much as fits, or nothing."""
    replay: bool | None = None
    """Whether a repeated input is answered from file and not charged; off suits targets that answer at random. Not
    given, it is as the method's own accounting has it."""
    defences: str = "none"
    """What the target does to its answers: noise, rounding, topk, quantise, truncate, rotation, permutation,
    bucket_noise or b4b, with a value such as rounding:1; several are joined by +."""
    batch_rows: PositiveInt = 256
    """Rows of one request to the target."""
    retries: NonNegativeInt = 2
    """How often a request that failed is sent again."""
    price: NonNegativeFloat | None = None
    """Price of 1,000 queries, in any currency."""
    owner: str | None = Field(default=None, min_length=1)
    """Who owns the target."""
    authorised_by: str | None = Field(default=None, min_length=1)
    """Who has allowed this test of it."""


@dataclass(frozen=True)
class Extraction:
    """What a user asked for, resolved: a method, a target and its terms, a surrogate, and images to ask about."""

    name: str
    """The method's name in the catalogue."""
    method: Extractor
    target: str
    """Model folder, python:module:factory, onnx:FILE or stored:FILE."""
    surrogate: str
    """Spec of the network to train."""
    data: str
    """Images to ask about; their labels are not read."""
    options: RunOptions
    terms: Terms = field(default_factory=Terms)
    probe: tuple[str, ...] = ()
    """Labelled data sets on which copy and target are compared; none takes `data` if it is labelled."""
    probes: Probes = field(default_factory=Probes)
    preset: str | None = None
    target_sha256: str | None = None
    """Identity that the target must have; None takes it as it is."""

    def config(self) -> dict[str, Any]:
        """Return the configuration as `config.toml` stores it; `--config` reads the same."""
        return {
            "method": self.name,
            "preset": self.preset,
            "target": self.target,
            "surrogate": self.surrogate,
            "data": self.data,
            "probe": list(self.probe),
            "options": self.method.model_dump(mode="json"),
            "terms": self.terms.model_dump(mode="json"),
            "probes": self.probes.model_dump(mode="json"),
        }

    def default_folder(self) -> Path:
        """Return `runs/NAME`, where NAME tells methods, surrogates and seeds apart, and a hash everything else."""
        everything = json.dumps([self.config(), self.options.model_dump(exclude=set(FREE_OPTIONS))], sort_keys=True)
        short = hashlib.sha256(everything.encode()).hexdigest()[:6]
        return RUNS / f"{self.name}-{Path(self.surrogate.partition(':')[0]).name}-s{self.options.seed}-{short}"


def make_extraction(
    name: str,
    *,
    target: str | None,
    surrogate: str | None,
    data: str | None,
    options: Mapping[str, Any] | None = None,
    terms: Mapping[str, Any] | None = None,
    probes: Mapping[str, Any] | None = None,
    run_options: Mapping[str, Any] | None = None,
    probe: tuple[str, ...] = (),
    preset: str | None = None,
    target_sha256: str | None = None,
) -> Extraction:
    """Resolve an extraction: the preset's values, overridden by `options`, each checked against its bounds.

    Raises:
        ConfigError: a method, preset, defence or option is unknown or out of range, or something is not given.
    """
    cls = catalogue.load(name, verb="extract")
    base = cls.preset(preset).model_dump() if preset else defaults(cls)
    method = cls.checked(merged(base, options or {}), where=f"options of {name}")
    if not isinstance(method, Extractor):
        raise ConfigError(f"{name} is no method of extraction", fix="use `understudy methods`")
    require(target, "--target", "what is asked: a model folder, python:module:factory, onnx:FILE or stored:FILE")
    require(surrogate, "--surrogate", "the network to train, for instance resnet18:width=16")
    require(data, "--data", "images to ask the target about, for instance digits")
    kept = validated(Terms, dict(terms or {}), where="terms")
    parse_defences(kept.defences)
    return Extraction(
        name=name,
        method=method,
        target=str(target),
        surrogate=str(surrogate),
        data=str(data),
        options=validated(RunOptions, dict(run_options or {}), where="run options"),
        terms=kept,
        probe=tuple(probe),
        probes=validated(Probes, dict(probes or {}), where="probes"),
        preset=preset,
        target_sha256=target_sha256,
    )
