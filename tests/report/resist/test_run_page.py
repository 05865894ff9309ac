"""The page of a run that protected a teacher: cost, entropy, sparse targets, serving, and what it cannot know."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.report import write_comparison, write_report

MakeRun = Callable[..., Path]
Reader = Callable[[Path], Any]
Record = dict[str, Any]

DECOY = "Class 3 is among the 2 that the target keeps on 97% of the adversarial images: a constant decoy."


def support(top: float) -> Record:
    """What is on file of the sparse targets."""
    histogram = [0.11, 0.14, 0.09, top, 0.2, 0.13, 0.12, 0.08, 0.1, 0.06]
    return {
        "histogram": histogram,
        "keep": 2,
        "rows": 898,
        "top_share": top,
        "top_class": 3,
        "warning": top > 0.8,
    }


@pytest.fixture
def protect(make_run: MakeRun) -> MakeRun:
    """Return a function that writes a finished run of a method that protects; `edit` changes its result in place."""

    def make(edit: Callable[[Record], object] | None = None, *, top: float = 0.34, **parts: Any) -> Path:
        def protected(result: Record) -> None:
            for key in ("samples", "bank_bytes", "synthetic", "teacher_evaluations"):
                del result[key]
            old = result["scores"]
            result |= {
                "method": "adversarial_sparse_teacher",
                "family": "resistance",
                "fidelity": "paper",
                "serving": "none",
                "resistance": {
                    "method": "AdversarialSparseTeacher",
                    "fidelity": "paper",
                    "alpha": 0.05,
                    "alpha_t2": 1.8,
                    "attack": {"epsilon": 0.15, "box": "valid"},
                    "support": support(top),
                    "notes": [DECOY] if top > 0.8 else [],
                    "reference": {"sha256": "9f2c" * 16},
                },
                "models": {"model": result["models"]["student"], "ordinary": result["models"]["student"]},
                "scores": {
                    "model": old["student"] | {"entropy": {"1": 0.07, "4": 0.45, "20": 1.97}, "agreement": None},
                    "ordinary": old["teacher"] | {"entropy": {"1": 0.05, "4": 0.97, "20": 2.24}},
                },
                "timing_s": {"reference": 16.4, "attack": 0.9, "fit": 33.2},
            }
            if edit is not None:
                edit(result)

        rows: list[Record] = []
        for at in range(20):
            fit = {"loss": 2.0 - 0.03 * at, "epd": 0.4, "top_support": 0.3}
            rows.append({"phase": "fit", "step": 20 * at, "wall_s": float(at), "metrics": fit})
            share = {"share": top, "class": 3, "warning": 0.0}
            rows.append({"phase": "support", "step": at + 1, "wall_s": float(at), "metrics": share})
        return make_run(**{"name": "ast-s0", "edit": protected, "events": rows, **parts})

    return make


def test_cost_entropy_and_what_is_not_known(protect: MakeRun, read: Reader) -> None:
    text = read(write_report(protect())).words
    assert "Adversarial Sparse Teacher" in text
    assert "fidelity paper: follows the text and the equations of the paper" in text
    assert (
        "The teacher is right on 97.2 % of the 500 real test images of digits (95 % interval 95.8 to 98.6). An "
        "ordinary teacher of the same kind is right on 99.0 %: the defence costs the owner 1.8 points."
    ) in text
    assert "Whether students learn less from it is not known from this run." in text
    assert "its answers have 0.45 nats of entropy, those of the ordinary teacher 0.97: they are less spread out" in text
    assert "Owner pays 1.8 points against the ordinary teacher Entropy 0.45 nats, at temperature 4" in text
    assert "Served behind" not in text


def test_table_settings_and_the_command_that_measures(protect: MakeRun, read: Reader) -> None:
    page = read(write_report(protect()))
    part = page.words[page.words.index("Answers of the protected and of the ordinary teacher") :]
    assert "protection" in page.sections
    assert "Teacher Accuracy NLL ECE Entropy, T = 1 Entropy, T = 4 Entropy, T = 20 Ordinary teacher 99.0 %" in part
    assert "Protected 97.2 % 95.8 to 98.6 0.087 0.011 0.07 0.45 1.97" in part
    assert "alpha × T² 1.8 attack: epsilon 0.15 attack: box valid reference: sha256 9f2c" in part
    command = "understudy resist --data digits --teachers protected=runs/ast-s0 --students cnn:widths=16-32-64"
    assert f"{command} --regimes labelled,unlabelled --seeds 3 Copy" in part


def test_a_constant_decoy_is_warned_of(protect: MakeRun, read: Reader) -> None:
    text = read(write_report(protect(top=0.97))).words
    assert DECOY in text.partition("Summary")[0]
    assert "is kept on 97.0 %: a constant decoy, which anyone can subtract with the mean answer." in text
    sound = read(write_report(protect(name="sound"))).words
    assert DECOY not in sound
    assert "Above 80 % it would be a constant decoy" in sound


def test_the_support_is_drawn_once_for_each_epoch(protect: MakeRun, read: Reader, tmp_path: Path) -> None:
    page = write_report(protect())
    text, source = read(page), page.read_text(encoding="utf-8")
    assert "Targets that keep the same class" in text.words
    assert "Classes that the sparse targets keep" in text.words
    assert "Most kept class" not in text.words
    assert source.count("over epoch:") == 1
    both = write_comparison([protect(name="one"), protect(name="two")], tmp_path / "both.html")
    words = read(both).words
    assert "Support: share" in words
    assert "Support: class" not in words
    assert "Support: warning" not in words


def test_a_defence_at_serving_time(protect: MakeRun, read: Reader) -> None:
    def stingy(result: Record) -> None:
        result |= {"method": "stingy_teacher", "serving": "top_k:2", "resistance": {"k": 2, "notes": []}}
        del result["scores"]["ordinary"]
        del result["models"]["ordinary"]

    text = read(write_report(protect(stingy))).words
    assert "(95 % interval 95.8 to 98.6). The weights are those of an ordinary teacher." in text
    assert "The protection is in how answers are served: behind top_k:2." in text
    assert "Served behind top_k:2 defence at serving time" in text
    assert "Owner pays" not in text
    assert "sparse targets" not in text


@pytest.mark.parametrize(
    ("accuracy", "said"),
    [
        (0.972, "the defence costs no accuracy that these images could show."),
        (0.960, "the defence costs none, and this teacher is 1.2 points better."),
    ],
)
def test_a_defence_that_costs_nothing(protect: MakeRun, read: Reader, accuracy: float, said: str) -> None:
    def free(result: Record) -> None:
        result["scores"]["ordinary"]["accuracy"]["value"] = accuracy

    assert said in read(write_report(protect(free))).words


def test_a_network_that_is_to_be_wrong_is_no_teacher(protect: MakeRun, read: Reader) -> None:
    def misleader(result: Record) -> None:
        result |= {"method": "misinformer", "resistance": {"role": "misleader"}}
        del result["scores"]["ordinary"]

    text = read(write_report(protect(misleader))).words
    assert "This network was trained to be wrong" in text
    assert "Whether students learn less" not in text
    assert "understudy resist" not in text


def test_other_runs_have_none_of_it(make_run: MakeRun, read: Reader) -> None:
    text = read(write_report(make_run()))
    assert "protection" not in text.sections
    assert "Owner pays" not in text.words


def test_the_run_page_in_a_browser(protect: MakeRun, visit: Callable[[Path], Any]) -> None:
    seen = visit(write_report(protect()))
    assert seen.console == []
    assert seen.requests == []
    assert seen.dom.count("<figure>") == seen.dom.count('class="plot-container') == 1 + 2 + 1 + 2
