"""`understudy audit` as a user types it: the table, the plan, the exit codes, and what it refuses."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from understudy.cli.audit import audit as command
from understudy.data import load_images
from understudy.errors import TargetError
from understudy.models import build_encoder, save_model
from understudy.study import audit as study

Refused = Callable[..., str]
ALLOWED = ("--owner", "Example Ltd", "--authorised-by", "J. Doe")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    data = load_images("digits", "train")
    model = build_encoder("cnn:widths=4-8", input_shape=data.shape, mean=data.mean, std=data.std, seed=5).eval()
    folder = tmp_path_factory.mktemp("target") / "encoder"
    save_model(model, folder, about={})
    return folder


def _without(line: list[object], flag: str) -> list[object]:
    """A command line without a flag and its value."""
    at = line.index(flag) if flag in line else len(line)
    return line[:at] + line[at + 2 :]


@pytest.fixture
def line(encoder: Path) -> list[object]:
    """A command line of one method, one budget and two defences, without permission."""
    return [
        "audit", "--target", encoder, "--surrogate", "cnn:widths=4-8", "--data", "digits[600:700]", "--probe", "digits",
        "--methods", "conventional", "--budgets", "12", "--defences", "none,topk:3", "--epochs", 1, "--batch-size", 4,
        "--run", "audit",
    ]  # fmt: skip


def test_it_prints_a_table_and_where_the_page_lies_and_goes_on(cli, line: list[object], scratch: Path) -> None:
    done = cli(*line, *ALLOWED, "--price", 2, "--currency", "EUR")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[-2:] == ["report: audit/audit.html", "run:    audit"]
    heading = next(row for row in lines if "Queries" in row)
    assert [word in heading for word in ("Defence", "Linear", "Gain", "Honest", "Cosine", "Cost")] == [True] * 6
    rows = [row.split() for row in lines if row.strip().startswith("Conventional")]
    assert [(row[1], row[2], row[-1]) for row in rows] == [("none", "12", "0.02"), ("topk:3", "12", "0.02")]
    assert "With 12 queries (cost: 0.02\N{NO-BREAK SPACE}EUR)" in done.out
    assert "1 of 4: control random_surrogate, 12 images, seed 0" in done.err
    assert (scratch / "audit" / "audit.html").exists()

    again = cli(*line, *ALLOWED, "--price", 2, "--currency", "EUR", "--json")
    assert again.code == 0
    assert again.err == ""
    assert again.json["folder"] == "audit"
    assert len(again.json["cells"]) == 2

    other = cli(*line, *ALLOWED, "--price", 3)  # on other terms it is another audit
    assert other.code == 2
    assert "another configuration: terms.currency" in other.err

    rewritten = cli("audit", "--config", "audit/config.toml", "--run", "audit", "--json")
    assert rewritten.json == again.json


def test_the_plan_is_printed_and_nothing_is_written(cli, line: list[object], scratch: Path) -> None:
    planned = cli(*line, *ALLOWED, "--price", 1, "--seeds", "0,1", "--dry-run")
    assert planned.code == 0, planned.err
    for row in ('owner = "Example Ltd"', "runs: 4", "controls: 4", "queries: 48", "folder: audit (new)"):
        assert row in planned.out
    assert list(scratch.iterdir()) == []
    assert cli(*line, *ALLOWED, "--dry-run", "--json").json["cost"]["evaluation_queries"] == 1797


def test_flags_stand_over_the_file(cli, encoder: Path, scratch: Path) -> None:
    (scratch / "audit.toml").write_text(
        f'target = "{encoder}"\nsurrogate = "cnn:widths=4-8"\ndata = "digits"\nmethods = ["rda"]\nbudgets = [100]\n'
        'defences = ["noise:0.1"]\n[options]\nimages = 40\n[options_of.rda]\nviews = 4\n'
        '[terms]\nowner = "Example Ltd"\nauthorised_by = "J. Doe"\n',
        encoding="utf-8",
    )
    config = cli("audit", "--config", "audit.toml", "--images", 20, "--defences", "none", "--dry-run", "--json").json[
        "config"
    ]
    assert config["options"] == {"images": 20}
    assert config["options_of"] == {"rda": {"views": 4}}
    assert config["defences"] == ["none"]
    assert config["terms"]["owner"] == "Example Ltd"


def test_a_run_that_fails_is_shown_last_and_exits_2(cli, line: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    real = study.execute_extraction

    def broken(job: Any, folder: Path, **more: Any) -> dict[str, Any]:
        if "topk" in folder.name:
            raise TargetError("the target answered NaN", where="row 3")
        return real(job, folder, **more)

    monkeypatch.setattr(study, "execute_extraction", broken)
    done = cli(*line, *ALLOWED)
    assert done.code == 2
    assert "Conventional" in done.out
    assert "report: audit/audit.html" in done.out
    assert "error: 1 of the audit's runs could not be finished; the first: the target answered NaN" in done.err
    assert "run the same command again" in done.err
    assert "Traceback" not in done.err


def test_the_examples_of_the_help_can_be_read() -> None:
    assert command.__doc__ is not None
    assert "authorised" in command.__doc__


class TestRefusals:
    """What cannot be is said before anything is asked or written."""

    @pytest.fixture(autouse=True)
    def _nothing_is_written(self, scratch: Path) -> Iterator[None]:
        yield
        assert [path for path in scratch.iterdir() if path.suffix != ".toml"] == []

    def test_nobody_owns_it_or_allows_it(self, refused: Refused, line: list[object]) -> None:
        assert "--owner is missing" in refused(*line)
        message = refused(*line, "--owner", "Example Ltd")
        assert "--authorised-by is missing" in message
        assert "encoders that you own or may test" in message

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (("--budgets", "0"), "greater than 0"),
            (("--budgets", "100,-1"), "greater than 0"),
            (("--budgets", "1.5"), "'1.5' is no whole number"),
            (("--budgets", "1,"), "an empty word in '1,'"),
            (("--budgets", "1"), "budget of 1 rows is too small"),
            (("--seeds", "a"), "'a' is no whole number"),
            (("--methods", "convential"), "did you mean 'conventional'"),
            (("--methods", "no_query"), "a control, which every audit runs"),
            (("--defences", "none,,topk:3"), "an empty defence"),
            (("--defences", "topk:3,rounding:nine"), "cannot be 'nine'"),
            (("--defences", "topk:9"), "topk"),
            (("--probe", "./nowhere.parquet"), "nowhere.parquet"),
            (("--target", "nowhere/run"), "nowhere/run"),
            (("--target", "onnx:nowhere.onnx"), "nowhere.onnx"),
            (("--surrogate", "cnnn"), "cnnn"),
            (("--surrogate", "cnn:widths=4-6"), "--match linear"),
            (("--access", "everything"), "everything"),
            (("--price", "-1"), "price"),
            (("--epochs", "0"), "epochs"),
            (("--preset", "official_nothing"), "official_nothing"),
            (("--config", "nowhere.toml"), "cannot read the configuration"),
            (("--colour", "red"), "--colour"),
        ],
    )
    def test_by_name(
        self,
        refused: Refused,
        line: list[object],
        flags: tuple[str, str],
        message: str,
    ) -> None:
        assert message in refused(*_without(line, flags[0]), *ALLOWED, *flags)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("target = ", "the configuration is no TOML"),
            ('colour = "red"', "'colour' is no option here"),
            ("terms = 3", "a section [terms]"),
            ('budgets = "100"', "a list: budgets = ['100']"),
            ("defences = [1]", "a list of texts in quotes"),
            ("[options]\nimagess = 3", "imagess"),
        ],
    )
    def test_a_file_that_cannot_be(
        self, refused: Refused, line: list[object], scratch: Path, text: str, message: str
    ) -> None:
        (scratch / "bad.toml").write_text(text, encoding="utf-8")
        assert message in refused(*line, *ALLOWED, "--config", "bad.toml")
