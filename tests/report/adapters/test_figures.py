"""Figures of text classifiers under attack: what is drawn of which number."""

from typing import Any

import pytest

from understudy.report._adapt_figures import entropy_figure, trade_figure, trade_legend
from understudy.report._adapt_read import AdaptersRecord, parse_adapters
from understudy.report._adapt_words import mean_of, method_colour, slot_colour
from understudy.report._figures import Figure


def _record(studies: Any, **parts: Any) -> AdaptersRecord:
    return parse_adapters(studies.made_up(**parts), where="here")


def _drawn(figure: Figure | None) -> list[dict[str, Any]]:
    assert figure is not None
    return list(figure.spec["data"])


class TestTrade:
    """A ring for the static protocol and a dot for the adaptive one, on the same sentences, over clean accuracy."""

    def test_places(self, studies: Any) -> None:
        record = _record(studies)
        rings = [one for one in _drawn(trade_figure(record)) if one.get("text")]
        assert [one["text"][0] for one in rings] == [method.label for method in record.methods]
        for method, ring in zip(record.methods, rings, strict=True):
            scores = record.scores[method.key]
            assert scores.clean is not None
            assert scores.static_common_mean is not None
            assert ring["x"] == [scores.clean.value]
            assert ring["y"] == [scores.static_common_mean.value]

    def test_a_line_joins_what_counts_the_same_sentences(self, studies: Any) -> None:
        record = _record(studies)
        figure = trade_figure(record)
        assert figure is not None
        assert figure.note == "static and adaptive on the same 60 sentences"
        lines = [one for one in _drawn(figure) if one["mode"] == "lines"]
        assert len(lines) == len(record.methods)

    def test_no_line_where_the_sentences_differ(self, studies: Any) -> None:
        raw = studies.made_up()
        del raw["scores"]["freelb"]["static_common_mean"]
        record = parse_adapters(raw, where="here")
        figure = trade_figure(record)
        assert figure is not None
        assert figure.note == "static on 150 sentences, adaptive on 60 sentences"
        assert not [one for one in _drawn(figure) if one["mode"] == "lines"]
        rings = [one for one in _drawn(figure) if one.get("text")]
        assert [ring["y"][0] for ring in rings] == [raw["scores"][key]["static_mean"]["value"] for key in raw["scores"]]

    def test_the_adaptive_dot_may_be_above(self, studies: Any) -> None:
        better = (0.86, (0.2, 0.2, 0.2), (0.4, 0.4, 0.4))
        record = _record(studies, mixed=better, rivals={})
        found = {one["name"]: one["y"][0] for one in _drawn(trade_figure(record)) if one["mode"] != "lines"}
        assert found["AdpMixup, adaptive"] > found["AdpMixup, static"] + 0.1

    def test_one_protocol_has_no_lines(self, studies: Any) -> None:
        record = _record(studies, adaptive=False)
        assert len(_drawn(trade_figure(record))) == len(record.methods)
        assert len(trade_legend(record)) == 1

    def test_no_attack(self, studies: Any) -> None:
        assert trade_figure(_record(studies, attacks=())) is None

    def test_a_method_without_a_mean_is_left_out(self, studies: Any) -> None:
        raw = studies.made_up()
        raw["scores"]["adpmixup"] |= {"static_mean": None, "static_common_mean": None, "adaptive_mean": None}
        record = parse_adapters(raw, where="here")
        assert mean_of(record, "adpmixup", "static") is None
        assert mean_of(record, "clean", "static") == record.of("clean").static_common_mean
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
            assert sum(one["y"][:-1]) == pytest.approx(1)
            assert len(one["x"]) == len(one["y"]) == 21
        assert len({(one["line"]["dash"], one["meta"]["colour"]) for one in drawn}) == len(drawn)

    def test_the_axis_fits_what_is_there(self, studies: Any) -> None:
        raw = studies.made_up()
        counts = [0] * 400
        counts[390:399] = range(1, 10)
        raw["profile"] |= {"bins": [at / 400 for at in range(401)], "entropy": {"clean": counts}}
        figure = entropy_figure(parse_adapters(raw, where="here"))
        (one,) = _drawn(figure)
        assert figure is not None
        assert figure.spec["layout"]["xaxis"]["range"] == [390 / 400, 399 / 400]
        assert one["y"] == pytest.approx([many / 45 for many in (*range(1, 10), 9)])

    def test_fine_bins_are_put_together(self, studies: Any) -> None:
        raw = studies.made_up()
        raw["profile"] |= {"bins": [at / 400 for at in range(401)], "entropy": {"clean": [1] * 390 + [0] * 10}}
        (one,) = _drawn(entropy_figure(parse_adapters(raw, where="here")))
        assert len(one["x"]) == 21
        assert (one["x"][1], one["x"][-1]) == (20 / 400, 390 / 400)
        assert one["y"][0] == pytest.approx(20 / 390)
        assert one["y"][-2] == one["y"][-1] == pytest.approx(10 / 390)

    def test_one_filled_bin_is_a_step_of_its_width(self, studies: Any) -> None:
        raw = studies.made_up()
        raw["profile"]["entropy"] = {"clean": [0] * 19 + [4]}
        (one,) = _drawn(entropy_figure(parse_adapters(raw, where="here")))
        assert one["x"] == raw["profile"]["bins"][-2:]
        assert one["y"] == [1.0, 1.0]

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
