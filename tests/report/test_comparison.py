"""The page of several runs: rows, links, means over seeds, and what may not be compared."""

import html
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.errors import ConfigError
from understudy.report import write_comparison, write_report
from understudy.report._read import read_run
from understudy.report._seeds import by_config, mean_interval

MakeRun = Callable[..., Path]


def words(page: Path) -> str:
    source = re.sub(r"<(script|style).*?</\1>", " ", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", source)).split())


def test_rows_links_and_finding(make_run: MakeRun, tmp_path: Path) -> None:
    one, two = make_run("first run"), make_run("second", seed=1, student=0.92)
    write_report(one)
    page = write_comparison([one, two, one], tmp_path / "pages" / "all.html")
    text, source = words(page), page.read_text(encoding="utf-8")
    assert "2 runs side by side" in text
    assert "accuracy goes from 92.0 % (second) to 97.2 % (first run)" in text
    assert "The noise control is as good as the student in second:" in text
    assert 'href="../runs/first%20run/report.html"' in source
    assert source.count("report.html") == 1, "a run without a page has no link"
    wanted = "first run CAKE digits 0 cnn:widths=16-32-64 97.2 % 95.8 to 98.6 97.2 % 95.8 to 98.6 92.8 %"
    assert wanted in text
    assert "10,000 1,000,000 1 min 17 s" in text


def test_means_over_seeds_of_one_configuration(make_run: MakeRun, tmp_path: Path) -> None:
    shares = (0.972, 0.978, 0.966)
    folders = [make_run(f"s{at}", seed=at, student=share) for at, share in enumerate(shares)]
    folders.append(make_run("other", seed=9, config="seed = 9\nsteps = 3\n"))
    groups = by_config([read_run(folder) for folder in folders])
    assert [[run.name for run in group] for group in groups] == [["s0", "s1", "s2"]]
    text = words(write_comparison(folders, tmp_path / "all.html"))
    # By hand: mean 0.972, deviation 0.006, t(2) = 4.3027: 0.972 ± 4.3027 * 0.006 / sqrt(3) = 0.972 ± 0.0149
    assert "CAKE digits, cnn:widths=16-32-64 3 seeds 0, 1, 2 97.2 % 95.7 to 98.7" in text


def test_one_seed_counts_once_and_alone_has_no_mean(make_run: MakeRun) -> None:
    runs = [read_run(make_run("a")), read_run(make_run("b"))]
    assert by_config(runs) == []
    assert len(by_config([*runs, read_run(make_run("c", seed=1))])[0]) == 2


def test_mean_interval_against_a_t_table() -> None:
    found = mean_interval([0.5, 0.6, 0.7, 0.8])
    assert found is not None
    half = 3.1824463 * math.sqrt(0.05 / 3) / 2
    assert found.value == pytest.approx(0.65, abs=1e-12)
    assert found.low == pytest.approx(0.65 - half, abs=1e-5)
    assert found.high == pytest.approx(0.65 + half, abs=1e-5)
    assert found.n == 4
    wide = mean_interval([0.9, 1.0])
    assert wide is not None
    assert (wide.low, wide.high) == (pytest.approx(0.95 - 12.706 * 0.05, abs=1e-4), 1.0)
    assert mean_interval([0.5]) is None
    assert mean_interval([0.5, None]) is None


def test_runs_on_different_data_are_not_ranked(make_run: MakeRun, tmp_path: Path) -> None:
    def elsewhere(result: dict[str, Any]) -> None:
        result["data"]["source"] = "mnist"

    text = words(write_comparison([make_run("a"), make_run("b", edit=elsewhere)], tmp_path / "all.html"))
    assert "not all scored on the same data, so their accuracies cannot be compared" in text
    assert "accuracy goes" not in text


def test_more_runs_than_colours_differ_by_line(make_run: MakeRun, tmp_path: Path) -> None:
    folders = [make_run(f"run-{at}", seed=at) for at in range(9)]
    source = write_comparison(folders, tmp_path / "all.html").read_text(encoding="utf-8")
    assert "3px solid var(--c1)" in source
    assert "3px dashed var(--c1)" in source


def test_names_are_escaped(make_run: MakeRun, tmp_path: Path) -> None:
    folders = [make_run("<script>alert(1)<b>"), make_run("b", seed=1, student=0.99)]
    source = write_comparison(folders, tmp_path / "all.html").read_text(encoding="utf-8")
    assert "<script>alert" not in source


def test_nothing_to_compare(tmp_path: Path, make_run: MakeRun) -> None:
    with pytest.raises(ConfigError, match="no run to compare"):
        write_comparison([], tmp_path / "all.html")
    with pytest.raises(ConfigError, match="not finished"):
        write_comparison([make_run("a"), make_run("b", result=None)], tmp_path / "all.html")
    assert not (tmp_path / "all.html").exists()


def test_seeds_with_a_teacher_each_belong_together(make_run: MakeRun) -> None:
    config = 'seed = {0}\nteacher = "runs/t{0}"\nteacher_sha256 = "{0}"\nbank = "runs/b{0}"\nsteps = 3\n'
    runs = [read_run(make_run(f"s{seed}", seed=seed, config=config.format(seed))) for seed in (0, 1)]
    assert [[run.name for run in group] for group in by_config(runs)] == [["s0", "s1"]]
