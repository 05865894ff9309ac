"""The page of one run: what it says, what it leaves out, and that nothing of a file becomes markup."""

import base64
import html
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from understudy.bank import BankWriter
from understudy.errors import StorageError
from understudy.report import write_report
from understudy.report._format import DASH

MakeRun = Callable[..., Path]


def words(page: Path) -> str:
    """The page's text as one reads it: no markup, scripts or styles, plain spaces and dashes."""
    source = re.sub(r"<(script|style).*?</\1>", " ", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", source)).replace(DASH, "-").split())


def row(text: str, first: str, last: str) -> str:
    return text[text.index(first) : text.index(last, text.index(first))]


def write_bank(folder: Path, x: torch.Tensor, labels: torch.Tensor, classes: int = 10) -> None:
    channels = x.shape[1]
    about = {
        "shape": list(x.shape[1:]),
        "classes": classes,
        "mean": [0.0] * channels,
        "std": [1.0] * channels,
    }
    writer = BankWriter(folder, storage="float32", about=about)
    logits = torch.nn.functional.one_hot(labels, classes).float()
    writer.write(0, x, answers={"logits": logits}, record={})
    writer.finish(1)


def test_says_in_plain_words_what_the_numbers_mean(make_run: MakeRun) -> None:
    folder = make_run()
    page = write_report(folder)
    assert page == folder / "report.html"
    text = words(page)
    assert "CAKE" in text
    assert "preset digits seed 0" in text
    assert "official : follows the authors' published code" in text
    assert (
        "The student picks the same class as the teacher on 97.2 % of the 500 real test images of digits "
        "(95 % interval 95.8 to 98.6)." in text
    )
    assert "Gaussian-noise samples instead, it would have reached 92.8 % agreement." in text
    assert "it keeps 98.2 % of the teacher's accuracy (retention)" in text
    assert "distilled on the real data, is right on 98.4 %" in text


@pytest.mark.parametrize(
    ("student", "said", "unsaid"),
    [
        (0.92, "the noise control is as good, so this task does not show that the method works", "overlap"),
        (0.928, "the noise control is as good", "overlap"),
        (0.94, "the two intervals overlap, so the difference may be chance", "as good"),
        (0.98, "reached 92.8 % agreement.", "as good"),
    ],
)
def test_is_honest_about_the_noise_control(make_run: MakeRun, student: float, said: str, unsaid: str) -> None:
    text = words(write_report(make_run(student=student)))
    assert said in text
    assert unsaid not in text


def test_summary_has_a_row_for_each_model(make_run: MakeRun) -> None:
    text = words(write_report(make_run()))
    assert "Teacher cnn:widths=32-64-128 99.0 % 98.1 to 99.9 - - 0.031 0.004 94.4 k 2.31 M 17.0 k" in text
    student = "Student cnn:widths=16-32-64 97.2 % 95.8 to 98.6 97.2 % 95.8 to 98.6 0.036 0.087 0.011 24.1 k"
    assert student in text
    assert "Control: Gaussian noise 92.8 % 90.5 to 95.1 92.8 % 90.5 to 95.1 0.094 0.223 0.029 - - -" in text
    assert "Control: real data 98.4 %" in text


def test_cost_is_in_human_units(make_run: MakeRun) -> None:
    text = words(write_report(make_run()))
    assert "Samples 10,000" in text
    assert "Teacher evaluations 1,000,000" in text
    assert "Bank 1.69 MB" in text
    assert "Time 1 min 17 s" in text
    assert "Synthesise 31.4 s 40.7 %" in text


def test_lists_where_student_and_teacher_part(make_run: MakeRun) -> None:
    text = words(write_report(make_run()))
    part = row(text, "Where student and teacher part", "Configuration")
    assert "8 1 2 5 +3 6.0 %" in part
    assert "9 5" not in part, "both take two nines for fives"


def test_shows_configuration_environment_and_command(make_run: MakeRun) -> None:
    page = write_report(make_run())
    text = words(page)
    assert "synthesis.weights 1000.0, 10.0, 1000.0" in text
    assert "packages.accelerate 1.15.0" in text
    assert "understudy distil cake --teacher runs/teacher --preset digits --seed 0 Copy" in text
    assert "[synthesis] sets = 20" in text


def test_missing_numbers_are_dashes(make_run: MakeRun) -> None:
    def blank(result: dict[str, Any]) -> None:
        result["scores"]["student"] |= {"nll": float("nan"), "ece": None, "kl_from_teacher": float("inf")}
        result["models"]["student"] |= {"macs": None, "images_per_s": float("nan")}

    text = words(write_report(make_run(edit=blank)))
    assert "95.8 to 98.6 97.2 % 95.8 to 98.6 - - - 24.1 k - -" in text
    assert "nan" not in row(text, "Summary On", "Configuration").lower()


def test_without_data_it_claims_nothing_about_real_inputs(make_run: MakeRun) -> None:
    def blind(result: dict[str, Any]) -> None:
        result |= {"data": None, "scores": {}}

    text = words(write_report(make_run(edit=blind)))
    assert "on 94.1 % of 100 held-out synthetic samples" in text
    assert "nothing is known about real inputs" in text
    assert "Confusion" not in text


def test_a_trained_model_without_teacher(make_run: MakeRun) -> None:
    def train(result: dict[str, Any]) -> None:
        scores, models = result["scores"], result["models"]
        result |= {"method": "supervised", "fidelity": None, "preset": None, "synthetic": None}
        result |= {"scores": {"model": scores["teacher"]}, "models": {"model": models["teacher"]}}
        for key in ("samples", "teacher_evaluations", "bank_bytes"):
            del result[key]

    text = words(write_report(make_run(edit=train)))
    assert "The model is right on 99.0 % of the 500 real test images of digits" in text
    assert "Supervised" in text
    assert "Retention" not in text
    assert "Teacher evaluations" not in text


def test_everything_from_files_is_escaped(make_run: MakeRun) -> None:
    evil = "<script>alert(1)</script>"

    def inject(result: dict[str, Any]) -> None:
        result |= {"method": evil, "preset": evil, "fidelity": evil}
        result["models"]["student"]["spec"] = evil
        result["data"] |= {"source": evil, "classes": [evil + str(at) for at in range(10)]}
        result["scores"][evil] = result["scores"]["noise_control"]

    events = [{"phase": evil, "step": at, "wall_s": 0.0, "metrics": {evil: 1.0 + at}} for at in range(3)]
    config, environment = f"'{evil}' = '{evil}'\n", {"command": evil, evil: evil}
    page = write_report(make_run(edit=inject, events=events, config=config, environment=environment))
    source = page.read_text(encoding="utf-8")
    assert "<script>alert" not in source.lower()
    assert words(page).count(evil) > 10


def test_samples_are_strips_of_enlarged_pixels(make_run: MakeRun) -> None:
    folder = make_run()
    x = torch.zeros(24, 3, 8, 8)
    x[:12, 0, 0, 0] = 1.0
    labels = torch.tensor([0] * 12 + [3] * 12)
    write_bank(folder / "bank", x, labels)
    page = write_report(folder)
    source = page.read_text(encoding="utf-8")
    found = re.findall(r'<span>(\d)</span><img src="data:image/png;base64,([^"]+)"[^>]* alt="([^"]+)"', source)
    assert [(label, alt) for label, _, alt in found] == [
        ("0", "8 synthesised samples of class 0"),
        ("3", "8 synthesised samples of class 3"),
    ]
    strip = Image.open(io.BytesIO(base64.b64decode(found[0][1])))
    assert strip.size == (8 * 48 + 7 * 4, 48)
    corners = {(0, 0), (5, 5), (52, 0)}
    assert {strip.getpixel(at) for at in corners} == {(255, 0, 0, 255)}
    assert strip.getpixel((6, 0)) == (0, 0, 0, 255)
    assert strip.getpixel((49, 0))[3] == 0, "the gap is clear"
    assert "The teacher sees no sample of classes 1, 2, 4, 5, 6, 7, 8, 9 in this bank." in words(page)


def test_page_stands_without_a_bank_and_with_a_damaged_one(make_run: MakeRun) -> None:
    folder = make_run()
    assert "This run folder holds no bank" in words(write_report(folder))
    (folder / "bank").mkdir()
    assert "The bank cannot be read, so no samples are shown: no finished bank here." in words(write_report(folder))


def test_vectors_are_not_shown_as_pictures(make_run: MakeRun) -> None:
    folder = make_run()
    write_bank(folder / "bank", torch.zeros(4, 2), torch.tensor([0, 1, 0, 1]), classes=2)
    assert "The samples of this bank are not images" in words(write_report(folder))


def test_is_one_file_that_names_no_server(make_run: MakeRun) -> None:
    folder = make_run()
    source = write_report(folder).read_text(encoding="utf-8")
    assert re.findall(r'(?:src|href)="(?!#|data:)', source) == []
    assert "default-src 'none'" in source
    assert len(source) < 3_000_000
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.toml",
        "environment.json",
        "events.jsonl",
        "report.html",
        "result.json",
    ]


def test_page_without_figures_carries_no_script_for_them(make_run: MakeRun) -> None:
    def plain(result: dict[str, Any]) -> None:
        for score in result["scores"].values():
            score |= {"per_class": None, "confusion": None}

    page = write_report(make_run(edit=plain, events=[]))
    assert page.stat().st_size < 60_000


def test_same_run_gives_the_same_bytes(make_run: MakeRun) -> None:
    folder = make_run()
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first


def test_a_failing_write_leaves_the_old_page(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run()
    before = write_report(folder).read_bytes()

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StorageError, match="free some disk space"):
        write_report(folder)
    assert (folder / "report.html").read_bytes() == before


def test_samples_are_left_out_where_the_run_asked_for_none(make_run: MakeRun) -> None:
    config = 'method = "cake"\n\n[run]\nseed = 0\npreviews = false\n'
    text = words(write_report(make_run("private", config=config, bank=True)))
    assert "The run was asked to show no samples" in text
    assert "treat this page as you treat the teacher" not in text
