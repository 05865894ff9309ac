"""What the page of a measurement of resistance says: does it hold, against whom, and at what cost."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from understudy.errors import ConfigError, IntegrityError
from understudy.report import resistance_table, summarise_resistance, write_report, write_resistance

MakeResistance = Callable[..., Path]
Reader = Callable[[Path], Any]
Record = dict[str, Any]


def without(attack: str) -> Callable[[Record], None]:
    """Return an edit that takes an attack out of the measurement."""

    def edit(record: Record) -> None:
        record["cells"] = [cell for cell in record["cells"] if cell["attack"] != attack]
        record["attacks"] = [one for one in record["attacks"] if one["name"] != attack]

    return edit


class TestFirstScreen:
    """Verdict, cost and best attacker of every teacher stand before anything else."""

    def test_several_teachers_get_a_line_each(self, make_resistance: MakeResistance, read: Reader) -> None:
        page = write_resistance(make_resistance())
        text = read(page).words
        assert page.name == "resistance.html"
        first = text[: text.index("Protection and its cost")]
        assert "Which of these teachers resist distillation?" in first
        assert (
            "Against 8 attackers, “stingy” fails: an attacker who adapts gets past; “nasty” and “ast-paired” have only "
            "become worse teachers."
        ) in first
        assert (
            "Teacher Verdict Owner pays Plain distillation loses Best attacker loses Best attacker over alone "
            "Best attacker nasty Nasty Teacher Only worsens the teacher 5.2 points"
        ) in first
        assert "stingy Supervised, behind top_k:2 Fails to an adaptive attacker 0.0 points" in first
        assert "Recovery of hidden answers unlabelled" in first

    def test_the_numbers_of_a_line_are_those_of_the_record(self, make_resistance: MakeResistance, read: Reader) -> None:
        folder = make_resistance(teachers=("ordinary", "nasty"), regimes=("labelled",))
        summary = json.loads((folder / "resistance.json").read_text())["summary"]["nasty"]
        student = summary["regimes"]["labelled"]["students"]["mlp:12-12"]
        text = read(write_resistance(folder)).words
        for name, value in (
            ("Owner pays", summary["cost"]["value"]),
            ("Plain distillation loses", student["plain"]["protection"]["value"]),
            ("Best attacker loses", student["best"]["protection"]["value"]),
        ):
            assert f"{name} {100 * value:.1f} points" in text
        assert f"Best attacker over alone {-100 * student['best']['against_alone']['value']:+.1f} points" in text

    def test_one_teacher_gets_headline_numbers(self, make_resistance: MakeResistance, read: Reader) -> None:
        text = read(write_resistance(make_resistance(teachers=("ordinary", "nasty"), regimes=("labelled",)))).words
        assert "Does “nasty” resist distillation?" in text
        assert "Verdict, cost and losses of every teacher" not in text
        assert ", High-temperature composition Best attacker over alone" in text

    def test_a_word_on_the_owner_who_pays_more(self, make_resistance: MakeResistance, read: Reader) -> None:
        first = read(write_resistance(make_resistance())).words.partition("Protection and its cost")[0]
        said = (
            "The owner pays more than the best attacker loses with “nasty” (5.2 points; the attacker loses 1.2 points)"
        )
        assert said in first
        assert "“stingy” (" not in first

    def test_of_many_students_the_verdict_names_the_worst(self, make_resistance: MakeResistance, read: Reader) -> None:
        students = ("mlp:12-12", "cnn:widths=16-32-64")
        regimes = ("labelled", "partial:0.1", "unlabelled", "data_free")
        text = read(write_resistance(make_resistance(students=students, regimes=regimes)))
        assert "nasty, 10 % labelled, mlp:12-12: High-temperature composition takes the student to" in text.words
        assert text.sections == [
            *("protection", "words", "regime-1", "regime-2", "regime-3", "regime-4", "users", "variants", "how"),
        ]
        for part in ("Every student", "Every verdict on nasty, in words", "The other students"):
            assert part in text.words


class TestFourCases:
    """The verdict follows from the numbers."""

    @pytest.mark.parametrize(
        ("students", "accuracy", "title", "said"),
        [
            ("PROTECTS", 0.964, "Holds", "“other” holds against every attacker that was tried"),
            ("FAILS", 0.964, "Fails to an adaptive attacker", "“other” fails: an attacker who adapts gets past"),
            ("WORSENS", 0.925, "Only worsens the teacher", "“other” has only become a worse teacher"),
        ],
    )
    def test_case(
        self, records: ModuleType, read: Reader, tmp_path: Path, students: str, accuracy: float, title: str, said: str
    ) -> None:
        record = records.made_up({"other": (accuracy, getattr(records, students))})
        words = read(_written(record, tmp_path)).words
        assert said in words.partition("Protection and its cost")[0]
        assert title in words.partition("Protection and its cost")[2]

    def test_one_seed_is_undecided(self, records: ModuleType, read: Reader, tmp_path: Path) -> None:
        words = read(_written(records.made_up(seeds=(0,)), tmp_path)).words
        assert "“protected” stays undecided" in words
        assert "One seed shows no spread" in words
        assert "95 % intervals of the mean" not in words

    def test_side_by_side(self, records: ModuleType) -> None:
        record = records.made_up(
            {
                "a": (0.964, records.PROTECTS),
                "b": (0.964, records.FAILS),
                "c": (0.925, records.WORSENS),
            }
        )
        first = summarise_resistance(record)[0]
        assert first.startswith("Against 8 attackers, “a” holds against every attacker that was tried; “b” fails")
        assert "“c” has only become a worse teacher" in first


def _written(record: Record, folder: Path) -> Path:
    (folder / "resistance.json").write_text(json.dumps(record), encoding="utf-8")
    return write_report(folder)


class TestWithoutHeadline:
    """Where an attacker of the least set is missing, no worst case is printed anywhere."""

    def test_no_best_attacker_is_shown(self, make_resistance: MakeResistance, read: Reader) -> None:
        text = read(write_resistance(make_resistance(edit=without("hard_label")))).words
        assert "“nasty”, “ast-paired” and “stingy” have no verdict." in text
        assert "No headline is given, because this is missing:" in text
        assert "and 5 more, listed at the end" in text or "listed at the end" in text
        for word in ("Best loses", "Best over alone", "Best attacker loses", "Every verdict on", "the best attacker"):
            assert word not in text.partition("Words on this page")[0].replace("The best of a suite", "")
        assert "Only plain distillation is shown" in text

    def test_the_terminal_shows_none_either(self, make_resistance: MakeResistance) -> None:
        record = json.loads((make_resistance(edit=without("no_teacher")) / "resistance.json").read_text())
        headings, rows, _ = resistance_table(record)
        best = headings.index("Best")
        assert {row[best] for row in rows} == {"–"}
        assert {row[headings.index("Best attacker")] for row in rows} == {"–"}


class TestParts:
    """Tables, failures, notes, settings."""

    def test_what_every_attacker_took(self, make_resistance: MakeResistance, read: Reader) -> None:
        words = read(write_resistance(make_resistance())).words
        part = words[words.index("Attacker by attacker: labelled") :]
        assert "The teacher itself 96.5 %" in part
        assert "owner pays 5.2 points" in part
        assert "Student alone smoothed labels 93.3 % 92.5 to 94.1 – – –" in part
        assert "Plain distillation temperature = 4, squared_factor = True" in part
        assert "points, best" in part
        after = words[words.index("Attacker by attacker: unlabelled") :]
        assert "Class of the ordinary teacher in the place of a student alone" in after

    def test_what_users_get(self, make_resistance: MakeResistance, read: Reader) -> None:
        words = read(write_resistance(make_resistance())).words
        part = words[words.index("What the owner's users get") :]
        assert "Teacher Accuracy Owner pays NLL ECE Entropy, T = 1 Entropy, T = 4 Entropy, T = 20 L1 Top-1 kept" in part
        assert "nasty 91.1 % 87.5 to 94.7 5.2 points" in part
        assert "Mean entropy of the answers" in part

    def test_which_variant_validation_chose(self, make_resistance: MakeResistance, read: Reader) -> None:
        words = read(write_resistance(make_resistance())).words
        part = words[words.index("What validation chose") :]
        assert "Distillation, tuned of 4 temperature = 1, squared_factor = True 4 of 6, 1 other" in part

    def test_failures_notes_and_settings(self, make_resistance: MakeResistance, read: Reader) -> None:
        def after(record: Record) -> None:
            place = {"teacher": "nasty", "student": "mlp:12-12", "regime": "labelled", "attack": "kd", "seed": 1}
            record["failures"] = [{**place, "variant": "temperature=1", "folder": "x", "error": "the loss is NaN"}]
            record["notes"] = ["A note."]

        words = read(write_resistance(make_resistance(after))).words
        assert "1 training was not finished." in words
        assert "Distillation, tuned from nasty temperature=1 labelled mlp:12-12 1 the loss is NaN" in words
        assert "A note." in words.partition("Protection and its cost")[0]
        assert "Options.fit.epochs 60" in words
        assert "Served from file 99.3 % of 6,465,600 answers" in words
        assert "Time asking 12.5 s 1.0 % of the whole" in words
        assert "understudy resist --data digits" in words

    def test_an_instantiation_is_named_so(self, make_resistance: MakeResistance, read: Reader) -> None:
        def after(record: Record) -> None:
            record["teachers"][1]["fidelity"] = "instantiation"

        words = read(write_resistance(make_resistance(after))).words
        assert "Nasty Teacher, independent instantiation" in words.partition("Protection and its cost")[0]
        assert "instantiation: our reading" in words

    def test_words_of_the_page_are_escaped(self, make_resistance: MakeResistance) -> None:
        def after(record: Record) -> None:
            text = json.dumps(record).replace('"nasty"', '"<script>alert(1)</script>"')
            record.clear()
            record.update(json.loads(text))

        source = write_resistance(make_resistance(after)).read_text(encoding="utf-8")
        assert "<script>alert(1)" not in source
        assert "&lt;script&gt;alert(1)" in source

    def test_nothing_measured_is_said(self, make_resistance: MakeResistance, read: Reader) -> None:
        def nothing(record: Record) -> None:
            record["cells"] = []

        page = write_resistance(make_resistance(edit=nothing))
        text = read(page)
        assert "No training of this measurement was finished" in text.words
        assert text.sections == ["words", "users", "how"]

        def alone(record: Record) -> None:
            record |= {"teachers": record["teachers"][:1], "summary": {}, "teacher_scores": {}}

        page = write_resistance(make_resistance(alone))
        text = read(page)
        assert "No defended teacher was measured" in text.words
        assert text.sections == ["words", "how"]
        assert page.stat().st_size < 60_000, "without figures there is no script for them"


class TestTable:
    """The short table for a terminal."""

    def test_one_regime_and_student_need_no_columns(self, make_resistance: MakeResistance) -> None:
        folder = make_resistance(teachers=("ordinary", "nasty"), regimes=("labelled",))
        headings, rows, caption = resistance_table(json.loads((folder / "resistance.json").read_text()))
        assert headings == ["Teacher", "Best attacker", "Owner", "Plain", "Best", "Over alone"]
        assert rows == [["nasty", "High-temperature composition", "5.2", "5.1", "0.8", "+0.6"]]
        assert "against the ordinary teacher" in caption

    def test_several_get_columns(self, make_resistance: MakeResistance) -> None:
        folder = make_resistance(students=("mlp:12-12", "cnn"), regimes=("labelled", "partial:0.1"))
        headings, rows, _ = resistance_table(json.loads((folder / "resistance.json").read_text()))
        assert headings[:4] == ["Teacher", "Regime", "Student", "Best attacker"]
        assert len(rows) == 3 * 2 * 2
        assert rows[2][:3] == ["nasty", "10 % labelled", "mlp:12-12"]


class TestBadFiles:
    """A file that is not what it should be is refused with what to do."""

    def test_a_folder_without_it(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"there is no resistance\.json here"):
            write_resistance(tmp_path)

    @pytest.mark.parametrize(
        ("edit", "match"),
        [
            ({"format": 2}, "newer than this version"),
            ({"kind": "robustness"}, "damaged, at kind"),
            ({"teachers": "none"}, "damaged, at teachers"),
        ],
    )
    def test_damage(self, make_resistance: MakeResistance, edit: Record, match: str) -> None:
        with pytest.raises(IntegrityError, match=match):
            write_resistance(make_resistance(lambda record: record.update(edit)))
