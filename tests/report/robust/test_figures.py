"""The curve over the size of the change: where it ends, and which sizes are written under it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.report._robust_figures import epsilon_figure
from understudy.report._robust_read import parse_robustness

MakeRobustness = Callable[..., Path]


def figure(folder: Path) -> dict[str, Any]:
    raw = json.loads((folder / "robustness.json").read_text(encoding="utf-8"))
    found = epsilon_figure(parse_robustness(raw, where="robustness.json"))
    assert found is not None
    return found.spec


def test_ends_where_nothing_is_left(make_robustness: MakeRobustness) -> None:
    def fall(record: dict[str, Any]) -> None:
        for sweep in record["sweep"].values():
            for point in sweep["points"]:
                point["robust"]["value"] = max(0.0, 0.8 - 20 * point["epsilon"])

    spec = figure(make_robustness(fall))
    curve = spec["data"][0]
    assert [round(255 * size) for size in curve["x"]] == [0, 2, 4, 8, 12], "16 and more have no image left either"
    assert curve["y"][-1] == 0
    assert curve["customdata"] == ["0", "2/255", "4/255", "8/255", "12/255"]


def test_a_curve_that_stays_up_is_shown_to_its_end(make_robustness: MakeRobustness) -> None:
    def stay(record: dict[str, Any]) -> None:
        for point in record["sweep"]["best"]["points"]:
            point["robust"]["value"] = 0.5

    spec = figure(make_robustness(stay))
    assert round(255 * spec["data"][0]["x"][-1]) == 32


def test_the_threat_is_marked_and_written(make_robustness: MakeRobustness) -> None:
    spec = figure(make_robustness())
    names = [trace.get("name") for trace in spec["data"]]
    assert names == ["Last checkpoint", "Best checkpoint", "rslad-s0", None]
    assert spec["data"][-1]["x"] == [8 / 255, 8 / 255]
    assert "8/255" in spec["layout"]["xaxis"]["ticktext"]
    bars = spec["data"][0]["error_y"]
    assert min(bars["array"]) >= 0
    assert min(bars["arrayminus"]) >= 0


def test_one_point_is_no_curve(make_robustness: MakeRobustness) -> None:
    def single(record: dict[str, Any]) -> None:
        record["sweep"] = {"last": {"attack": "pgd20", "points": record["sweep"]["last"]["points"][:1]}}

    raw = json.loads((make_robustness(single) / "robustness.json").read_text(encoding="utf-8"))
    assert epsilon_figure(parse_robustness(raw, where="robustness.json")) is None
