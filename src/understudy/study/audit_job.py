"""What an audit is asked to do: a grid of methods, budgets, defences and seeds on one target, and on what terms."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from understudy import catalogue
from understudy.errors import ConfigError, nearest
from understudy.evaluation.probe import Probes
from understudy.methods.method import validated
from understudy.runs.options import RunOptions
from understudy.runs.run import FREE_OPTIONS
from understudy.study.extraction import Extraction, make_extraction
from understudy.study.job import RUNS, merged, require
from understudy.targets.defences import describe, parse_defences

CONTROLS = ("random_surrogate", "no_query")
"""Methods that ask nothing: every audit runs them, so that the others have something to stand beside."""
_TABLES = ("options", "options_of", "terms", "probes", "run")
_TEXTS = ("methods", "defences", "probe")
_LISTS = (*_TEXTS, "budgets", "seeds")
_NO_CONTROLS = {"random_control": False, "no_query_control": False}
_WHY = "an audit copies an encoder, which is for encoders that you own or may test; its report says who allowed it"


class AuditTerms(BaseModel):
    """The terms on which a target is audited."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    owner: str | None = None
    """Who owns the target; printed in the report."""
    authorised_by: str | None = None
    """Who has allowed this audit; printed in the report."""
    price: NonNegativeFloat | None = None
    """Price of 1,000 queries."""
    currency: str = ""
    """Currency of the price, such as EUR."""
    copied_frac: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of the way from the control without queries to the target that counts as copied."""
    access: Literal["embeddings", "logits", "top-k", "labels"] = "embeddings"
    """What the target's answers are."""
    replay: bool | None = None
    """Whether a repeated input is answered from file and not charged, by default as the method has it; off for targets
    that answer at random."""
    batch_rows: PositiveInt = 256
    """Rows of one request to the target."""
    retries: NonNegativeInt = 2
    """How often a request that failed is sent again."""


class Audit(BaseModel):
    """An audit, resolved: what `config.toml` holds, and `--config` reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    target: str
    """Model folder, python:module:factory, onnx:FILE or stored:FILE."""
    surrogate: str
    """Spec of the network that copies are made of."""
    data: str
    """Images to ask about; their labels are not read."""
    methods: Annotated[tuple[str, ...], Field(min_length=1)]
    """Methods by name."""
    budgets: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    """Most queries that a run may send, in images."""
    defences: Annotated[tuple[str, ...], Field(min_length=1)] = ("none",)
    """Defences of the target, each a spec or several joined by +."""
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0,)
    """Seeds; three or more give intervals."""
    probe: tuple[str, ...] = ()
    """Labelled data sets on which copy and target are compared, the main one first; none takes `data`."""
    measure: Literal["linear", "few_shot", "knn", "mlp"] = "linear"
    """The probe that the report leads with, declared before the run; few_shot still tells where linear is full."""
    preset: str | None = None
    """Named values of every method's options."""
    options: dict[str, Any] = {}
    """Options of every method."""
    options_of: dict[str, dict[str, Any]] = {}
    """Options of single methods, by name; they override the common ones."""
    terms: AuditTerms = AuditTerms()
    """Who allows it, what it costs, and what the target gives."""
    probes: Probes = Probes()
    """Which probes are trained, and how."""
    run: RunOptions = RunOptions()
    """How runs are carried out; their seeds are `seeds`."""
    target_sha256: str | None = None
    """Identity that the target must have; None takes it as it is."""

    def config(self) -> dict[str, Any]:
        """Return the configuration as `config.toml` stores it, apart from the table [run]."""
        return self.model_dump(mode="json", exclude={"run"})

    def default_folder(self) -> Path:
        """Return `runs/NAME`, with a hash of all that matters in the name."""
        everything = json.dumps([self.config(), self.run.model_dump(exclude=set(FREE_OPTIONS))], sort_keys=True)
        short = hashlib.sha256(everything.encode()).hexdigest()[:6]
        return RUNS / f"audit-{Path(self.surrogate.partition(':')[0]).name}-{short}"

    def job(
        self,
        method: str,
        *,
        seed: int,
        budget: int | None = None,
        defence: str = "none",
        options: Mapping[str, Any] | None = None,
    ) -> Extraction:
        """Return one run of the audit, whose controls are runs of their own.

        Args:
            method: name in the catalogue.
            seed: of the run.
            budget: most queries that it may send.
            defence: spec of the target's defences.
            options: the method's options, in the place of the audit's.

        Raises:
            ConfigError: an option is unknown or out of range.
        """
        terms = self.terms.model_dump(exclude={"currency", "copied_frac"})
        own = merged(self.options, self.options_of.get(method, {})) if options is None else options
        return make_extraction(
            method,
            target=self.target,
            surrogate=self.surrogate,
            data=self.data,
            options={**own, **_NO_CONTROLS},
            terms={**terms, "budget": budget, "defences": defence},
            probes=self.probes.model_dump(),
            run_options={**self.run.model_dump(), "seed": seed},
            probe=self.probe,
            preset=self.preset if options is None else None,
            target_sha256=self.target_sha256,
        )


def make_audit(values: Mapping[str, Any]) -> Audit:
    """Resolve an audit: every value within its bounds, every method and defence known, and somebody who allows it.

    Args:
        values: fields of `Audit`.

    Raises:
        ConfigError: something is missing, unknown or out of range.
    """
    given = {name: value for name, value in values.items() if value is not None}
    check_shapes(given)
    terms = given.get("terms", {})
    for name in ("owner", "authorised_by"):
        if not str(terms.get(name) or "").strip():
            raise ConfigError(
                f"--{name.replace('_', '-')} is missing",
                expected="who owns the target" if name == "owner" else "who has allowed this audit",
                fix=f"give it as a flag, or as {name} under [terms] in the --config file: {_WHY}",
            )
    require(given.get("target"), "--target", "what is audited: a model folder, onnx:FILE, stored:FILE or python:...")
    require(given.get("surrogate"), "--surrogate", "the network to train, for instance resnet18:width=16")
    require(given.get("data"), "--data", "images to ask the target about, for instance digits")
    require(given.get("methods") or None, "--methods", "one or more, for instance rda,cont_steal")
    require(given.get("budgets") or None, "--budgets", "one or more, for instance 1000,5000")
    defences = tuple(describe(parse_defences(spec)) for spec in given.get("defences") or ("none",))
    audit = validated(Audit, {**given, "defences": _distinct(defences)}, where="audit")
    audit = audit.model_copy(
        update={
            "methods": _distinct(audit.methods),
            "budgets": tuple(sorted(set(audit.budgets))),
            "seeds": _distinct(audit.seeds),
            "probe": _distinct(audit.probe),
        }
    )
    _check_methods(audit)
    if not getattr(audit.probes, audit.measure):
        raise ConfigError(
            f"the main measure is {audit.measure}, which is not to be taken",
            where="--measure",
            fix=f"choose another, or put {audit.measure} = true under [probes]",
        )
    return audit


def check_shapes(values: Mapping[str, Any], *, where: object = None) -> None:
    """Refuse values that are no table or no list where one belongs; what is in them is checked by `make_audit`.

    Raises:
        ConfigError: there is one.
    """
    for name, value in values.items():
        if name in _TABLES and not isinstance(value, Mapping):
            raise ConfigError(f"{name} is {value!r}", where=where, expected=f"a section [{name}]")
        if name in _LISTS and not isinstance(value, list | tuple):
            raise ConfigError(f"{name} is {value!r}", where=where, expected=f"a list: {name} = [{value!r}]")
        if name in _TEXTS and not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{name} is {value!r}", where=where, expected="a list of texts in quotes")


def _check_methods(audit: Audit) -> None:
    """Refuse unknown methods and options, and controls, which are no methods of an audit."""
    for method in audit.methods:
        catalogue.entry(method, verb="extract")
        if method in CONTROLS:
            raise ConfigError(
                f"{method} is a control, which every audit runs", where="--methods", fix="leave it out of the methods"
            )
        audit.job(method, seed=0)
    for method in audit.options_of:
        if method not in (*audit.methods, *CONTROLS):
            raise ConfigError(
                f"options for {method}, which is not in the audit",
                where=f"[options_of.{method}]",
                fix=nearest(method, (*audit.methods, *CONTROLS)),
            )


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))
