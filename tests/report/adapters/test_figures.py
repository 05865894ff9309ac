"""Figures of text classifiers under attack: what is drawn of which number."""

from typing import Any

import pytest

from understudy.report._adapt_figures import entropy_figure, trade_figure, trade_legend
from understudy.report._adapt_read import AdaptersRecord, parse_adapters
from understudy.report._adapt_words import attacked_mean, method_colour, slot_colour
from understudy.report._figures import Figure


def _record(studies: Any, **parts: Any) -> AdaptersRecord:
    return parse_adapters(studies.made_up(**parts), where="here")


def _drawn(figure: Figure | None) -> list[dict[str, Any]]:
    assert figure is not None
    return list(figure.spec["data"])


class TestTrade:
    """A ring for the static protocol and a dot for the adaptive one, over clean accuracy."""

    def test_places(self, studies: Any) -> None:
        record = _record(studies)
        rings = [one for one in _drawn(trade_figure(record)) if one.get("text")]
        assert [one["text"][0] for one in rings] == [method.label for method in record.methods]
        for method, ring in zip(record.methods, rings, strict=True):
            scores = record.scores[method.key]
            assert scores.clean is not None
            values = [one.value for one in scores.static.values() if one is not None and one.value is not None]
            assert ring["x"] == [scores.clean.value]
            assert ring["y"] == [pytest.approx(sum(values) / 3)]

    def test_the_adaptive_dot_may_be_above(self, studies: Any) -> None:
        better = (0.86, (0.2, 0.2, 0.2), (0.4, 0.4, 0.4))
        record = _record(studies, mixed=better, rivals={})
        found = {one["name"]: one["y"][0] for one in _drawn(trade_figure(record)) if one["mode"] != "lines"}
        assert found["AdpMixup, adaptive"] > found["AdpMixup, static"] + 0.15

    def test_one_protocol_has_no_lines(self, studies: Any) -> None:
        record = _record(studies, adaptive=False)
        assert len(_drawn(trade_figure(record))) == len(record.methods)
        assert len(trade_legend(record)) == 1

    def test_no_attack(self, studies: Any) -> None:
        assert trade_figure(_record(studies, attacks=())) is None

    def test_an_attack_without_a_number_has_no_mean(self, studies: Any) -> None:
        raw = studies.made_up()
        del raw["scores"]["adpmixup"]["static"]["deepwordbug"]
        record = parse_adapters(raw, where="here")
        assert attacked_mean(record, "adpmixup", "static") is None
        assert attacked_mean(record, "clean", "static") is not None
        assert len([one for one in _drawn(trade_figure(record)) if one.get("text")]) == len(record.methods) - 1

    def test_words_that_plotly_would_read_as_markup(self, studies: Any) -> None:
        raw = studies.made_up()
        raw["methods"][1]["label"] = "<b>x</b>%{y}"
        drawn = _drawn(trade_figure(parse_adapters(raw, where="here")))
        assert not [one for one in drawn if "<" in str(one.get("name")) or "<" in str(one.get("text"))]


class TestEntropy:
    """Shares of sentences, a curve for each kind of text."""

    def test_shares_add_up(self, studies: Any) -> None:
        drawn = _drawn(entropy_figure(_record(studies)))
        assert [one["name"] for one in drawn] == ["Clean text", "DeepWordBug", "PWWS", "TextBugger, characters"]
        for one in drawn:
            assert sum(one["y"]) == pytest.approx(1)
            assert len(one["x"]) == 20
        assert len({(one["line"]["dash"], one["meta"]["colour"]) for one in drawn}) == len(drawn)

    def test_counts_that_do_not_fit_their_bins_are_left_out(self, studies: Any) -> None:
        raw = studies.made_up()
        raw["profile"]["entropy"]["clean"] = [1, 2]
        raw["profile"]["entropy"]["deepwordbug"] = [0] * 20
        drawn = _drawn(entropy_figure(parse_adapters(raw, where="here")))
        assert [one["name"] for one in drawn] == ["PWWS", "TextBugger, characters"]

    def test_nothing_to_draw(self, studies: Any) -> None:
        assert entropy_figure(_record(studies, attacks=())) is None
        raw = studies.made_up()
        raw["profile"]["entropy"] = {}
        assert entropy_figure(parse_adapters(raw, where="here")) is None


def test_colours_are_one_for_each(studies: Any) -> None:
    record = _record(studies)
    colours = [method_colour(record, method.key) for method in record.methods]
    assert len(set(colours)) == len(colours)
    assert colours[:2] == ["teacher", "student"]
    kinds = [slot_colour(record, name) for name in ("clean", *(attack.name for attack in record.attacks))]
    assert len(set(kinds)) == len(kinds)
    assert method_colour(record, "nobody") == slot_colour(record, "nothing") == "c6"
