"""Attacked sentences on the page: which words are marked, and that none of them is taken for markup."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.report import write_adapters
from understudy.report._adapt_read import parse_adapters
from understudy.report._adapt_sentences import marked, sentences_shown

MakeStudy = Callable[..., Path]
Reader = Callable[[Path], Any]


class TestMarked:
    """Places count the words of the original; a space put into a word moves all that follow in the other."""

    def test_words_at_the_same_places(self) -> None:
        before, after = marked("the film is fine .", "the flick is nice .", [1, 3])
        assert before == [("the", False), ("film", True), ("is", False), ("fine", True), (".", False)]
        assert after == [("the", False), ("flick", True), ("is", False), ("nice", True), (".", False)]

    def test_neighbours_are_one_piece(self) -> None:
        assert marked("a b c", "a x y", [1, 2])[1] == [("a", False), ("x y", True)]

    def test_a_space_put_into_a_word(self) -> None:
        before, after = marked("a charming film", "a cha rming film", [1])
        assert before == [("a", False), ("charming", True), ("film", False)]
        assert after == [("a", False), ("cha rming", True), ("film", False)]

    def test_a_word_taken_out(self) -> None:
        before, after = marked("a very fine film", "a fine film", [1])
        assert before[1] == ("very", True)
        assert after == [("a fine film", False)]

    @pytest.mark.parametrize("places", [[], [7], [-1]])
    def test_what_differs_is_marked_whatever_the_places_say(self, places: list[int]) -> None:
        assert marked("a fine film", "a fien film", places)[1] == [("a", False), ("fien", True), ("film", False)]

    def test_no_change_and_no_word(self) -> None:
        assert marked("a film", "a film", []) == ([("a film", False)], [("a film", False)])
        assert marked("", "", []) == ([], [])

    def test_a_long_stretch_is_cut_but_every_change_stays(self) -> None:
        words = [f"w{at}" for at in range(200)]
        other = [*words]
        other[100] = "changed"
        (first, second, third) = marked(" ".join(words), " ".join(other), [100])[1]
        assert second == ("changed", True)
        assert first[0].startswith("w0 ")
        assert first[0].endswith(" w99")
        assert "…" in first[0]
        assert third[0].endswith("w199")

    def test_a_sentence_without_end_is_cut(self) -> None:
        before, _ = marked("x" * 5000, "y" * 5000, [0])
        ((text, changed),) = before
        assert changed
        assert len(text) < 1300
        assert text.endswith("…")


def test_everything_is_escaped(make_study: MakeStudy) -> None:
    evil = "<script>alert('x')</script>"

    def edit(record: dict[str, Any]) -> None:
        one = record["examples"][0]
        one["original"], one["attacked"] = f"a {evil} film", f"a {evil}<img/src=x> film"
        record["data"]["classes"] = ["<i>bad", "{{ 7 * 7 }}"]
        record["attacks"][0]["label"] = evil
        record["methods"][1]["label"] = evil
        record["slots"][0]["warning"] = evil
        record["notes"] = [evil]
        record["verdict"]["sentences"][0] = evil
        record["name"] = evil

    source = write_adapters(make_study(edit=edit)).read_text(encoding="utf-8")
    assert "<script>alert" not in source
    assert "<img" not in source
    assert "<i>bad" not in source
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&lt;img/src=x&gt;</mark>" in source
    assert "{{ 7 * 7 }}" in source


class TestShown:
    """Coefficients as bars, and what every method says."""

    def test_bars_add_up_to_the_whole(self, studies: Any) -> None:
        shown = sentences_shown(parse_adapters(studies.made_up(), where="here"))
        for one in shown:
            assert sum(bar.width for bar in one.bars) == pytest.approx(100, abs=0.1)
            assert [bar.name for bar in one.bars] == ["Clean", "DeepWordBug", "PWWS"]

    def test_who_is_right(self, studies: Any) -> None:
        record = studies.made_up()
        record["examples"] = [record["examples"][0] | {"label": 0, "predictions": {"clean": 1, "adpmixup": 0}}]
        (one,) = sentences_shown(parse_adapters(record, where="here"))
        assert [(guess.name, guess.right) for guess in one.guesses] == [("Clean adapter", False), ("AdpMixup", True)]
        assert one.truth == "class 0"

    def test_names_of_classes(self, studies: Any) -> None:
        record = studies.made_up()
        record["data"]["classes"] = ["negative", "positive"]
        assert sentences_shown(parse_adapters(record, where="here"))[0].truth == "negative"

    def test_a_method_without_coefficients(self, make_study: MakeStudy, read: Reader) -> None:
        def edit(record: dict[str, Any]) -> None:
            for one in record["examples"]:
                one["weights"] = None

        text = read(write_adapters(make_study(edit=edit)))
        assert "Entropy 0.51 nats" in text.words
        sentences = text.source.partition('id="sentences"')[2].partition('id="gate"')[0]
        assert 'class="bar"' not in sentences

    def test_those_that_misled_come_first_and_attacks_take_turns(self, studies: Any) -> None:
        record = studies.made_up()
        record["examples"].sort(key=lambda one: (one["attack"], one["status"]))
        shown = [(one.title, "did not" in one.note) for one in sentences_shown(parse_adapters(record, where="here"))]
        assert shown == [
            ("DeepWordBug", False),
            ("PWWS", False),
            ("TextBugger, characters", False),
            ("PWWS", False),
            ("TextBugger, characters", False),
            ("DeepWordBug", True),
        ]

    def test_more_than_eight_are_folded(self, make_study: MakeStudy) -> None:
        def edit(record: dict[str, Any]) -> None:
            record["examples"] *= 2

        source = write_adapters(make_study(edit=edit)).read_text(encoding="utf-8")
        before, _, after = source.partition("4 more, last those that did not mislead")
        assert (before.count("<article>"), after.count("<article>")) == (8, 4)
        assert "more, last" not in write_adapters(make_study()).read_text(encoding="utf-8")

    @pytest.mark.parametrize(
        ("entropies", "shown"),
        [
            ((0.2, 0.69), ["0.20 nats", "0.69 nats"]),
            ((0.6912, 0.6931), ["0.6912 nats", "0.6931 nats"]),
            ((0.5, 0.5), ["0.50 nats", "0.50 nats"]),
        ],
    )
    def test_entropies_are_told_apart(self, studies: Any, entropies: tuple[float, float], shown: list[str]) -> None:
        record = studies.made_up()
        record["examples"] = [one | {"entropy": at} for one, at in zip(record["examples"], entropies, strict=False)]
        assert [one.entropy for one in sentences_shown(parse_adapters(record, where="here"))] == shown

    def test_no_more_than_two_dozen(self, studies: Any) -> None:
        record = studies.made_up()
        record["examples"] *= 10
        assert len(record["examples"]) == 60
        assert len(sentences_shown(parse_adapters(record, where="here"))) == 24

    def test_a_label_that_no_class_has(self, studies: Any) -> None:
        record = studies.made_up()
        record["examples"][0]["label"] = 9
        record["examples"][1]["label"] = -1
        shown = sentences_shown(parse_adapters(record, where="here"))
        assert [one.truth for one in shown[:2]] == ["class 9", "class -1"]
