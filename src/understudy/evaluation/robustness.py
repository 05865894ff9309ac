"""Accuracy under attack: every image is judged by the attack that is worst for it.

The rules of an evaluation that can be believed: eval mode, full float32 without TF32, batches of a fixed size, clean
accuracy from the same images, a verdict for each image and each attack on file, and the perturbed images themselves
measured once more against radius and box before they count.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from understudy.attacks import AUTOATTACK, NamedAttack, Norm, check_radius, named, parse_attacks
from understudy.attacks._components import library
from understudy.attacks.autoattack import AutoAttackProgress, auto_attack
from understudy.data import ImageSet, as_float, check_fits
from understudy.evaluation._batches import Bench
from understudy.evaluation._forward import device_of
from understudy.evaluation._outcomes import KEPT, Attacked, first_of_each
from understudy.evaluation.statistics import Interval, wilson
from understudy.models import Network, freeze
from understudy.runs.progress import ProgressSink, Silent, tracking
from understudy.runs.seeds import stream

CLEAN = "clean"


@dataclass(frozen=True, eq=False)
class Suite:
    """What several attacks did to a network.

    Args:
        clean: whether each image is classified rightly as it is. Shape (n,), on the CPU.
        predicted: the class that each is given as it is. Shape (n,).
        attacks: what became of the images under each attack, by name.
    """

    clean: Tensor
    predicted: Tensor
    attacks: Mapping[str, Attacked]
    checked: Tensor | None = None
    """Whether each image stands the attacks that checks have made on the way, within the same threat. Shape (n,)."""

    @property
    def worst(self) -> Bool[Tensor, " n"]:
        """Whether each image is right as it is and under every attack, those of the checks included."""
        named = self.under(self.attacks)
        return named if self.checked is None else named & self.checked

    @property
    def fell_to_checks(self) -> int:
        """Images that only an attack of the checks has broken."""
        return int(self.under(self.attacks).sum()) - int(self.worst.sum())

    def under(self, names: Mapping[str, object] | Sequence[str]) -> Bool[Tensor, " n"]:
        """Return whether each image is right as it is and under all of the named attacks."""
        robust = self.clean.clone()
        for name in names:
            robust &= self.attacks[name].robust
        return robust

    def robust(self, name: str) -> Bool[Tensor, " n"]:
        """Return whether each image is right as it is and under one attack; "clean" is none."""
        return self.clean if name == CLEAN else self.under([name])


def attack_suite(
    model: nn.Module,
    data: ImageSet,
    *,
    attacks: Sequence[str],
    epsilon: float,
    norm: Norm = "linf",
    seed: int = 0,
    folder: Path | None = None,
    batch_size: int = 250,
    progress: ProgressSink | None = None,
    name: str = "model",
) -> Suite:
    """Attack a network with each of several attacks, and judge every image under each.

    Only images that are classified rightly are attacked. The same call with the same folder goes on where it was
    stopped, and comes to the same verdicts.

    Args:
        model: takes float32 images in [0, 1] and gives logits; left in the modes it is found in.
        data: labelled images.
        attacks: names such as "fgsm", "pgd20", "cw" and "autoattack".
        epsilon: radius in pixel units of [0, 1], such as 8 / 255.
        norm: "linf" or "l2".
        seed: of the random starts.
        folder: for verdicts and kept images, of this network, these images and these settings alone; None keeps none.
        batch_size: images of one attack.
        progress: where progress is shown.
        name: what the network is called there.

    Returns:
        The verdicts; an attack's are those under that attack alone.

    Raises:
        ConfigError: an attack is unknown, the radius exceeds the range of pixels, or the folder is of another call.
        ShapeError: the images do not fit the network.
        DataError: a label lies outside the network's classes.
        DivergenceError: the network answers with NaN or infinity.
        DependencyError: AutoAttack is wanted and not installed.
        Interrupted: the user asked to stop; the same call goes on.
    """
    bench = make_bench(
        model, data, epsilon=epsilon, norm=norm, seed=seed, folder=folder, batch_size=batch_size,
        progress=progress, name=name,
    )  # fmt: skip
    return run_suite(bench, parse_attacks(",".join(attacks)))


def make_bench(
    model: nn.Module,
    data: ImageSet,
    *,
    epsilon: float,
    norm: Norm,
    seed: int,
    folder: Path | None = None,
    batch_size: int = 250,
    progress: ProgressSink | None = None,
    name: str = "model",
) -> Bench:
    """Return network and images, checked, on the network's device; see `attack_suite`."""
    check_radius(epsilon, norm, where="epsilon")
    check_fits(
        data,
        input_shape=getattr(model, "input_shape", data.shape),
        classes=getattr(model, "classes", len(data.classes)),
        what=f"the network {name!r}",
    )
    place = data.to(device_of(model))
    # Folded and channels-last, a small network is attacked two to three times as fast.
    climbed = freeze(model) if isinstance(model, Network) else None
    return Bench(model, place, epsilon, norm, seed, batch_size, folder, progress or Silent(), name, climbed)


def check_installed(attacks: Sequence[str]) -> None:
    """Refuse AutoAttack where its package is missing, before hours are spent on what comes before it.

    Raises:
        DependencyError: it is.
    """
    if AUTOATTACK in attacks:
        library()


def run_suite(bench: Bench, attacks: Sequence[str]) -> Suite:
    """Return what each attack does to the images of a bench; see `attack_suite`."""
    check_installed(attacks)
    plain = bench.judge(CLEAN, None)
    suite = Suite(plain.robust, plain.predicted, {})
    found = {name: _automatic(bench, suite) if name == AUTOATTACK else _one(bench, suite, name) for name in attacks}
    return replace(suite, attacks=found)


def attack_of(bench: Bench, name: str, *, epsilon: float | None = None) -> NamedAttack:
    """Return a named attack at the bench's threat, or at another radius."""
    return named(name, epsilon=bench.epsilon if epsilon is None else epsilon, norm=bench.norm)


def identity_of(attack: NamedAttack) -> dict[str, object]:
    """Return what the outcome of an attack depends on, for the files of its outcomes."""
    return {"attack": attack.name, **attack.attack.model_dump(mode="json")}


def _one(bench: Bench, suite: Suite, name: str) -> Attacked:
    attack = attack_of(bench, name)

    def perturb(
        x: Float[Tensor, "b c h w"], labels: Int64[Tensor, " b"], generator: torch.Generator
    ) -> Float[Tensor, "b c h w"]:
        return attack.run(bench.attacked, x, labels, generator)

    return bench.judge(name, perturb, standing=suite.clean, about=identity_of(attack))


def _automatic(bench: Bench, suite: Suite) -> Attacked:
    """Return what AutoAttack does; it keeps its own files, and goes on by itself."""
    if bench.folder is None:
        with TemporaryDirectory() as folder:
            return _driven(bench, suite, Path(folder))
    return _driven(bench, suite, bench.folder / AUTOATTACK)


def _driven(bench: Bench, suite: Suite, folder: Path) -> Attacked:
    labels, total = bench.data.labels, len(bench.data)
    with (
        bench.exact(),
        tracking(bench.progress, f"{bench.name} {AUTOATTACK}", total=total, done=0, unit="images") as track,
    ):
        found = auto_attack(
            bench.attacked,
            as_float(bench.data.images),
            labels,
            epsilon=bench.epsilon,
            norm=bench.norm,
            folder=folder,
            seed=bench.seed,
            batch_rows=bench.batch_size,
            on_progress=_shown_on(track.update),
        )
        fallen = _fooled(bench, found.adversarial)
    unfooled = len(found.adversarial) - int(fallen.sum())
    close = f"{unfooled} images broke the folded copy that was attacked and, by a hair, not the network; they count"
    notes = (f"{close} as broken",) if unfooled else ()
    shown = first_of_each(labels.cpu(), fallen, most=4 * KEPT)
    kept = [found.adversarial[row] for row in shown.tolist()]
    return Attacked(
        robust=suite.clean & found.robust.cpu(),
        seconds=float(sum(found.seconds.values())),
        rows=shown,
        images=torch.stack(kept) if kept else torch.zeros(0, *bench.data.shape),
        predicted=torch.full((total,), -1),
        outside=found.outside,
        notes=(*found.notes, *notes),
        square=sum(by == "square" for by in found.fell_to),
        after=dict(found.after),
    )


def _fooled(bench: Bench, images: Mapping[int, Tensor]) -> Bool[Tensor, " n"]:
    """Return which images fall to what AutoAttack has found for them, as the network itself sees it in float32."""
    fallen = torch.zeros(len(bench.data), dtype=torch.bool)
    device = bench.data.images.device
    for rows in torch.split(torch.tensor(sorted(images), dtype=torch.int64), bench.batch_size):
        if len(rows):
            predicted = bench.classes(torch.stack([images[row] for row in rows.tolist()]).to(device))
            fallen[rows] = predicted.cpu() != bench.data.labels.cpu()[rows]
    return fallen


def _shown_on(update: Callable[[int, str], None]) -> Callable[[AutoAttackProgress], None]:
    def show(now: AutoAttackProgress) -> None:
        # Rows done are those that the attack at work has passed; the note says which of the four it is.
        share = (now.batch - 1 + min(now.passes / max(now.of, 1), 1.0)) / max(now.batches, 1)
        update(int(share * now.rows), f"{now.attack}, {now.survivors} still stand")

    return show


def some_rows(total: int, rows: int | None) -> Int64[Tensor, " n"]:
    """Return which images to try: fewer are among those of more, and whoever is evaluated meets the same ones."""
    if rows is None or rows >= total:
        return torch.arange(total)
    order = torch.randperm(total, generator=stream(0, "rows to evaluate"))
    return order[:rows].sort().values


def per_class(suite: Suite, labels: Int64[Tensor, " n"], classes: Sequence[str]) -> list[dict[str, object]]:
    """Return clean accuracy and worst case of each class that the images hold."""
    worst, labels = suite.worst, labels.cpu()
    rows = []
    for number, label in enumerate(classes):
        own = labels == number
        if own.any():
            rows.append(
                {
                    "class": label,
                    "clean": share(suite.clean[own]).to_json(),
                    "worst": share(worst[own]).to_json(),
                    "rows": int(own.sum()),
                }
            )
    return rows


def share(right: Bool[Tensor, " n"]) -> Interval:
    """Return a share of images with its 95 % interval."""
    return wilson(int(right.sum()), len(right))
