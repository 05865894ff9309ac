"""What the page of text classifiers under attack says: first of all whether a gain outlives an attacker who adapts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.errors import ConfigError, IntegrityError
from understudy.report import adapters_table, summarise_adapters, write_adapters, write_comparison, write_report
from understudy.study.withstand_verdict import verdict

MakeStudy = Callable[..., Path]
Reader = Callable[[Path], Any]
Record = dict[str, Any]


class TestFirstScreen:
    """The verdict stands before anything else, with the protocol named beside every number."""

    def test_the_verdict_is_the_first_line(self, make_study: MakeStudy, read: Reader) -> None:
        page = write_adapters(make_study())
        text = read(page)
        assert page.name == "withstand.html"
        assert "Does AdpMixup withstand attacks on sentences?" in text.first
        assert "AdpMixup is an independent instantiation" in text.first
        said = "An attacker who adapts takes the gain of AdpMixup away."
        assert f'<p class="finding">{said}</p>' in text.source
        assert "Clean accuracy 85.8 % 85.0 to 86.7; clean adapter 86.3 %, −0.5 points" in text.first
        assert "Mean, static, 60 sentences 59.5 %" in text.first
        assert "Mean, adaptive, 60 sentences 32.0 %" in text.first

    def test_a_gain_has_one_sign_and_one_rounding(self, make_study: MakeStudy, read: Reader) -> None:
        def edit(record: Record) -> None:
            gain = {"value": -0.0125, "low": -0.0245, "high": -0.00049, "n": 3}
            record["gains"]["clean"]["adaptive_mean"] = gain
            record["verdict"] = verdict(record)

        text = read(write_adapters(make_study(edit=edit)))
        assert "adaptive −1.2 points (−2.4 to 0.0)." in text.first
        assert "clean adapter 32.3 %, −1.2 points" in text.first
        assert "−1.2 points −2.4 to +0.0" in text.words

    def test_beside_the_adaptive_mean_stands_the_static_one_on_the_same_sentences(
        self, make_study: MakeStudy, read: Reader
    ) -> None:
        both = read(write_adapters(make_study())).words
        heads = "Mean static, 60 sentences Mean adaptive, 60 sentences Mean static, 150 sentences"
        assert both.count(heads) == 2

        def edit(record: Record) -> None:
            for one in (*record["scores"].values(), *record["gains"].values()):
                del one["static_common_mean"]

        old = read(write_adapters(make_study(edit=edit)))
        assert old.words.count("Mean static, 150 sentences Mean adaptive, 60 sentences") == 2
        assert "Mean, static, 150 sentences 59.1 %" in old.first

    def test_the_head_names_what_it_shows(self, make_study: MakeStudy, read: Reader) -> None:
        assert "run withstand-1a2b3c backbone models/minilm data sst2" in read(write_adapters(make_study())).first

        def tiny(record: Record) -> None:
            record["backbone"]["spec"] = "/somewhere/deep/runs/text/backbone"
            record["settings"] |= {"text": {"backbone": "tiny"}, "methods": ["adpmixup"]}

        assert "study withstand-1a2b3c backbone tiny data" in read(write_adapters(make_study(edit=tiny))).first

        def deep(record: Record) -> None:
            record["backbone"]["spec"] = "/somewhere/deep/runs/text/backbone"

        text = read(write_adapters(make_study(edit=deep)))
        assert "backbone text/backbone data" in text.first
        assert "Backbone /somewhere/deep/runs/text/backbone, bert" in text.words

    def test_the_numbers_are_those_of_the_record(self, make_study: MakeStudy, read: Reader, studies: Any) -> None:
        record, text = studies.made_up(), read(write_adapters(make_study())).words
        for key in ("clean", "adpmixup", "freelb"):
            label = next(one["label"] for one in record["methods"] if one["key"] == key)
            mine = record["scores"][key]
            for attack in record["attacks"]:
                for share in (mine["static"][attack["name"]], mine["adaptive"][attack["name"]]["accuracy"]):
                    assert f"{100 * share['value']:.1f} % {100 * share['low']:.1f} to {100 * share['high']:.1f}" in text
            assert label in text

    def test_one_seed_is_said(self, make_study: MakeStudy, read: Reader) -> None:
        text = read(write_adapters(make_study(seeds=(0,))))
        assert "One seed decides nothing" in text.first
        assert "intervals over test sentences, of one seed" in text.words
        assert "for a mean of several shares, or of paired differences, the averages of the ends" in text.words
        assert "Student's, or the average of the intervals" in read(write_adapters(make_study())).words

    def test_no_adaptive_attack_is_said(self, make_study: MakeStudy, read: Reader) -> None:
        text = read(write_adapters(make_study(adaptive=False)))
        assert "No model was attacked itself." in text.first
        assert "Mean, adaptive" not in text.first
        assert "Mean, static, 150 sentences 59.1 %" in text.first
        assert "Static protocol alone" in text.words

    def test_without_attacks_only_clean_accuracy_is_left(self, make_study: MakeStudy, read: Reader) -> None:
        text = read(write_adapters(make_study(attacks=())))
        assert "No attack was run" in text.first
        assert text.sections == ["accuracy", "cost", "adapters", "words", "how"]
        assert "Attack by attack" not in text.words

    def test_warnings_and_what_was_not_finished(self, make_study: MakeStudy, read: Reader) -> None:
        def edit(record: Record) -> None:
            for slot in record["slots"]:
                if slot["name"] == "deepwordbug":
                    slot["warning"] = "inverted: 36 % on clean text, below chance"
            record["warnings"] = [
                "Seed 0: inverted: 36 % on clean text, below chance",
                "The bank of another run was used.",
            ]
            record["notes"] = ["A tiny encoder: this shows the mechanics."]
            record["failures"] = [{"what": "mixkd, seed 2", "folder": "mixkd-s2", "error": "no finite loss\nat 3"}]

        text = read(write_adapters(make_study(edit=edit)))
        assert "No better than chance on clean sentences by itself: the adapter of DeepWordBug. It has" in text.first
        assert "(--anchor-ratio)" in text.first
        assert "The bank of another run was used." in text.first
        assert "this shows the mechanics" in text.first
        assert "1 part was not finished" in text.first
        assert "below chance" not in text.first
        after = text.words.partition("The adapters one by one")[2]
        assert "inverted: 36 % on clean text, below chance" in after
        assert "mixkd, seed 2 mixkd-s2 no finite loss" in after

    def test_a_clean_adapter_at_chance_is_no_inverted_one(self, make_study: MakeStudy, read: Reader) -> None:
        def edit(record: Record) -> None:
            for slot in record["slots"]:
                if slot["name"] == "clean":
                    slot["warning"] = "the clean adapter is no better than chance"

        text = read(write_adapters(make_study(edit=edit))).first
        assert text.count("The clean adapter is no better than chance.") == 1
        assert "No better than chance on clean" not in text


class TestTables:
    """Known and unknown attacks, both protocols, costs, budgets and constraints."""

    def test_on_a_telephone_every_number_stands_beside_its_name(self, make_study: MakeStudy, read: Reader) -> None:
        page = write_adapters(make_study())
        source, style = read(page).source, page.read_text(encoding="utf-8").partition("</style>")[0]
        shown = source.partition('<section id="accuracy">')[2].partition('<section id="sentences">')[0]
        for title in ("Clean", "Mean, adaptive, 60 sentences", "PWWS, known, adaptive", "Passes"):
            assert f'data-title="{title}"' in shown
        small = style.partition("@media (max-width: 560px)")[2].partition("@media print")[0]
        assert ".cards td::before { content: attr(data-title)" in small
        assert ".facts:has(> :nth-child(3):last-child) { grid-template-columns: 1fr; }" in small

    def test_a_colour_stays_with_its_name(self, make_study: MakeStudy, read: Reader) -> None:
        page = write_adapters(make_study())
        key = '<span class="named"><span class="key" style="background: var(--student)"></span>AdpMixup</span>'
        assert key in read(page).source
        assert ".named { white-space: nowrap; }" in page.read_text(encoding="utf-8")

    def test_attacks_are_known_or_not_and_protocols_named(self, make_study: MakeStudy, read: Reader) -> None:
        text = read(write_adapters(make_study())).words
        assert "DeepWordBug known, static DeepWordBug known, adaptive PWWS known, static" in text
        assert "TextBugger, characters unknown, static TextBugger, characters unknown, adaptive" in text
        assert "Known attacks static Unknown attacks static Known attacks adaptive" in text

    def test_budgets_and_sentences_without_a_candidate(self, make_study: MakeStudy, read: Reader) -> None:
        text = read(write_adapters(make_study())).words
        assert "Budget spent No candidate Skipped" in text
        assert "PWWS known 23.4 % 19.9 to 26.9" in text

    def test_constraints_that_are_off_are_said(self, make_study: MakeStudy, read: Reader) -> None:
        off = read(write_adapters(make_study())).words
        assert "Not every constraint is on: DeepWordBug, PWWS and TextBugger, characters may change" in off

        def hold(record: Record) -> None:
            for attack in record["attacks"]:
                attack["constraints"] = ["similarity 0.8, window 15"]

        assert "as run:" not in off.lower()
        held = read(write_adapters(make_study(edit=hold))).words
        assert "Not every constraint is on" not in held
        assert "similarity 0.8, window 15" in held

    def test_a_constraint_that_says_it_is_off(self, make_study: MakeStudy, read: Reader) -> None:
        def switch(record: Record) -> None:
            for attack in record["attacks"]:
                attack["constraints"] = ["no stop words"]
            record["attacks"][1]["constraints"].append("similarity of sentences not asked for")
            record["notes"] = ["PWWS: similarity of sentences not asked for."]

        text = read(write_adapters(make_study(edit=switch)))
        assert "Not every constraint is on: PWWS may change" in text.words
        assert text.words.count("official as run: similarity of sentences not asked for") == 1
        assert "As run: with this constraint off" in text.words
        assert "not asked for" not in text.first

    def test_options_of_every_method(self, make_study: MakeStudy, read: Reader) -> None:
        text = read(write_adapters(make_study())).words
        assert "Options of AdpMixup, pairwise rule pairwise" in text

    def test_cost_stands_beside_that_of_the_clean_adapter(self, make_study: MakeStudy, read: Reader) -> None:
        text = read(write_adapters(make_study())).words
        assert "AdpMixup independent instantiation 223 k 732 896 kB 2 1 min 41 s 205 0.50 × clean" in text

    def test_fidelity_of_adpmixup(self, make_study: MakeStudy, read: Reader) -> None:
        text = read(write_adapters(make_study())).words
        assert "AdpMixup is an independent instantiation" in text
        assert "its numbers are not those of its paper" in text

    def test_the_gate(self, make_study: MakeStudy, read: Reader) -> None:
        text = read(write_adapters(make_study())).words
        assert "Clean text Clean 64 %, DeepWordBug 18 %, PWWS 18 %" in text
        assert "DeepWordBug 0.800 0.760 to 0.880" in text
        bare = read(write_adapters(make_study(edit=lambda record: record.update(profile=None))))
        assert "gate" not in bare.sections

    def test_every_seed_of_an_adapter(self, make_study: MakeStudy, read: Reader) -> None:
        text = read(write_adapters(make_study())).words
        assert "Adapter Seed 0 Seed 1 Seed 2 Warning" in text
        assert "training sentences that were not attacked, so that these are other numbers" in text
        assert "deepwordbug, of" not in text

    def test_adapters_of_one_name_are_told_apart_by_their_methods(self, make_study: MakeStudy, read: Reader) -> None:
        def edit(record: Record) -> None:
            mine = [slot for slot in record["slots"] if slot["name"] == "deepwordbug"]
            for slot in mine:
                slot |= {"models": ["adpmixup", "adpmixup:rule=pairwise"], "sha256": f"a{slot['seed']}"}
            other = {"models": ["adversarial_training"], "warning": "deepwordbug is upside down"}
            record["slots"] += [{**slot, **other, "sha256": f"b{slot['seed']}"} for slot in mine]

        text = read(write_adapters(make_study(edit=edit)))
        after = text.words.partition("The adapters one by one")[2]
        assert "DeepWordBug deepwordbug, of AdpMixup and AdpMixup, pairwise" in after
        assert "DeepWordBug deepwordbug, of Adversarial training" in after
        assert "PWWS pwws:max_candidates=8, of" not in after
        assert "by itself: the adapter of DeepWordBug in Adversarial training. It has" in text.first


def test_a_record_with_nothing_but_its_kind_has_a_page(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "withstand.json").write_text(json.dumps({"format": 1, "kind": "adapters"}))
    text = read(write_adapters(tmp_path))
    assert "No verdict is on file." in text.first
    assert text.sections == ["accuracy", "words", "how"]


@pytest.mark.parametrize(
    ("date", "shown"),
    [
        ("2026-11-22T09:00:00+02:00", "22 November 2026, 07:00 UTC"),
        ("2026-11-22", "22 November 2026"),
        ("some day", "some day"),
    ],
)
def test_dates(make_study: MakeStudy, read: Reader, date: str, shown: str) -> None:
    text = read(write_adapters(make_study(edit=lambda record: record.update(date=date))))
    assert f"seeds 3 {shown} " in text.first


def test_a_mixture_without_profile_parts(make_study: MakeStudy, read: Reader) -> None:
    """A method without a gate leaves no weights and no confusion, yet entropies."""

    def edit(record: Record) -> None:
        record["profile"] |= {"weights": None, "confusion": None}

    text = read(write_adapters(make_study(edit=edit)))
    assert "gate" in text.sections
    assert "Mean weight of each adapter" not in text.words


def test_numbers_that_are_missing_are_dashes(make_study: MakeStudy, read: Reader) -> None:
    def empty(record: Record) -> None:
        scores = record["scores"]["freelb"]
        scores["static"], scores["adaptive"] = {}, {}
        for name in list(scores):
            if name not in ("static", "adaptive"):
                scores[name] = None

    text = read(write_adapters(make_study(edit=empty))).words
    assert "FreeLB – – – –" in text


class TestFolders:
    """Which files are read, and what is said of those that cannot be."""

    def test_a_run_has_the_same_record_in_its_result(self, make_study: MakeStudy, read: Reader) -> None:
        page = write_report(make_study(file="result.json"))
        assert page.name == "report.html"
        assert "takes the gain of AdpMixup" in read(page).first

    def test_a_study_is_found_by_the_common_door(self, make_study: MakeStudy, tmp_path: Path) -> None:
        out = tmp_path / "elsewhere.html"
        assert write_report(make_study(), out) == out

    def test_the_configuration_is_shown(self, make_study: MakeStudy, read: Reader) -> None:
        folder = make_study()
        (folder / "config.toml").write_text('method = "adpmixup"\n', encoding="utf-8")
        assert 'method = "adpmixup"' in read(write_adapters(folder)).words

    def test_runs_are_compared_by_withstand(self, make_study: MakeStudy, tmp_path: Path) -> None:
        folder = make_study(file="result.json")
        with pytest.raises(ConfigError, match="compared by understudy withstand") as raised:
            write_comparison([folder, tmp_path], tmp_path / "cmp.html")
        assert "understudy withstand --methods" in str(raised.value)
        assert "--fresh" not in str(raised.value)

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="withstand"):
            write_adapters(tmp_path)

    def test_a_run_of_another_family(self, tmp_path: Path) -> None:
        (tmp_path / "result.json").write_text('{"format": 1, "method": "cake"}')
        with pytest.raises(ConfigError, match="adapters"):
            write_adapters(tmp_path)

    def test_a_newer_format(self, make_study: MakeStudy) -> None:
        with pytest.raises(IntegrityError, match="newer"):
            write_adapters(make_study(edit=lambda record: record.update(format=2)))

    def test_a_damaged_record(self, make_study: MakeStudy) -> None:
        with pytest.raises(IntegrityError, match=r"scores\.clean"):
            write_adapters(make_study(edit=lambda record: record["scores"].update(clean=[1])))


class TestTerminal:
    """The table and the sentences that a command prints."""

    def test_both_protocols_in_a_cell(self, studies: Any) -> None:
        headings, rows, caption = adapters_table(studies.made_up())
        assert headings == ["method", "clean", "DeepWordBug", "PWWS", "TextBugger, characters*", "mean"]
        assert rows[0][0] == "Clean adapter"
        assert rows[1] == ["AdpMixup†", "85.8", "49.4 / 8.4", "50.1 / 23.4", "50.8 / 10.1", "59.1 / 32.0"]
        assert caption.startswith("accuracy in %, static / adaptive; * no adapter was trained on this attack")
        assert caption.endswith("† an independent instantiation")

    def test_static_alone(self, studies: Any) -> None:
        _, rows, caption = adapters_table(studies.made_up(adaptive=False))
        assert rows[1][2] == "49.4"
        assert "no model was attacked itself" in caption

    def test_no_attack(self, studies: Any) -> None:
        headings, rows, caption = adapters_table(studies.made_up(attacks=()))
        assert headings == ["method", "clean"]
        assert all(len(row) == len(headings) for row in rows)
        assert "no attack was run" in caption

    def test_sentences(self, studies: Any) -> None:
        record = studies.made_up()
        assert " ".join(summarise_adapters(record)) == record["verdict"]["words"]

    def test_another_kind_of_record(self, studies: Any) -> None:
        with pytest.raises(IntegrityError, match="kind"):
            adapters_table(studies.made_up() | {"kind": "resistance"})
