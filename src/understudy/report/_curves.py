"""Curves from the event log of a run: what was measured while it was made."""

from collections.abc import Sequence

from understudy.report._figures import Figure, Series, line_figure
from understudy.report._format import name_of
from understudy.report._read import Event

SYNTHESIS = "synthesise"
WATCHED = ("held_out", "guard", "support")
"""Phases that measure after each epoch, and count epochs in the place of steps."""
_SHARES = ("accuracy", "agreement", "confidence", "robust", "support", "share")
_TERMS = ("loss", "classification", "contrast", "total_variation", "entropy")
_TERM_COLOURS = {
    "loss": "student",
    "classification": "c2",
    "contrast": "c3",
    "total_variation": "c4",
    "entropy": "c5",
}


def fit_figures(events: Sequence[Event]) -> list[Figure]:
    """Return a figure for each metric of the fitting phases, with a curve for each phase; losses first."""
    phases = [phase for phase in dict.fromkeys(event.phase for event in events) if not draws_samples(phase)]
    phases = [phase for phase in phases if phase not in WATCHED]
    found = dict.fromkeys(key for event in events if event.phase in phases for key in event.metrics)
    found.pop("top_support", None)  # The phase "support" has it whole, for each epoch.
    figures = []
    for key in sorted(found, key=rank):
        curves = (curve(events, phase, key, name_of(phase), phase_colour(phase, phases)) for phase in phases)
        drawn = [one for one in curves if any(value is not None for value in one.y)]
        if drawn:
            figures.append(line_figure(name_of(key), drawn, x_title="step", share=is_share(key)))
    return [*figures, *_watched(events)]


def _watched(events: Sequence[Event]) -> list[Figure]:
    """Return what was measured after each epoch: robust accuracy on watched images, and the most kept class."""
    phases = [phase for phase in WATCHED if any(event.phase == phase for event in events)]
    robust = [phase for phase in phases if phase != "support"]
    drawn = [curve(events, phase, "robust", name_of(phase), f"c{at + 3}") for at, phase in enumerate(robust)]
    names = " and ".join(one.name.lower() for one in drawn)
    figures = [line_figure(f"Robust accuracy: {names}", drawn, x_title="epoch", share=True)] if drawn else []
    if "support" in phases:
        kept = curve(events, "support", "share", "most kept class", "student")
        figures.append(line_figure("Targets that keep the same class", [kept], x_title="epoch", share=True))
    return figures


def synthesis_figures(events: Sequence[Event]) -> list[Figure]:
    """Return figures over the synthesised sets: loss terms, hits of the target, and all the others."""
    keys = list(dict.fromkeys(key for event in events if event.phase == SYNTHESIS for key in event.metrics))
    terms = [key for key in keys if key in _TERMS]
    shares = [key for key in keys if is_share(key)]
    others = [key for key in keys if key not in terms and key not in shares]
    groups = [
        ("Loss terms", terms),
        ("Hitting the target", shares),
        *((name_of(key), [key]) for key in others),
    ]
    figures = []
    for title, group in groups:
        curves = [
            curve(events, SYNTHESIS, key, _term_name(key), _TERM_COLOURS.get(key, f"c{at + 1}"))
            for at, key in enumerate(group)
        ]
        drawn = [one for one in curves if any(value is not None for value in one.y)]
        if drawn:
            figures.append(line_figure(title, drawn, x_title="set", share=group is shares))
    return figures


def is_drawn(phase: str, key: str) -> bool:
    """Return whether a metric has a curve: of the classes that targets keep, only the share of the most kept one."""
    return phase != "support" or key == "share"


def draws_samples(phase: str) -> bool:
    """Return whether a phase makes samples, set by set, and fits nothing."""
    return phase == SYNTHESIS or phase.startswith("draw_")


def curve(events: Sequence[Event], phase: str, key: str, name: str, colour: str) -> Series:
    """Return one metric of one phase over its steps, in order of step."""
    chosen = sorted((e for e in events if e.phase == phase and key in e.metrics), key=lambda event: event.step)
    return Series(name, colour, [event.step for event in chosen], [event.metrics[key] for event in chosen])


def is_share(key: str) -> bool:
    """Return whether a metric is a share in [0, 1], by its name."""
    return any(word in key for word in _SHARES)


def phase_colour(phase: str, phases: Sequence[str]) -> str:
    """Return the colour word of a phase: the student's, a control's, or the next free one."""
    for word in ("noise", "real", "teacher"):
        if word in phase:
            return word
    if phase == "reference":
        return "teacher"
    return "student" if phase in ("fit", "train") else f"c{list(phases).index(phase) % 8 + 1}"


def _term_name(key: str) -> str:
    return "Total" if key == "loss" else "Share at target" if key == "target_accuracy" else name_of(key)


def rank(key: str) -> tuple[int, str]:
    """Return a sorting key for metrics: losses, then shares, then the others."""
    return (0 if "loss" in key else 1 if is_share(key) else 2, key)
