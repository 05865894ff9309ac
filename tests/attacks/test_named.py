"""Attacks by name: what each name stands for, and which names are refused."""

import pytest
import torch

from understudy.attacks import DLR, Attack, CrossEntropy, Margin, named, parse_attacks
from understudy.errors import ConfigError
from understudy.runs.seeds import stream

E8 = 8 / 255


@pytest.mark.parametrize(
    ("name", "label", "objective", "settings"),
    [
        ("fgsm", "FGSM", CrossEntropy, {"step": 8 / 255, "steps": 1}),
        ("pgd20", "PGD-20", CrossEntropy, {"step": 2 / 255, "steps": 20, "start": "uniform"}),
        ("pgd10", "PGD-10", CrossEntropy, {"step": 2 / 255, "steps": 10, "start": "uniform"}),
        ("pgd40", "PGD-40", CrossEntropy, {"step": 0.8 / 255, "steps": 40, "start": "uniform"}),
        ("pgd20-trades", "PGD-20 (TRADES)", CrossEntropy, {"step": 0.003, "steps": 20, "start": "uniform"}),
        ("pgd100x5", "PGD-100 × 5", CrossEntropy,
         {"step": 0.8 / 255, "steps": 100, "start": "uniform", "restarts": 5, "early_exit": True}),
        ("cw", "CW∞", Margin, {"step": 0.003, "steps": 30, "start": "uniform"}),
        ("cw40x10", "CW∞-40 × 10", Margin,
         {"step": 0.003, "steps": 40, "start": "uniform", "targeted": True, "restarts": 10, "early_exit": True}),
        ("dlr20", "DLR-20", DLR, {"step": 2 / 255, "steps": 20, "start": "uniform"}),
        ("fgsm-rs", "FGSM-RS", CrossEntropy, {"step": 10 / 255, "steps": 1, "start": "uniform"}),
        ("n-fgsm", "N-FGSM", CrossEntropy, {"step": 8 / 255, "steps": 1, "start": "wide", "project": False}),
    ],
)  # fmt: skip
def test_a_name_stands_for_the_papers_attack(
    name: str, label: str, objective: type, settings: dict[str, object]
) -> None:
    found = named(name, epsilon="8/255")
    assert (found.name, found.label) == (name, label)
    expected = Attack.model_validate({"epsilon": E8, **settings})
    assert found.attack.model_dump() == {**expected.model_dump(), "step": pytest.approx(expected.step, rel=1e-12)}
    assert isinstance(found.objective(torch.tensor([0])), objective)


def test_steps_scale_with_the_radius() -> None:
    for name in ("fgsm", "pgd20", "pgd20-trades", "cw", "fgsm-rs", "n-fgsm"):
        small, large = named(name, epsilon=E8), named(name, epsilon=2 * E8)
        assert large.attack.step == pytest.approx(2 * small.attack.step, rel=1e-12)
        assert named(name, epsilon=0).attack.step == 0


def test_a_euclidean_cw_is_not_called_cw_infinity() -> None:
    found = named("cw", epsilon=0.5, norm="l2")
    assert found.attack.norm == "l2"
    assert found.label == "CW margin"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("pgd", "'pgd20'"), ("pdg20", "'pgd20'"), ("cw-trades", "trades"), ("cw20-trades", "cw"), ("pgd0", "'pgd20'"),
     ("pgd20x0", "'pgd20'"), ("PGD20", "pgd20"), ("autoatack", "'autoattack'"), ("", "known"), ("cwx3", "'cw'")],
)  # fmt: skip
def test_an_unknown_name_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"there is no attack '{name}'(.|\n)*{hint}"):
        named(name, epsilon=E8)


@pytest.mark.parametrize(
    ("epsilon", "what"), [("eight", "is no radius"), (-1, "is no radius"), (8, "did you mean 8/255")]
)
def test_a_radius_that_is_none_is_refused(epsilon: str | int, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        named("pgd20", epsilon=epsilon)


def test_a_list_of_attacks_is_read() -> None:
    assert parse_attacks("fgsm,pgd20,cw,autoattack") == ["fgsm", "pgd20", "cw", "autoattack"]
    assert parse_attacks(" PGD100x5 , cw40, ") == ["pgd100x5", "cw40"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no attack is named"),
        (" , ", "no attack is named"),
        ("fgsm,pgd20,fgsm", "'fgsm' is named twice"),
        ("fgsm,pgdtwenty", "there is no attack 'pgdtwenty'"),
        ("autoattac", "did you mean 'autoattack'"),
        ("n-fgsm", "leaves the ball"),
    ],
)
def test_a_list_that_cannot_be_run_is_refused(text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        parse_attacks(text)


def test_a_named_attack_runs_and_misleads() -> None:
    weight = torch.randn(48, 5, generator=stream(0, "w"))
    x = torch.rand(50, 3, 4, 4, generator=stream(0, "x"))

    def model(given: torch.Tensor) -> torch.Tensor:
        return given.flatten(1) @ weight

    labels = model(x).argmax(dim=1)
    for name in ("fgsm", "pgd20", "cw", "dlr20"):
        x_adv = named(name, epsilon=0.2).run(model, x, labels, stream(0, "s"))
        assert (x_adv - x).abs().max() <= 0.2 + 1e-6
        assert (model(x_adv).argmax(dim=1) == labels).float().mean() < 0.1
    with pytest.raises(ConfigError, match="DLR needs 3 classes"):
        named("dlr20", epsilon=0.2).run(lambda v: model(v)[:, :2], x, labels.clamp(max=1), stream(0, "s"))
