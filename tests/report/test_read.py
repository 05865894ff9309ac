"""Folders that are no finished run, and files that are not what was written."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from understudy.errors import ConfigError, IntegrityError
from understudy.report import write_report
from understudy.report._read import read_run

MakeRun = Callable[..., Path]


def test_reads_a_whole_run(make_run: MakeRun) -> None:
    run = read_run(make_run(environment={"started": "2026-11-21T12:00:00+00:00"}))
    assert run.name == "cake-digits-0"
    assert run.started == datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert run.result.subject == "student"
    assert run.result.controls == ["noise_control", "real_control"]
    assert len(run.events) == 20 + 2 + 2 * 60


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this is no run folder"):
        write_report(tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        write_report(tmp_path / "nowhere")


def test_an_unfinished_run_says_how_to_go_on(make_run: MakeRun) -> None:
    folder = make_run(result=None)
    with pytest.raises(ConfigError, match="not finished") as caught:
        write_report(folder)
    assert "understudy distil cake --teacher runs/teacher --preset digits --seed 0" in str(caught.value)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"format": 1, "method": "ca', "not readable as JSON"),
        ("[]", "states no format"),
        ('{"method": "cake"}', "states no format"),
        ('{"format": 2, "method": "cake"}', "newer than this version.*(?s:.*)upgrade understudy"),
        ('{"format": 1}', "damaged, at method"),
        ('{"format": 1, "method": "cake", "samples": "many"}', "damaged, at samples"),
        ('{"format": 1, "method": "cake", "scores": {"student": {"confusion": [["x"]]}}}', "confusion.0.0"),
    ],
)
def test_a_damaged_or_newer_result(make_run: MakeRun, content: str, said: str) -> None:
    folder = make_run()
    (folder / "result.json").write_text(content, encoding="utf-8")
    with pytest.raises(IntegrityError, match=said):
        write_report(folder)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.toml", b"seed = = 1", "not readable as TOML"),
        ("environment.json", b"[1]", "no JSON object"),
        ("events.jsonl", b'{"phase": 3}\n', "damaged, at phase"),
        ("events.jsonl", b"\xff\xfe", "not readable as text"),
    ],
)
def test_other_damaged_files(make_run: MakeRun, name: str, content: bytes, said: str) -> None:
    folder = make_run()
    (folder / name).write_bytes(content)
    with pytest.raises(IntegrityError, match=said):
        write_report(folder)


@pytest.mark.parametrize("name", ["config.toml", "environment.json", "events.jsonl"])
def test_files_that_a_page_can_do_without(make_run: MakeRun, name: str) -> None:
    folder = make_run()
    (folder / name).unlink()
    assert write_report(folder).is_file()


def test_the_later_of_two_entries_of_a_step_counts(make_run: MakeRun) -> None:
    def entry(loss: float | None) -> dict[str, Any]:
        return {"phase": "fit", "step": 5, "wall_s": 1.0, "metrics": {"loss": loss}}

    events = read_run(make_run(events=[entry(2.0), entry(None), entry(1.0)])).events
    assert [event.metrics for event in events] == [{"loss": 1.0}]
