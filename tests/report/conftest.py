"""Run folders with realistic numbers, written by hand, for the tests of the pages."""

import json
import math
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

MakeRun = Callable[..., Path]

CLASSES = [str(digit) for digit in range(10)]
CONFIG = """\
method = "cake"
preset = "digits"
seed = {seed}
teacher = "runs/teacher"
student = "cnn:widths=16-32-64"

[synthesis]
sets = 20
steps = 100
weights = [1000.0, 10.0, 1000.0]
langevin = false

[fit]
epochs = 30
learning_rate = 0.1
"""


def interval(value: float, n: int = 500) -> dict[str, Any]:
    """A share with an interval of about the right width; that it is Wilson's is not the subject here."""
    half = 1.96 * math.sqrt(max(value * (1 - value), 0.002) / n)
    return {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half), "n": n}


def confusion(wrong: dict[tuple[int, int], int], rows: int = 50) -> list[list[int]]:
    """Ten classes of `rows` images each, all right but for the given (true, predicted) mistakes."""
    table = [[rows if true == said else 0 for said in range(10)] for true in range(10)]
    for (true, said), many in wrong.items():
        table[true][said] += many
        table[true][true] -= many
    return table


def score(accuracy: float, wrong: dict[tuple[int, int], int], agreement: float | None, **more: Any) -> dict[str, Any]:
    """One entry of `scores`."""
    table = confusion(wrong)
    return {
        "accuracy": interval(accuracy),
        "agreement": None if agreement is None else interval(agreement),
        "kl_from_teacher": None if agreement is None else 1.3 * (1 - agreement),
        "nll": 3.1 * (1 - accuracy),
        "ece": 0.4 * (1 - accuracy),
        "per_class": [table[at][at] / 50 for at in range(10)],
        "confusion": table,
    } | more


def result(seed: int = 0, student: float = 0.972) -> dict[str, Any]:
    """A `result.json` of a distillation on the digits."""
    near = {(8, 1): 5, (3, 8): 3, (9, 5): 2, (1, 8): 2, (7, 9): 2}
    noisy = {(8, 1): 11, (3, 8): 8, (9, 3): 7, (4, 7): 6, (2, 3): 4}
    return {
        "format": 1,
        "method": "cake",
        "family": "data_free",
        "fidelity": "official",
        "preset": "digits",
        "seed": seed,
        "samples": 10_000,
        "teacher_evaluations": 1_000_000,
        "bank_bytes": 1_690_112,
        "models": {
            "student": {
                "spec": "cnn:widths=16-32-64",
                "parameters": 24_058,
                "macs": 612_000,
                "images_per_s": 48_210.4,
            },
            "teacher": {
                "spec": "cnn:widths=32-64-128",
                "parameters": 94_410,
                "macs": 2_310_000,
                "images_per_s": 17_002.7,
            },
        },
        "data": {"source": "digits", "split": "test", "rows": 500, "classes": CLASSES},
        "scores": {
            "student": score(student, near, student),
            "teacher": score(0.99, {(8, 1): 2, (3, 8): 1, (9, 5): 2}, None),
            "noise_control": score(0.928, noisy, 0.928),
            "real_control": score(0.984, {(8, 1): 3, (9, 5): 2}, 0.988),
        },
        "synthetic": {"agreement": interval(0.941, 100)},
        "timing_s": {"synthesise": 31.4, "fit": 22.9, "fit_noise_control": 22.1, "evaluate": 0.8},
    }


def events() -> list[dict[str, Any]]:
    """An event log: twenty sets of synthesis, two of noise, two fits."""
    rows: list[dict[str, Any]] = []
    for at in range(20):
        step_size = 0.1 * 10 ** (-4 * at / 20)
        settled = 1 / (1 + 30 * step_size)
        metrics = {
            "loss": 40 + 2900 * settled,
            "classification": 20 + 2300 * settled,
            "contrast": 14 - 9 * settled,
            "total_variation": 0.2 + 0.9 * settled,
            "step_size": step_size,
            "target_accuracy": 1 - 0.88 * settled,
            "confidence": 0.96 - 0.5 * settled,
        }
        rows.append({"phase": "synthesise", "step": at, "wall_s": 1.5 * at, "metrics": metrics})
    for at in range(2):
        metrics = {"loss": 3000.0, "step_size": 0.1, "confidence": 0.4}
        rows.append({"phase": "draw_noise", "step": at, "wall_s": 29.0, "metrics": metrics})
    for phase, floor in (("fit", 0.12), ("fit_noise_control", 0.31)):
        for at in range(60):
            loss = floor + 2.1 * math.exp(-at / 9) + 0.03 * math.sin(at * 1.7)
            accuracy = 0.98 - 0.8 * math.exp(-at / 8) - floor / 9
            metrics = {
                "loss": loss,
                "accuracy": accuracy,
                "learning_rate": 0.1 * math.sin(math.pi * (at + 1) / 62),
            }
            rows.append({"phase": phase, "step": 20 * at, "wall_s": 30 + 0.3 * at, "metrics": metrics})
    return rows


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Return a function that writes a run folder, whole but for what the test says.

    `result`, `config`, `environment` and `events` are the content of a file (`result=None`: no such file),
    `student` is the student's accuracy, and `edit` changes the result in place.
    """

    def make(name: str = "cake-digits-0", *, seed: int = 0, **parts: Any) -> Path:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        environment = {
            "understudy": "0.1.0",
            "python": "3.11.7",
            "torch": "2.13.0",
            "platform": "Linux-6.1-x86_64",
            "device": "cpu",
            "cpu": "2 cores",
            "seed": seed,
            "command": f"understudy distil cake --teacher runs/teacher --preset digits --seed {seed}",
            "teacher_sha256": "9f2c" * 16,
            "packages": {"accelerate": "1.15.0", "numpy": "2.3.4"},
        } | parts.get("environment", {})
        written = parts.get("result", result(seed, parts.get("student", 0.972)))
        if "edit" in parts:
            parts["edit"](written)
        (folder / "config.toml").write_text(parts.get("config", CONFIG.format(seed=seed)), encoding="utf-8")
        (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
        lines = "".join(json.dumps(event) + "\n" for event in parts.get("events", events()))
        (folder / "events.jsonl").write_text(lines, encoding="utf-8")
        if written is not None:
            (folder / "result.json").write_text(json.dumps(written), encoding="utf-8")
        return folder

    return make


@dataclass(frozen=True)
class Visit:
    """What a browser saw: the page after its scripts ran, its console, and the addresses it asked for."""

    dom: str
    console: list[str]
    requests: list[str]


@pytest.fixture
def visit(tmp_path: Path) -> Callable[[Path], Visit]:
    """Return a function that opens a file in headless Chromium, which can reach nothing."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no chromium on this machine")

    def look(page: Path) -> Visit:
        log = tmp_path / "net.json"
        quiet = ("no-first-run", "disable-background-networking", "disable-component-update", "disable-sync")
        flags = [
            *("headless", "no-sandbox", "disable-gpu", "disable-quic", "disable-dev-shm-usage", *quiet),
            *(
                "host-resolver-rules=MAP * ~NOTFOUND",
                f"user-data-dir={tmp_path / 'profile'}",
                f"log-net-log={log}",
            ),
            *("enable-logging=stderr", "v=0", "virtual-time-budget=5000", "dump-dom"),
        ]
        command = [browser, *(f"--{flag}" for flag in flags), page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        console = [line for line in done.stderr.splitlines() if ":CONSOLE:" in line]
        return Visit(done.stdout, console, _asked_by_page(json.loads(log.read_text(encoding="utf-8"))))

    return look


def _asked_by_page(log: dict[str, Any]) -> list[str]:
    """Addresses on the net that the page asked for; what the browser asks on its own behalf has no origin."""
    start = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    asked = [event.get("params", {}) for event in log["events"] if event["type"] == start]
    return [
        one["url"]
        for one in asked
        if one.get("url", "").startswith(("http", "ws")) and one.get("initiator") != "not an origin"
    ]
