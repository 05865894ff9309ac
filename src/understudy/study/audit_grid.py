"""The runs of an audit: its points, which of them share a run, and the controls that they stand beside."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from understudy.errors import ConfigError
from understudy.methods.extraction import check_widths
from understudy.methods.extraction._plan import Plan, control_rows
from understudy.methods.extractor import Extractor
from understudy.models import resolve_encoder
from understudy.study.audit_job import Audit
from understudy.study.extraction import Extraction, Ready, prepare_extraction
from understudy.study.job import merged
from understudy.targets import check_access
from understudy.targets.defences import parse_defences

_UNSAFE = re.compile(r"[^\w.+=-]")


@dataclass(frozen=True)
class Point:
    """One point of the grid, and the folder of its run."""

    method: str
    budget: int
    defence: str
    seed: int
    plan: Plan
    folder: str
    """Below the audit's; points with the same plan share the run of the smallest budget."""
    runs_with: int
    """The budget of that run."""


@dataclass(frozen=True)
class Control:
    """One control, and the folder of its run."""

    kind: str
    """`random_surrogate` or `no_query`."""
    images: int
    seed: int
    options: Mapping[str, Any]
    folder: str


@dataclass(frozen=True)
class Grid:
    """All runs of an audit, checked as far as they can be without a query."""

    points: tuple[Point, ...]
    controls: tuple[Control, ...]
    ready: Ready
    """The first run, with everything loaded."""

    @property
    def places(self) -> tuple[Control | Point, ...]:
        """Everything that has a run, controls first."""
        return (*self.controls, *self.points)

    def runs(self, audit: Audit) -> list[tuple[str, str, Extraction]]:
        """Return (what it is, folder, job) of each run once, seed by seed, controls first."""
        found: dict[str, tuple[str, Extraction]] = {}
        for seed in audit.seeds:
            for control in self.controls:
                if control.seed == seed:
                    job = audit.job(control.kind, seed=seed, options=control.options)
                    found[control.folder] = (f"control {control.kind}, {control.images:,} images, seed {seed}", job)
            for point in self.points:
                if point.seed == seed and point.folder not in found:
                    job = audit.job(point.method, seed=seed, budget=point.runs_with, defence=point.defence)
                    what = f"{point.method}, {point.plan.queries:,} queries, defence {point.defence}, seed {seed}"
                    found[point.folder] = (what, job)
        return [(what, folder, job) for folder, (what, job) in found.items()]


def make_grid(audit: Audit) -> Grid:
    """Load target and images, and plan every run; nothing is asked.

    Raises:
        AccessError: a method needs more than the target gives.
        UnderstudyError: something is missing or damaged, a defence is impossible for the target's width, widths do
            not fit, or a budget cannot pay for the least that a method needs.
    """
    ready = prepare_extraction(audit.job(audit.methods[0], seed=audit.seeds[0], defence=audit.defences[0]))
    if not ready.evaluation:
        raise ConfigError(
            "there are no labelled images to judge copies on",
            where=audit.data,
            fix="name a labelled data set with --probe",
        )
    methods = {name: audit.job(name, seed=0).method for name in audit.methods}
    for name, method in methods.items():
        check_access(ready.target, method.requires, what=name)
    _check_widths(audit, methods, ready)
    plans = {
        (name, budget): method.plan(len(ready.pool), budget)
        for name, method in methods.items()
        for budget in audit.budgets
    }
    points = tuple(
        _point(name, budget, defence, seed, plans)
        for seed in audit.seeds
        for defence in audit.defences
        for name in audit.methods
        for budget in audit.budgets
    )
    return Grid(points, _controls(audit, methods, plans), ready)


def _point(method: str, budget: int, defence: str, seed: int, plans: Mapping[tuple[str, int], Plan]) -> Point:
    plan = plans[method, budget]
    # A note alone makes no other run: it says only what the budget did to the plan.
    same = [other for (name, other), one in plans.items() if name == method and _does(one) == _does(plan)]
    first = min(same)
    folder = f"cells/{method}-b{first}-{_UNSAFE.sub('-', defence)}-s{seed}"
    return Point(method, budget, defence, seed, plan, folder, first)


def _does(plan: Plan) -> tuple[int, int, int]:
    return plan.images, plan.queries, plan.steps


def _controls(
    audit: Audit, methods: Mapping[str, Extractor], plans: Mapping[tuple[str, int], Plan]
) -> tuple[Control, ...]:
    """Return an untrained network for each seed, and one without queries for each number of images and each seed.

    The latter sees no fewer rows than any method that is put beside it, with the options of the one that sees most.
    """
    most: dict[int, tuple[int, Extractor]] = {}
    for (name, _), plan in plans.items():
        method = methods[name]
        rows = plan.steps * min(method.fit.batch_size, plan.images) * method.rows_per_image
        if plan.images not in most or rows > most[plan.images][0]:
            most[plan.images] = (rows, method)
    found = []
    for seed in audit.seeds:
        images = min(most)
        options = merged({**_shared(most[images][1]), "images": images}, audit.options_of.get("random_surrogate", {}))
        found.append(Control("random_surrogate", images, seed, options, f"cells/random_surrogate-s{seed}"))
        for images, (rows, method) in sorted(most.items()):
            epochs = -(-rows // control_rows(method.fit, images, epochs=1))
            shared = _shared(method)
            shared["fit"] = {**shared["fit"], "epochs": max(epochs, 1)}
            options = merged({**shared, "images": images}, audit.options_of.get("no_query", {}))
            found.append(Control("no_query", images, seed, options, f"cells/no_query-i{images}-s{seed}"))
    return tuple(found)


def _shared(method: Extractor) -> dict[str, Any]:
    """Return the options of a method that every extractor has."""
    return {name: value for name, value in method.model_dump().items() if name in Extractor.model_fields}


def _check_widths(audit: Audit, methods: Mapping[str, Extractor], ready: Ready) -> None:
    """Refuse defences that are impossible for the target's answers, and answers that fit no surrogate."""
    natural = resolve_encoder(
        audit.surrogate, input_shape=ready.target.input_shape, mean=ready.pool.mean, std=ready.pool.std, seed=0
    ).width
    for spec in audit.defences:
        width = ready.target.width
        for defence in parse_defences(spec):
            defence.check(width)
            width = defence.width(width)
        for method in methods.values():
            check_widths(width, width if method.match == "linear" else natural, method.match)
