"""What one model says of clean and of attacked sentences, part by part on file, so that nothing is asked twice."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.attacks.text import Record, Resources, Sentence, TextAttack
from understudy.attacks.text.identity import resource_digests
from understudy.attacks.text.search import attack_sentences
from understudy.bank.attacked import AttackedBank
from understudy.evaluation.text import answers, attacked_texts
from understudy.evaluation.text_profile import entropies
from understudy.models.text.predictor import TextClassifier
from understudy.runs.files import read_json, write_json
from understudy.runs.run import Run
from understudy.study.text_bench import Bench, model_folder, slug, static_folder

Predictions = list[int]


def attacked_records(
    place: Path,
    attack: TextAttack,
    victim: TextClassifier,
    sentences: Sequence[Sentence],
    *,
    seed: int,
    resources: Resources,
    run: Run,
    phase: str,
) -> list[Record]:
    """Attack a model on sentences, or go on with it, and return the record of each sentence.

    Args:
        place: where the records lie.
        attack: the attack.
        victim: who is asked.
        sentences: what is attacked.
        seed: of the attack's draws, the same for every victim.
        resources: what the attack looks words up in.
        run: where progress is shown.
        phase: its name.

    Raises:
        UnderstudyError: the records on file are of another model, or damaged.
        Interrupted: the user asked to stop; what was found is on file.
    """
    bank = AttackedBank(place)
    facts: dict[str, Any] = {
        "victim": victim.sha256,
        "attack": attack.spec,
        "seed": seed,
        "rows": [one.row for one in sentences],
        "resources": resource_digests(attack, resources),
        "precision": run.options.precision,
    }

    def chunks(done: int) -> Iterator[list[dict[str, Any]]]:
        for found in attack_sentences(attack, victim, sentences[done:], seed=seed, resources=resources):
            yield [one.to_json() for one in found]

    bank.fill(facts, total=len(sentences), chunks=chunks, run=run, phase=phase)
    return [Record.from_json(values) for values in bank.records()]


def static_records(bench: Bench, run: Run, clean: TextClassifier, seed: int) -> dict[str, list[Record]]:
    """Return the test sentences attacked against the clean adapter, by the attack's spec: once for all models."""
    sentences = bench.sentences(bench.static_rows)
    return {
        attack.spec: attacked_records(
            static_folder(run.folder, seed, attack),
            attack,
            clean,
            sentences,
            seed=seed,
            resources=bench.resources,
            run=run,
            phase=f"static {attack.spec} s{seed}",
        )
        for attack in bench.attacks
    }


def measure_static(
    bench: Bench, run: Run, model: TextClassifier, key: str, seed: int, records: Mapping[str, Sequence[Record]]
) -> None:
    """Put on file what a model says of the clean test sentences and of those attacked before; never asked twice."""
    place = model_folder(run.folder, seed, key)
    path = place / "clean.json"
    if not path.exists():
        found = answers(model, bench.test.texts, bench.test.contexts)
        write_json(
            path,
            {
                "predictions": found.predictions.tolist(),
                "sentences_per_s": found.sentences_per_s,
                "passes": model.passes,
                "model_sha256": model.sha256,
            },
        )
    contexts = None if bench.test.contexts is None else bench.test.contexts[: bench.static_rows]
    for attack in bench.attacks:
        run.check_interrupt()
        path = place / f"static-{slug(attack.spec)}.json"
        if not path.exists():
            found = answers(model, attacked_texts(records[attack.spec]), contexts)
            write_json(path, {"predictions": found.predictions.tolist()})


def measure_adaptive(bench: Bench, run: Run, model: TextClassifier, key: str, seed: int, attack: TextAttack) -> None:
    """Attack a model itself, and put the records on file."""
    attacked_records(
        adaptive_folder(run.folder, seed, key, attack),
        attack,
        model,
        bench.sentences(bench.adaptive_rows),
        seed=seed,
        resources=bench.resources,
        run=run,
        phase=f"adaptive {attack.spec} {key} s{seed}",
    )


def measure_profile(
    run: Run,
    clean: TextClassifier,
    mixed: TextClassifier | None,
    seed: int,
    records: Mapping[str, Sequence[Record]],
) -> None:
    """Put on file how unsure the clean adapter is, and how a mixed model weighs its adapters, text by text.

    What is on file stays, unless it speaks of another mixture, or of none where there is one by now.

    Args:
        run: the study's.
        clean: slot 0.
        mixed: a model with `explain`, if the study has one.
        seed: of the models.
        records: sentences attacked against slot 0; only those that were changed count as attacked.
    """
    path = profile_path(run.folder, seed)
    mixture = None if mixed is None else mixed.sha256
    if profiled(run.folder, seed, mixture):
        return
    first = next(iter(records.values()), None)
    if first is None:
        return
    kinds: dict[str, Sequence[Record]] = {"clean": first}
    kinds |= {spec: [one for one in found if one.attacked != one.text] for spec, found in records.items()}
    found: dict[str, Any] = {}
    for kind, listed in kinds.items():
        run.check_interrupt()
        texts = [one.text if kind == "clean" else one.attacked for one in listed]
        given = [one.context for one in listed if one.context is not None] or None
        part: dict[str, Any] = {"rows": [one.row for one in listed], "entropy": [], "weights": None, "nearest": None}
        if texts:
            part["entropy"] = entropies(clean.probs(texts, given))
        if texts and mixed is not None:
            explained = mixed.explain(texts, given)  # type: ignore[attr-defined]
            part |= {"weights": explained.weights.tolist(), "nearest": list(explained.nearest)}
        found[kind] = part
    names = list(getattr(mixed, "names", ())) if mixed is not None else []
    write_json(path, {"mixture": mixture, "kinds": found, "slots": names})


def profile_path(folder: Path, seed: int) -> Path:
    """Return the file of what `measure_profile` found."""
    return folder / "evaluation" / f"seed-{seed}" / "profile.json"


def profiled(folder: Path, seed: int, mixture: str | None) -> bool:
    """Return whether the profile on file is that of a mixture, by its SHA-256; None is that of no mixture."""
    path = profile_path(folder, seed)
    return path.exists() and read_json(path).get("mixture") == mixture


def adaptive_folder(folder: Path, seed: int, key: str, attack: TextAttack) -> Path:
    """Return where the sentences lie that were attacked against one model."""
    return model_folder(folder, seed, key) / "adaptive" / slug(attack.spec)


def read_adaptive(bench: Bench, folder: Path, key: str, seed: int, attack: TextAttack) -> list[Record] | None:
    """Return the records of an adaptive attack, None where it is not finished; slot 0's are among the static ones.

    The static sentences were attacked against slot 0 itself, with the same seed: to attack it again finds the same.
    """
    place = static_folder(folder, seed, attack) if key == "clean" else adaptive_folder(folder, seed, key, attack)
    records = read_records(place)
    if records is None or len(records) < bench.adaptive_rows:
        return None
    return records[: bench.adaptive_rows]


def read_records(place: Path) -> list[Record] | None:
    """Return the records of a folder, None where they are not all there."""
    if not AttackedBank(place).finished:
        return None
    return [Record.from_json(values) for values in AttackedBank(place).records()]


def read_static(bench: Bench, folder: Path, key: str, seed: int) -> dict[str, Any] | None:
    """Return what `measure_static` has put on file: that of clean.json with "static" by attack; None if unfinished."""
    place = model_folder(folder, seed, key)
    paths = {attack.spec: place / f"static-{slug(attack.spec)}.json" for attack in bench.attacks}
    if not (place / "clean.json").exists() or not all(path.exists() for path in paths.values()):
        return None
    static = {spec: read_json(path)["predictions"] for spec, path in paths.items()}
    return {**read_json(place / "clean.json"), "static": static}
