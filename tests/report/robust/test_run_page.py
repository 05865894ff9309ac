"""The page of a run that trained against an attacker: robust beside clean, and what the teacher was asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.report import write_comparison, write_report

MakeRun = Callable[..., Path]
Reader = Callable[[Path], Any]
Record = dict[str, Any]


def test_robust_beside_clean_in_plain_words(make_robust_run: MakeRun, read: Reader) -> None:
    text = read(write_report(make_robust_run())).words
    assert (
        "Left alone, the student is right on 97.2 % of the 10,000 real test images of cifar10. Against an attacker who "
        "knows the network and may change every pixel by at most 8/255, it stays right on 48.7 % of 1,000 of them "
        "(95 % interval 45.6 to 51.8)." in text
    )
    assert "Its teacher is right on 99.0 % and stays right on 54.9 % under the same attacks." in text
    assert (
        "The best checkpoint, chosen on held-out training images, is right on 98.4 % and stays right on 49.8 %" in text
    )
    assert "This is a first look, with PGD-20 and CW and the worse of them for each image: an upper bound" in text
    assert "Robust accuracy 48.7 % 45.6 to 51.8 Teacher under attack 54.9 %" in text


def test_an_independent_instantiation_is_named_so_up_front(make_robust_run: MakeRun, read: Reader) -> None:
    text = read(write_report(make_robust_run())).words
    assert text.index("CRDND-style (independent instantiation)") < text.index("Left alone")
    assert "fidelity independent instantiation : our reading" in text.replace("instantiation:", "instantiation :")
    assert "so its numbers are not those of its paper" in text

    def other(result: Record) -> None:
        result |= {"method": "rslad", "fidelity": "official"}

    assert "instantiation" not in read(write_report(make_robust_run(other, name="rslad-s0"))).words


def test_table_of_the_first_look(make_robust_run: MakeRun, read: Reader) -> None:
    text = read(write_report(make_robust_run())).words
    part = text[text.index("First look under attack") :]
    assert "Model No attack PGD-20 CW Worst case Teacher 99.0 %" in part
    assert "Student 97.2 % 95.8 to 98.6 50.8 % 47.7 to 53.9 49.1 % 46.0 to 52.2 48.7 % 45.6 to 51.8" in part
    assert "Best checkpoint 98.4 %" in part
    command = "understudy evaluate runs/crdnd-s0 --data cifar10 --attack fgsm,pgd20,cw,autoattack --epsilon 8/255 Copy"
    assert command in part


def test_what_the_teacher_was_asked(make_robust_run: MakeRun, read: Reader) -> None:
    text = read(write_report(make_robust_run())).words
    assert "Teacher evaluations 250,000 images that it was shown" in text
    assert "Served from file 150,000 of 200,000 answers that could be, 75.0 %" in text

    def none(result: Record) -> None:
        del result["answers"]

    assert "Served from file" not in read(write_report(make_robust_run(none, name="no-answers"))).words


def test_epochs_are_not_drawn_as_steps(make_robust_run: MakeRun, read: Reader) -> None:
    text = read(write_report(make_robust_run()))
    assert "Robust accuracy: held-out images" in text.words
    assert "robust" in text.sections


def test_a_collapse_is_said(make_robust_run: MakeRun, read: Reader) -> None:
    def fell(result: Record) -> None:
        result["guard"]["collapsed_in_epoch"] = 7

    assert "In epoch 7 robustness collapsed" in read(write_report(make_robust_run(fell))).words
    assert "collapsed" not in read(write_report(make_robust_run(name="sound"))).words


def test_a_robust_teacher_without_a_teacher(make_robust_run: MakeRun, read: Reader) -> None:
    def train(result: Record) -> None:
        scores = result["scores"]
        result |= {"method": "pgd_at", "fidelity": "paper", "scores": {"model": scores["student"]}, "models": {}}
        for key in ("answers", "teacher_evaluations", "held_out", "guard"):
            del result[key]

    text = read(write_report(make_robust_run(train))).words
    assert "PGD-AT" in text
    assert "Left alone, the model is right on 97.2 %" in text
    for word in ("Its teacher", "Teacher", "Retention", "Served from file", "Best checkpoint"):
        assert word not in text.partition("Configuration")[0]


def test_a_run_without_data_or_looks_keeps_its_page(make_robust_run: MakeRun, read: Reader) -> None:
    def blind(result: Record) -> None:
        result |= {"data": None, "scores": {}}

    def unseen(result: Record) -> None:
        for score in result["scores"].values():
            del score["robust"]

    assert "robust" not in read(write_report(make_robust_run(blind))).sections
    assert "robust" not in read(write_report(make_robust_run(unseen, name="unseen"))).sections


def test_comparison_has_a_column_for_it(make_robust_run: MakeRun, read: Reader, tmp_path: Path) -> None:
    folders = [make_robust_run(name=f"seed{seed}", seed=seed) for seed in (0, 1)]
    text = read(write_comparison(folders, tmp_path / "both.html")).words
    assert "Accuracy Agreement Robust Noise control" in text
    assert text.count("48.7 % 45.6 to 51.8") == 2
    assert "n Accuracy Agreement Robust" in text
    assert "CRDND-style (independent instantiation)" in text
