"""Runs through the command line: what is printed, what is made, and what the same command does again."""

import json
import tomllib
from pathlib import Path

import pytest
import tomli_w


def test_a_run_ends_with_its_result_and_where_it_lies(cli, cake_line: list[str], scratch: Path) -> None:
    said = cli(*cake_line)
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[-2:] == [f"report: {scratch}/run/report.html", f"run:    {scratch}/run"]
    rows = [line.split()[0] for line in lines if "cnn:widths=" in line]
    assert rows == ["student", "noise", "teacher"]
    assert "held-out synthetic samples" in said.out
    assert max(map(len, lines[:-2])) <= 80
    assert "fit:" in said.err  # progress is no part of the result
    assert "fit:" not in said.out


def test_json_prints_one_object_and_nothing_else(cli, cake_line: list[str], scratch: Path) -> None:
    said = cli(*cake_line, "--json")
    assert said.code == 0
    assert said.err == ""
    on_file = json.loads((scratch / "run" / "result.json").read_text())
    assert said.json == {"folder": str(scratch / "run"), **on_file}
    assert on_file["method"] == "cake"
    assert on_file["scores"].keys() == {"student", "teacher", "noise_control"}
    assert on_file["samples"] == 60
    assert on_file["teacher_evaluations"] == 240


def test_a_dry_run_shows_the_plan_and_makes_nothing(cli, cake_line: list[str], scratch: Path) -> None:
    said = cli(*cake_line, "--dry-run")
    assert said.code == 0
    assert "teacher evaluations: 240" in said.out
    assert said.out.splitlines()[-1] == f"folder: {scratch}/run (new)"
    config = tomllib.loads(said.out.partition("\nsamples:")[0])
    assert config["options"]["steps"] == 4
    planned = cli(*cake_line, "--dry-run", "--json").json
    assert planned["config"] == config
    assert list(scratch.iterdir()) == []


def test_a_dry_run_tells_begun_and_finished_runs_apart(cli, refused, train_line: list[str], scratch: Path) -> None:
    assert cli(*train_line, "--json").code == 0
    assert cli(*train_line, "--dry-run", "--json").json["state"].startswith("finished")
    (scratch / "run" / "result.json").unlink()
    assert cli(*train_line, "--dry-run", "--json").json["state"].startswith("begun")
    assert "another configuration: run.seed (there 0, now 1)" in refused(*train_line, "--dry-run", "--seed", 1)


def test_the_same_command_again_prints_the_result_and_recomputes_nothing(
    cli, cake_line: list[str], scratch: Path, snapshot
) -> None:
    first = cli(*cake_line)
    before = snapshot(scratch / "run")
    again = cli(*cake_line)
    assert again.code == 0
    assert again.out == first.out
    assert again.err == ""
    assert snapshot(scratch / "run") == before


def test_fresh_starts_over_beside_the_first_run(cli, train_line: list[str], scratch: Path, snapshot) -> None:
    assert cli(*train_line, "--json").code == 0
    before = snapshot(scratch / "run")
    second, third = (cli(*train_line, "--json", "--fresh").json for _ in range(2))
    assert [second["folder"], third["folder"]] == [f"{scratch}/run-2", f"{scratch}/run-3"]
    assert snapshot(scratch / "run") == before
    assert second["models"]["model"]["sha256"] == third["models"]["model"]["sha256"]


def test_runs_that_differ_go_to_different_folders(cli, train_line: list[str]) -> None:
    line = [*train_line[:-2], "--dry-run", "--json"]
    folders = [cli(*line, *more).json["folder"] for more in ([], ["--seed", 1], ["--label-smoothing", 0.1])]
    assert len(set(folders)) == 3
    assert all(folder.startswith("runs/supervised-cnn-s") for folder in folders)
    # How often a checkpoint is written changes no result, so it is the same run.
    assert cli(*line, "--checkpoint-seconds", 5).json["folder"] == folders[0]


def test_a_resolved_configuration_gives_the_same_model_again(cli, cake_line: list[str], scratch: Path) -> None:
    assert cli(*cake_line, "--json").code == 0
    line = ["distil", "cake", "--config", scratch / "run" / "config.toml", "--run", scratch / "again"]
    assert cli(*line, "--json").code == 0
    for name in ("config.toml", "model/model.safetensors", "bank/manifest.json", "bank/shard-00002.safetensors"):
        assert (scratch / "run" / name).read_bytes() == (scratch / "again" / name).read_bytes(), name


def test_flags_stand_over_the_file_and_the_file_over_the_preset(cli, teacher: Path, scratch: Path) -> None:
    file = scratch / "job.toml"
    settings = {
        "preset": "official_mnist_cnn",
        "teacher": str(teacher),
        "student": "mlp",
        "options": {"steps": 7, "sets": 3, "fit": {"momentum": 0.8}},
        "run": {"seed": 4, "log_every": 5},
    }
    file.write_text(tomli_w.dumps(settings))
    flags = ["--steps", 9, "--student", "cnn", "--learning-rate", 0.2, "--seed", 6]
    config = cli("distil", "cake", "--config", file, *flags, "--dry-run", "--json").json["config"]
    options, fit, run = config["options"], config["options"]["fit"], config["run"]
    assert (config["student"], options["steps"], fit["learning_rate"], run["seed"]) == ("cnn", 9, 0.2, 6)  # flags
    assert (options["sets"], fit["momentum"], run["log_every"], config["teacher"]) == (3, 0.8, 5, str(teacher))  # file
    assert (options["tv_weight"], fit["epochs"], fit["batch_size"]) == (1e7, 10, 128)  # preset
    assert (options["samples_per_set"], fit["weight_decay"], run["precision"]) == (500, 5e-4, "float32")  # default


def test_another_preset_than_the_files_own_is_refused(cli, scratch: Path) -> None:
    file = scratch / "job.toml"
    file.write_text('preset = "digits"\nstudent = "mlp"\n\n[options]\nsteps = 7\n')
    said = cli("distil", "cake", "--config", file, "--preset", "mnist", "--dry-run")
    assert said.code == 2
    assert "--preset mnist meets a file made for digits" in said.err
    assert said.out == ""


def test_one_value_of_a_nested_table_leaves_the_others_at_the_methods_own_defaults(cli) -> None:
    line = ["train", "--data", "digits", "--model", "cnn", "--momentum", 0.5, "--dry-run", "--json"]
    fit = cli(*line).json["config"]["options"]["fit"]
    assert (fit["momentum"], fit["epochs"], fit["batch_size"]) == (0.5, 20, 128)  # as the help says


def test_the_method_may_be_named_as_a_flag_or_left_out(cli) -> None:
    rest = ["--data", "digits", "--model", "cnn", "--dry-run", "--json"]
    plain = cli("train", *rest).json
    assert plain["config"]["method"] == "supervised"
    for spelling in (["supervised", *rest], ["--method", "supervised", *rest], [*rest, "--method=supervised"]):
        assert cli("train", *spelling).json == plain


def test_a_bank_serves_a_second_student(cli, refused, cake_line: list[str], scratch: Path) -> None:
    assert cli(*cake_line, "--json").code == 0
    mlp = ["mlp:widths=8" if word == "cnn:widths=4" else word for word in cake_line[:-2]]
    said = cli(*mlp, "--bank", scratch / "run" / "bank", "--run", scratch / "mlp", "--json")
    assert said.code == 0
    assert not (scratch / "mlp" / "bank").exists()
    assert said.json["models"]["student"]["spec"] == "mlp:widths=8"
    other = ["5" if word == "4" and mlp[at - 1] == "--steps" else word for at, word in enumerate(mlp)]
    message = refused(*other, "--bank", scratch / "run" / "bank", "--run", scratch / "other")
    assert "drawn with other settings: steps (there 4, now 5)" in message
    assert not (scratch / "other").exists()


def test_without_data_a_student_is_distilled_and_nothing_is_measured_on_real_images(cli, cake_line: list[str]) -> None:
    at = cake_line.index("--data")
    said = cli(*cake_line[:at], *cake_line[at + 2 :])
    assert said.code == 0
    assert "accuracy" not in said.out
    assert "held-out synthetic samples" in said.out


@pytest.mark.parametrize("name", [".hidden", "environment.json"])
def test_a_start_that_was_cut_short_does_not_lock_the_folder(
    cli, train_line: list[str], scratch: Path, name: str
) -> None:
    (scratch / "run").mkdir()
    (scratch / "run" / name).write_text("{}")
    assert cli(*train_line, "--json").code == 0


def test_a_report_that_could_not_be_written_is_written_the_next_time(
    cli, refused, train_line: list[str], scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from understudy.errors import StorageError
    from understudy.study import job

    def fails(folder: Path) -> Path:
        raise StorageError("cannot write: No space left on device", where=folder)

    with monkeypatch.context() as patch:
        patch.setattr(job, "write_report", fails)
        assert "No space left" in refused(*train_line, "--json")
    assert cli(*train_line).code == 0
    assert (scratch / "run" / "report.html").exists()
