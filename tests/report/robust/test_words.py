"""The words of an evaluation under attack: sizes of changes, and what attacks are called."""

import pytest

from understudy.report._read import Threat
from understudy.report._robust_words import epsilon_text, listed, may_change, spelled


@pytest.mark.parametrize(
    ("norm", "epsilon", "said"),
    [
        ("linf", 8 / 255, "8/255"),
        ("linf", 0.5 / 255, "0.5/255"),
        ("linf", 1.0, "1"),
        ("linf", 0.03, "0.03"),
        ("linf", 0.12, "0.12"),
        ("linf", 0.0, "0"),
        ("l2", 0.5, "0.5"),
        ("l2", 128 / 255, "0.502"),
    ],
)
def test_sizes_as_papers_write_them(norm: str, epsilon: float, said: str) -> None:
    assert epsilon_text(Threat(norm=norm, epsilon=epsilon)) == said


def test_what_an_attacker_may_do() -> None:
    assert may_change(Threat(norm="linf", epsilon=8 / 255)) == "change every pixel by at most 8/255"
    assert may_change(Threat(norm="l2", epsilon=0.5)).startswith("change the image by at most 0.5 altogether (L2")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pgd20", "PGD-20"),
        ("pgd100x5", "PGD-100\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN}\N{NO-BREAK SPACE}5"),
        ("cw", "CW"),
        ("cw100", "CW-100"),
        ("autoattack", "AutoAttack"),
        ("pgd20-trades", "PGD-20 (TRADES)"),
        ("other", "other"),
    ],
)
def test_attacks_as_papers_spell_them(name: str, said: str) -> None:
    assert spelled(name) == said


def test_lists_in_sentences() -> None:
    assert [listed([]), listed(["a"]), listed(["a", "b"]), listed("abc")] == ["", "a", "a and b", "a, b and c"]
