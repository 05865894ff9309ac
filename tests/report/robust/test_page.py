"""What the page of an evaluation under attack says: which number, for which attacker, and when there is no verdict."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.errors import ConfigError, IntegrityError
from understudy.report import summarise_robustness, write_comparison, write_report, write_robustness_report

MakeRobustness = Callable[..., Path]
Reader = Callable[[Path], Any]
Record = dict[str, Any]


def alone(record: Record) -> None:
    """Strip a record of everything that an evaluation of one attack, without anything beside it, does not have."""
    for key in ("sweep", "paired", "transfer", "parting", "examples", "checks", "notes", "settings", "date"):
        del record[key]
    record["attacks"] = record["attacks"][:1]
    scores = record["scores"]["last"]
    scores |= {"attacks": {"fgsm": scores["attacks"]["fgsm"]}, "worst": scores["attacks"]["fgsm"]["robust"]}
    del scores["per_class"]


def flagged(*flags: Record) -> Callable[[Record], None]:
    def edit(record: Record) -> None:
        record |= {"flags": list(flags), "verdict": None}

    return edit


def flag(name: str, what: str, *, model: str = "last", acknowledged: bool = False) -> Record:
    about = {"measured": "2.3 points", "expected": "0.2 at most", "meaning": f"{name} means.", "to_do": f"mend {name}"}
    return {"name": name, "model": model, "what": what, "acknowledged": acknowledged, **about}


def test_first_lines_name_number_and_attacker(make_robustness: MakeRobustness, read: Reader) -> None:
    page = write_robustness_report(make_robustness())
    text = read(page).words
    assert page.name == "robustness.html"
    assert "What an attacker can do to “crdnd-s0”" in text
    assert (
        "Left alone, the network is right on 84.3 % of the 1,000 test images of cifar10. Against an attacker who knows "
        "the network and may change every pixel by at most 8/255, it stays right on 47.2 % (95 % interval 44.1 to "
        "50.3)."
    ) in text
    assert "after every one of 4 attacks (FGSM, PGD-20, CW and AutoAttack): the worst case, image by image" in text
    assert "1,000 of 10,000 images were attacked" in text
    assert "22 November 2026, 07:31 UTC" in text


def test_says_what_the_number_does_not_mean(make_robustness: MakeRobustness, read: Reader) -> None:
    text = read(write_report(make_robustness())).words
    assert "8/255 is 3.1 % of the way from black to white, for each pixel and each colour" in text
    assert "Changes of another kind: those measured in L2 or L1" in text
    assert "Larger changes than 8/255" in text
    assert "Natural corruption: noise, blur, weather" in text
    assert "an attack that finds nothing proves nothing" in text


def test_l2_is_said_in_its_own_words(make_robustness: MakeRobustness, read: Reader) -> None:
    def euclid(record: Record) -> None:
        record["threat"] = {"norm": "l2", "epsilon": 0.5}

    text = read(write_report(make_robustness(euclid))).words
    assert "may change the image by at most 0.5 altogether (L2: the root of the summed squares of all changes)" in text
    assert "those measured pixel by pixel (L∞)" in text
    assert "/255" not in text.partition("Run it again")[0].replace("8/255 is", "")


def test_a_red_flag_stops_the_verdict(make_robustness: MakeRobustness, read: Reader) -> None:
    one = flag("zero_gradients", "gradients are exactly zero")
    text = read(write_report(make_robustness(flagged(one)))).words
    assert "There is no verdict, because a red flag stands: gradients are exactly zero. Left alone" in text
    assert "it must not be quoted as the network's robustness" in text
    assert "Right under attack 47.2 % no verdict: a red flag stands" in text
    assert "Robust accuracy 47.2 %" not in text
    assert (
        "Gradients are exactly zero zero_gradients means. What to do: mend zero_gradients. found in: the last" in text
    )
    assert "measured: 2.3 points; expected: 0.2 at most; name: zero_gradients" in text
    assert "--acknowledge zero_gradients: the page then gives a verdict" in text
    assert "to quote" not in text


def test_several_flags_are_all_named(make_robustness: MakeRobustness, read: Reader) -> None:
    flags = (flag("a", "first sign"), flag("b", "second sign", model="against"), flag("b", "second sign"))
    text = read(write_report(make_robustness(flagged(*flags)))).words
    assert "because 3 red flags stand: first sign; second sign and second sign." in text
    assert "--acknowledge a,b:" in text
    assert "found in: “rslad-s0”" in text


def test_an_acknowledged_flag_leaves_the_verdict_and_is_said(make_robustness: MakeRobustness, read: Reader) -> None:
    def known(record: Record) -> None:
        record["flags"] = [flag("square", "Square wins", acknowledged=True)]

    text = read(write_report(make_robustness(known))).words
    assert "it stays right on 47.2 %" in text
    assert "There is no verdict" not in text
    assert "A red flag was raised and acknowledged by whoever ran this (Square wins)." in text
    assert "Square wins acknowledged" in text
    assert "--acknowledge" not in text


def test_nothing_optional_leaves_an_empty_section(make_robustness: MakeRobustness, read: Reader) -> None:
    page = write_report(make_robustness(alone, images=None, keys=("last",)))
    text = read(page)
    assert text.sections == ["meaning", "attacks", "how"]
    assert "the one attack that ran, FGSM" in text.words
    assert "AutoAttack was not among the attacks" in text.words
    assert "The command was not recorded." in text.words
    for word in ("Teacher", "checkpoint", "Versions", "None", "nan", "Comparison", "class by class"):
        assert word not in text.words
    assert page.stat().st_size < 60_000, "without figures there is no script for them"


def test_without_an_attack_nothing_is_claimed(make_robustness: MakeRobustness, read: Reader) -> None:
    def idle(record: Record) -> None:
        alone(record)
        record["attacks"] = []
        record["scores"]["last"] |= {"attacks": {}, "worst": None}

    text = read(write_report(make_robustness(idle, images=None, keys=("last",)))).words
    assert "No attack was run, so nothing is known of its robustness." in text
    assert "Robust accuracy –" not in text


def test_every_section_is_there_when_everything_was_done(make_robustness: MakeRobustness, read: Reader) -> None:
    sections = read(write_report(make_robustness())).sections
    assert sections == ["meaning", "checks", "attacks", "images", "size", "classes", "pairs", "teacher", "how"]


def test_attack_table_has_every_network(make_robustness: MakeRobustness, read: Reader) -> None:
    text = read(write_report(make_robustness())).words
    part = text[text.index("Robust accuracy by attack") : text.index("What each attack does")]
    assert "Attack Last checkpoint Best checkpoint rslad-s0 Teacher" in part
    assert "PGD-20 50.8 % 47.7 to 53.9 52.3 % 49.2 to 55.4 49.7 % 46.6 to 52.8 56.1 % 53.0 to 59.2" in part
    assert "AutoAttack 47.2 % 44.1 to 50.3 48.9 % 45.8 to 52.0 45.3 % 42.2 to 48.4 –" in part
    assert "55.3 % without AutoAttack" in part, "the teacher's worst case is over fewer attacks, and says so"
    details = text[text.index("What each attack does") :]
    assert "CW margin 30 2/255 a random point 1 1 min 00 s" in details
    assert "AutoAttack what AutoAttack does four attacks in turn – – a random point 1 1 min 20 s" in details


def test_best_and_last_checkpoint(make_robustness: MakeRobustness, read: Reader) -> None:
    text = read(write_report(make_robustness())).words
    assert (
        "The best one, chosen on held-out training images, stays right on 48.9 %: training on cost 1.7 points" in text
    )

    def equal(record: Record) -> None:
        record["scores"]["best"]["worst"]["value"] = 0.472

    assert "48.9" not in read(write_report(make_robustness(equal))).words.partition("Clean accuracy")[0]
    assert "so training to the end did no harm" in read(write_report(make_robustness(equal))).words


def test_a_teacher_under_fewer_attacks_is_not_compared(make_robustness: MakeRobustness, read: Reader) -> None:
    said = "stays right on 55.3 %, but AutoAttack did not run on it, so the two numbers do not compare"
    assert said in read(write_report(make_robustness())).words

    def fewer(record: Record) -> None:
        for scores in record["scores"].values():
            scores["attacks"].pop("autoattack", None)

    assert "stays right on 55.3 % under the same attacks." in read(write_report(make_robustness(fewer))).words


@pytest.mark.parametrize(
    ("only", "p_value", "said"),
    [
        (
            (58, 31),
            0.0056,
            "on 58 the last checkpoint alone is right, on 31 “rslad-s0” alone. Between equals, chance would split them "
            "so unevenly in 0.6 % of cases, so the last checkpoint is the better one here.",
        ),
        ((31, 58), 0.0056, "so “rslad-s0” is the better one here."),
        ((44, 45), 1.0, "in 100.0 % of cases, so this does not show which is better."),
        ((89, 0), 1e-20, "on none “rslad-s0” alone. Between equals, chance would split them so unevenly in less than"),
        ((0, 0), 1.0, "are right on the same images in the worst case: nothing tells them apart."),
        ((1, 0), None, "differ on one image in the worst case: on 1 the last checkpoint alone"),
    ],
)
def test_paired_comparison_in_words(
    make_robustness: MakeRobustness, read: Reader, only: tuple[int, int], p_value: float | None, said: str
) -> None:
    def edit(record: Record) -> None:
        record["paired"][1] |= {"only_a": only[0], "only_b": only[1], "p_value": p_value}

    text = read(write_report(make_robustness(edit))).words
    assert said in text.partition("What the number means")[0], "beside the headline"
    assert said in text.partition("Image by image against another network")[2]


def test_transfer_the_right_and_the_wrong_way_round(make_robustness: MakeRobustness, read: Reader) -> None:
    text = read(write_report(make_robustness())).words
    assert (
        "Images made with PGD-20 against the teacher and shown to the last checkpoint leave it right on 67.1 %" in text
    )
    assert "This is as it should be" in text

    def masked(record: Record) -> None:
        record["transfer"]["transferred"]["value"] = 0.3

    assert "This is the wrong way round" in read(write_report(make_robustness(masked))).words


def test_where_teacher_and_student_part(make_robustness: MakeRobustness, read: Reader) -> None:
    text = read(write_report(make_robustness())).words
    assert (
        "On 81.9 % of the images the last checkpoint and the teacher are right or wrong together after FGSM, PGD-20 "
        "and CW, each attacked by itself. On 120 the teacher alone stays right, on 61 the last checkpoint alone."
        in text
    )
    assert "Under attack 411 41.1 % 120 12.0 % 61 6.1 % 408 40.8 %" in text
    assert text.index("truck 40 40.0 % 12 12.0 % 9 9.0 %") < text.index("airplane 40 40.0 % 12 12.0 % 0 0.0 %")


def test_classes_the_weakest_first(make_robustness: MakeRobustness, read: Reader) -> None:
    text = read(write_report(make_robustness())).words
    assert "The weakest class is cat, of which 18.0 % of the images stay right in the worst case" in text
    part = text[text.index("Every class, the weakest first") :]
    assert part.index("cat 100 53.0 %") < part.index("deer 100") < part.index("car 100")


def test_checks_are_a_row_each(make_robustness: MakeRobustness, read: Reader) -> None:
    def fail(record: Record) -> None:
        record["checks"][0]["passed"] = False

    text = read(write_report(make_robustness())).words
    assert "All 3 checks passed." in text
    assert text.count("zero_gradients as it should be") == 1
    assert "passed sweep of last passed sweep of best passed sweep of against" in text
    assert "Of 3 checks, 1 did not pass: order." in read(write_report(make_robustness(fail))).words


def test_worse_than_guessing_is_said(make_robustness: MakeRobustness, read: Reader) -> None:
    def broken(record: Record) -> None:
        record["scores"]["last"]["worst"] |= {"value": 0.02, "low": 0.01, "high": 0.03}

    text = read(write_report(make_robustness(broken))).words
    assert "That is no better than guessing, which would be right on 10.0 %." in text
    assert "no better than guessing" not in read(write_report(make_robustness())).words


def test_settings_and_command(make_robustness: MakeRobustness, read: Reader) -> None:
    folder = make_robustness()
    (folder / "config.toml").write_text('[evaluate]\nmodel = "runs/crdnd-s0"\n', encoding="utf-8")
    text = read(write_report(folder)).words
    assert "Norm and size of the change L∞, 8/255" in text
    assert "Batch size 250" in text
    assert "SHA-256 of the last checkpoint " + "l" * 64 in text
    assert "torch 2.13.0" in text
    command = "understudy evaluate runs/crdnd-s0 --data cifar10 --attack fgsm,pgd20,cw,autoattack --epsilon 8/255 Copy"
    assert command in text
    assert '[evaluate] model = "runs/crdnd-s0"' in text


def test_a_method_without_public_formulas_is_named_so(make_robustness: MakeRobustness, read: Reader) -> None:
    text = read(write_report(make_robustness())).words
    assert "trained with CRDND-style (independent instantiation)" in text
    assert "RSLAD-style" not in text


def test_the_verdict_can_be_quoted(make_robustness: MakeRobustness, read: Reader) -> None:
    assert "to quote 47.2 % robust" in read(write_report(make_robustness())).words


def test_everything_from_files_is_escaped(make_robustness: MakeRobustness, read: Reader) -> None:
    evil = "<script>alert(1)</script>"

    def inject(record: Record) -> None:
        record["data"] |= {"source": evil, "classes": [evil + str(at) for at in range(10)]}
        record["models"]["against"] |= {"name": evil, "spec": evil, "trained_by": evil}
        record["attacks"][0] |= {"label": evil, "objective": evil}
        record["flags"] = [flag(evil, evil)]
        record["verdict"] = evil
        record["notes"] = [evil]
        record["settings"] = {evil: evil}

    page = write_report(make_robustness(inject))
    assert "<script>alert" not in page.read_text(encoding="utf-8").lower()
    assert read(page).words.count(evil) > 15


def test_same_record_gives_the_same_bytes(make_robustness: MakeRobustness, tmp_path: Path) -> None:
    folder = make_robustness()
    first = write_report(folder).read_bytes()
    assert write_report(folder, tmp_path / "elsewhere.html").read_bytes() == first


def test_summary_for_a_terminal(make_robustness: MakeRobustness) -> None:
    raw = json.loads((make_robustness() / "robustness.json").read_text(encoding="utf-8"))
    lines = summarise_robustness(raw)
    assert lines[0].startswith("Left alone, the network is right on")
    assert any("robust overfitting" in line for line in lines)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"format": 2, "kind": "robustness"}', "robustness.json has format 2, which is newer"),
        ("[]", "states no format"),
        ('{"format": 1, "kind": "robustness"}', "damaged, at threat"),
        ('{"format": 1, "kind": "audit"}', "damaged, at kind"),
    ],
)
def test_damaged_and_newer_files(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "robustness.json").write_text(content, encoding="utf-8")
    with pytest.raises(IntegrityError, match=said):
        write_report(tmp_path)


def test_a_record_without_networks_is_damaged(make_robustness: MakeRobustness) -> None:
    def none(record: Record) -> None:
        record["models"] = {}

    with pytest.raises(IntegrityError, match="damaged, at models"):
        write_report(make_robustness(none))


def test_a_folder_without_a_record(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no robustness\.json here"):
        write_robustness_report(tmp_path)


def test_evaluations_are_not_compared_as_runs(make_robustness: MakeRobustness, tmp_path: Path) -> None:
    folder = make_robustness()
    with pytest.raises(ConfigError, match="--against OTHER"):
        write_comparison([folder, folder], tmp_path / "out.html")
