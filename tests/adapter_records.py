"""Studies of text classifiers under attack whose numbers are made up, for the tests of their verdict and page."""

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.evaluation.statistics import mean_interval, wilson
from understudy.study.withstand_verdict import subject, verdict

Accuracies = tuple[float, Sequence[float], Sequence[float]]
"""Clean accuracy, accuracy under each attack in the static protocol, and the same in the adaptive one."""

COMMON = 0.006
"""By how much sentences of the adaptive attacks are easier than all of the static ones."""
ON = "training sentences that were not attacked"
"""What adapters are counted on by themselves."""

LABELS = {
    "clean": ("Clean adapter", "clean_adapter", "paper"),
    "adpmixup": ("AdpMixup", "adpmixup", "instantiation"),
    "adpmixup:rule=pairwise": ("AdpMixup, pairwise", "adpmixup", "instantiation"),
    "adversarial_training": ("Adversarial training", "adversarial_training", "paper"),
    "adapter_soup": ("Adapter soup", "adapter_soup", "paper"),
    "mixkd": ("MixKD", "mixkd", "paper"),
    "amda": ("MixADA", "amda", "official"),
    "freelb": ("FreeLB", "freelb", "official"),
}
ATTACKS = (
    ("deepwordbug", "DeepWordBug", "character", True),
    ("pwws:max_candidates=8", "PWWS", "word", True),
    ("textbugger", "TextBugger, characters", "character", False),
)
SLOT_0: Accuracies = (0.863, (0.187, 0.280, 0.193), (0.083, 0.250, 0.090))
STATIC_ONLY: Accuracies = (0.858, (0.493, 0.500, 0.507), (0.083, 0.233, 0.100))
HOLDS: Accuracies = (0.860, (0.493, 0.500, 0.507), (0.400, 0.420, 0.390))
COSTLY: Accuracies = (0.745, (0.573, 0.580, 0.577), (0.473, 0.480, 0.477))
IDLE: Accuracies = (0.863, (0.190, 0.281, 0.193), (0.080, 0.248, 0.093))
RIVALS: dict[str, Accuracies] = {
    "adpmixup:rule=pairwise": (0.863, (0.440, 0.460, 0.427), (0.100, 0.217, 0.093)),
    "adversarial_training": (0.868, (0.413, 0.440, 0.373), (0.117, 0.233, 0.110)),
    "adapter_soup": (0.855, (0.427, 0.427, 0.427), (0.083, 0.200, 0.090)),
    "freelb": (0.871, (0.240, 0.310, 0.233), (0.093, 0.250, 0.103)),
}
JITTER = (0.0, 0.012, -0.008, 0.005, -0.011)
"""What each seed adds to every accuracy."""
SLOTS = ("clean", "deepwordbug", "pwws:max_candidates=8")
TEXTS = {
    "deepwordbug": (
        "a gorgeous , witty , seductive movie .",
        "a gorgoeus , wity , seductive movie .",
        (1, 3),
    ),
    "pwws:max_candidates=8": (
        "the film is strictly routine .",
        "the flick is purely everyday .",
        (1, 3, 4),
    ),
    "textbugger": (
        "it 's a charming and often affecting journey .",
        "it 's a cha rming and oft en affecting journey .",
        (3, 5),
    ),
}


def made_up(
    mixed: Accuracies = STATIC_ONLY,
    *,
    rivals: Mapping[str, Accuracies] = RIVALS,
    seeds: Sequence[int] = (0, 1, 2),
    attacks: Sequence[tuple[str, str, str, bool]] = ATTACKS,
    adaptive: bool = True,
    spread: float = 0.004,
    **more: Any,
) -> dict[str, Any]:
    """Return the content of a `withstand.json`.

    Args:
        mixed: accuracies of AdpMixup.
        rivals: accuracies of the other methods by key.
        seeds: one training of everything for each.
        attacks: spec, label, level, and whether a slot was trained on it; none for a study without attacks.
        adaptive: whether the models were attacked themselves.
        spread: how far methods of one seed lie apart from their means.
        more: entries that replace those made up here.
    """
    accuracies = {"clean": SLOT_0, "adpmixup": mixed, **rivals}
    names = [attack[0] for attack in attacks]
    per_seed = {
        str(seed): {
            key: _one(of, names, JITTER[at % len(JITTER)] + spread * ((at + number) % 3 - 1), adaptive=adaptive)
            for number, (key, of) in enumerate(accuracies.items())
        }
        for at, seed in enumerate(seeds)
    }
    rows = {"clean": 872, "static": 150 if names else 0, "adaptive": 60 if names and adaptive else 0}
    known = [name for name, _, _, is_known in attacks if is_known]
    record: dict[str, Any] = {
        "format": 1,
        "kind": "adapters",
        "family": "adapters",
        "name": "withstand-1a2b3c",
        "date": "2026-11-22T09:00:00+00:00",
        "command": "understudy withstand --backbone models/minilm --data sst2 --methods adpmixup,freelb --seeds 0,1,2",
        "backbone": {
            "spec": "models/minilm",
            "sha256": "9f2c" * 16,
            "architecture": "bert",
            "layers": 6,
            "hidden": 384,
            "parameters": 22_713_216,
            "max_length": 64,
        },
        "data": {
            "source": "sst2",
            "train_rows": 6918,
            "test_rows": 872,
            "classes": ["0", "1"],
            "removed_duplicates": 2,
        },
        "seeds": list(seeds),
        "attacks": [_attack(*attack) for attack in attacks],
        "methods": [_method(key, number) for number, key in enumerate(accuracies)],
        "scores": {key: _scores(per_seed, key, names, known, rows, adaptive=adaptive) for key in accuracies},
        "per_seed": per_seed,
        "rows": rows,
        "slots": [
            {
                "name": name,
                "seed": seed,
                "clean_accuracy": wilson(round(872 * (0.86 - 0.07 * at)), 872).to_json(),
                "on": ON,
                "warning": None,
            }
            for seed in seeds
            for at, name in enumerate(("clean", *known))
        ],
        "gather": {
            name: {
                "sentences": 400,
                "success": 318 - 40 * at,
                "failed": 47 + 40 * at,
                "skipped": 35,
                "no_candidates": 2,
                "queries_mean": 23.4 + 34.0 * at,
            }
            for at, name in enumerate(known)
        },
        "profile": _profile(names, known) if names else None,
        "examples": [_example(name, at, list(accuracies), known) for at, name in enumerate(names * 2)],
        "notes": [],
        "warnings": [],
        "failures": [],
        "settings": {"preset": "sst2", "queries": 500, "options": {"n_adv": 400, "anchor_ratio": 1}},
        "machine": {"understudy": "0.6.0", "python": "3.11.9", "cpu": "made up", "cores": 2, "device": "cpu"},
        "timing_s": {"clean": 61.0, "gather": 240.0, "fit": 512.0, "evaluate": 380.0},
    }
    record["gains"] = _gains(record)
    record.update(more)
    return {**record, "verdict": verdict(record), **more}


def _one(of: Accuracies, names: Sequence[str], moved: float, *, adaptive: bool) -> dict[str, Any]:
    clean, static, adapted = of
    return {
        "clean": clean + moved / 4,
        "static": {name: value + moved for name, value in zip(names, static, strict=False)},
        "adaptive": {name: value + moved for name, value in zip(names, adapted, strict=False)} if adaptive else {},
    }


def _interval(values: Sequence[float], rows: int) -> dict[str, Any]:
    if len(values) > 1:
        return mean_interval(values).to_json()
    return {**wilson(round(values[0] * rows), rows).to_json(), "value": values[0]}


def _scores(
    per_seed: Mapping[str, Any],
    key: str,
    names: Sequence[str],
    known: Sequence[str],
    rows: Mapping[str, int],
    *,
    adaptive: bool,
) -> dict[str, Any]:
    mine = [one[key] for one in per_seed.values()]
    unknown = [name for name in names if name not in known]
    found: dict[str, Any] = {"clean": _interval([one["clean"] for one in mine], rows["clean"])}
    for protocol in ("static", "adaptive"):
        there = bool(names) and (adaptive or protocol == "static")
        found[protocol] = {
            name: _interval([one[protocol][name] for one in mine], rows[protocol]) for name in names if there
        }
        for word, some in (("known", known), ("unknown", unknown)):
            means = [_mean([one[protocol][name] for name in some]) for one in mine] if there and some else None
            found[f"{protocol}_{word}"] = None if means is None else _interval(means, rows[protocol] * len(some))
        means = [_mean([one["clean"], *one[protocol].values()]) for one in mine] if there else None
        found[f"{protocol}_mean"] = None if means is None else _interval(means, rows[protocol] * len(names))
    common = [_mean([one["clean"], *(value + COMMON for value in one["static"].values())]) for one in mine]
    found["static_common_mean"] = _interval(common, rows["adaptive"] * len(names)) if names and adaptive else None
    passes = 2 if key == "adpmixup" else 1
    found["adaptive"] = {
        name: {
            "accuracy": accuracy,
            "success_rate": _interval([1 - accuracy["value"]] * len(mine), 52),
            "queries": 21.5 + 9.0 * at + passes,
            "changed_share": 0.18 + 0.02 * at,
            "exhausted": at,
            "no_candidates": 1,
            "skipped": 8 * len(mine),
        }
        for at, (name, accuracy) in enumerate(found["adaptive"].items())
    }
    return found


def _gains(record: Mapping[str, Any]) -> dict[str, Any]:
    mine = subject(record)
    means: dict[str, dict[str, list[float]]] = {}
    for seed in record["per_seed"].values():
        for key, one in seed.items():
            into = means.setdefault(
                key, {"clean": [], "static_mean": [], "static_common_mean": [], "adaptive_mean": []}
            )
            into["clean"].append(one["clean"])
            for protocol in ("static", "adaptive"):
                if one[protocol]:
                    into[f"{protocol}_mean"].append(_mean([one["clean"], *one[protocol].values()]))
            if one["adaptive"]:
                into["static_common_mean"].append(into["static_mean"][-1] + COMMON)
    return {
        key: {name: _paired(means[mine][name], values) for name, values in one.items()}
        for key, one in means.items()
        if mine is not None and key != mine
    }


def _paired(mine: Sequence[float], theirs: Sequence[float]) -> dict[str, Any] | None:
    differences = [first - second for first, second in zip(mine, theirs, strict=True)]
    if not differences:
        return None
    if len(differences) == 1:
        return {"value": differences[0], "low": differences[0], "high": differences[0], "n": 1}
    return mean_interval(differences).to_json()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _attack(name: str, label: str, level: str, known: bool) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "known": known,
        "level": level,
        "summary": "made up: changes some words until the class does",
        "paper": "made up",
        "fidelity": "official",
        "constraints": [],
        "queries": 500,
    }


def _method(key: str, number: int) -> dict[str, Any]:
    label, method, fidelity = LABELS[key]
    mixed = method == "adpmixup"
    return {
        "key": key,
        "label": label,
        "method": method,
        "options": {"rule": "pairwise"} if "pairwise" in key else {},
        "fidelity": fidelity,
        "trained_parameters": 74_498 * (3 if mixed else 1),
        "optimiser_steps": 432 + 300 * number,
        "adapter_bytes": 298_568 * (3 if mixed else 1),
        "passes": 4.0 if "pairwise" in key else 2.0 if mixed else 1.0,
        "train_s": 61.0 + 40.0 * number,
        "sentences_per_s": 410.0 / (4 if "pairwise" in key else 2 if mixed else 1),
    }


def _profile(names: Sequence[str], known: Sequence[str]) -> dict[str, Any]:
    slots = ["clean", *known]
    bins = [0.7 * at / 20 for at in range(21)]
    falling = [160 - 7 * at for at in range(20)]
    columns = ["clean", *known]
    return {
        "entropy": {"clean": falling, **{name: [20 + 5 * (at + 2 * by) for by in range(20)] for at, name in
                    enumerate(names)}},
        "bins": bins,
        "roc": {name: {"value": 0.80 + 0.02 * at, "low": 0.76, "high": 0.88, "n": 300} for at, name in
                enumerate(names)},
        "weights": {
            "slots": slots,
            "clean": _spread(0.64, len(known)),
            **{name: _spread(0.27 - 0.03 * at, len(known)) for at, name in enumerate(names)},
        },
        "confusion": {
            "rows": ["clean", *names],
            "columns": columns,
            "counts": [[100 - 20 * row if at == 0 else 10 + row for at in range(len(columns))]
                       for row in range(len(names) + 1)],
        },
    }  # fmt: skip


def _spread(clean: float, known: int) -> list[float]:
    return [clean, *([(1 - clean) / known] * known)]


def _example(name: str, at: int, keys: Sequence[str], known: Sequence[str]) -> dict[str, Any]:
    original, attacked, changed = TEXTS.get(name, ("a fine film .", "a fien film .", (1,)))
    failed = at % 4 == 3
    weights = dict(zip(("clean", *known), _spread(0.21 + 0.3 * failed, len(known)), strict=True)) if known else None
    return {
        "attack": name,
        "original": original,
        "attacked": attacked,
        "label": at % 2,
        "changed": list(changed),
        "status": "failed" if failed else "success",
        "queries": 23 + at,
        "weights": weights,
        "entropy": 0.512 - 0.03 * at,
        "predictions": {key: (at + (number == 0 or number == 3)) % 2 for number, key in enumerate(keys)},
    }
