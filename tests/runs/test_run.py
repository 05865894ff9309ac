"""The run folder: claimed once, resumed by the same configuration only."""

import errno
import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from understudy.errors import ConfigError, IntegrityError, StorageError
from understudy.runs.files import read_json
from understudy.runs.options import RunOptions
from understudy.runs.provenance import PACKAGES
from understudy.runs.run import Run, folder_state

MakeRun = Callable[..., Run]
CONFIG: dict[str, object] = {
    "method": "cake",
    "preset": None,
    "options": {"steps": 5, "sizes": (1, 2), "fit": {"rate": 0.1}},
}


def test_a_new_folder_holds_config_and_environment(make_run: MakeRun) -> None:
    run = make_run(config=CONFIG, seed=3)
    config = tomllib.loads((run.folder / "config.toml").read_text())
    assert config["options"] == {"steps": 5, "sizes": [1, 2], "fit": {"rate": 0.1}}
    assert config["run"]["seed"] == 3
    assert "preset" not in config
    facts = read_json(run.folder / "environment.json")
    assert facts["seed"] == 3
    assert facts["packages"]["torch"] == torch.__version__
    assert {"tokenizers", "peft"} <= set(PACKAGES)
    assert {"understudy", "python", "platform", "cpu", "device", "command", "started"} <= facts.keys()
    assert run.result is None


def test_the_same_configuration_resumes(make_run: MakeRun) -> None:
    first = make_run(config=CONFIG)
    before = (first.folder / "environment.json").read_bytes()
    again = make_run(config=CONFIG, checkpoint_seconds=1.0)  # how often it is saved changes no number
    assert (again.folder / "environment.json").read_bytes() == before


def test_another_configuration_is_refused_key_by_key(make_run: MakeRun) -> None:
    make_run(config=CONFIG)
    other = {**CONFIG, "preset": "digits", "options": {"steps": 6, "sizes": (1, 2), "fit": {"rate": 0.2}}}
    with pytest.raises(ConfigError) as caught:
        make_run(config=other, seed=1)
    message = str(caught.value)
    for part in (
        "options.steps (there 5, now 6)",
        "options.fit.rate (there 0.1, now 0.2)",
        "preset (there None, now 'digits')",
        "run.seed (there 0, now 1)",
        "--fresh",
    ):
        assert part in message
    assert "sizes" not in message


def test_a_strangers_folder_is_left_alone(tmp_path: Path, make_run: MakeRun) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match=r"other files and no run(.|\n)*thesis\.tex"):
        make_run()
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_damaged_configuration_is_named(make_run: MakeRun) -> None:
    run = make_run()
    (run.folder / "config.toml").write_text("options = [")
    with pytest.raises(IntegrityError, match=r"not readable as TOML(.|\n)*config\.toml"):
        make_run()


def test_a_folder_that_cannot_be_made_is_a_storage_error(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError, match="choose a folder that you may write to"):
        make_run()


def test_a_run_inside_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(StorageError, match="a part of the path is a file"):
        Run(tmp_path / "file" / "run", {}, RunOptions(device="cpu"))


@pytest.mark.parametrize("broken", ["environment.json", "config.toml"])
def test_a_disk_that_fills_while_the_folder_is_claimed(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Whichever file is hit, the folder is no run yet, or one that can be claimed again after space is made."""
    real = Path.replace

    def replace(aside: Path, target: Path) -> Path:
        if target.name == broken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(aside, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(StorageError, match="free some disk space"):
            make_run()
    assert make_run().folder.joinpath("config.toml").exists()


def test_other_processes_claim_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_run: MakeRun) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    waited: list[Run] = []
    monkeypatch.setattr(Run, "wait", lambda self: waited.append(self))
    run = make_run()
    assert waited == [run]  # nothing is written before rank 0 has claimed the folder
    run.finish({"accuracy": 1})
    assert (run.rank, run.world) == (1, 2)
    assert list(tmp_path.iterdir()) == []


def test_phases_add_up_their_time(run: Run) -> None:
    with run.phase("fit", total=4, done=0, unit="steps"):
        pass
    first = run.timing()["fit"]
    with run.phase("fit", total=4, done=2, unit="steps"):
        pass
    assert run.timing()["fit"] >= first >= 0
    assert list(run.timing()) == ["fit"]


def test_a_phase_that_fails_is_timed_too(run: Run) -> None:
    with pytest.raises(RuntimeError, match="boom"), run.phase("fit", total=4, unit="steps"):
        raise RuntimeError("boom")
    assert "fit" in run.timing()


def test_finishing_writes_the_result(run: Run) -> None:
    run.finish({"scores": {"student": 0.5}})
    assert run.result == {"scores": {"student": 0.5}}


def test_streams_depend_on_seed_name_and_step(make_run: MakeRun) -> None:
    one, other = make_run("one", seed=1), make_run("other", seed=2)
    draws = [
        torch.rand(3, generator=g) for g in (one.stream("a"), one.stream("b"), one.stream("a", 1), other.stream("a"))
    ]
    assert len({tuple(draw.tolist()) for draw in draws}) == 4
    assert torch.equal(torch.rand(3, generator=one.stream("a")), draws[0])


def test_options_refuse_what_is_out_of_range() -> None:
    for wrong in ({"seed": -1}, {"precision": "fp8"}, {"log_every": 0}, {"checkpoint_seconds": 0}, {"colour": 1}):
        with pytest.raises(ValidationError):
            RunOptions.model_validate(wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no cuda device(.|\n)*one of cpu"):
        RunOptions(device="cuda").torch_device()


def test_a_run_goes_on_only_with_what_it_was_begun_with(tmp_path: Path) -> None:
    folder, options = tmp_path / "run", RunOptions(device="cpu")
    Run(folder, {}, options, facts={"train_sha256": "a"})
    Run(folder, {}, options, facts={"train_sha256": "a", "test_sha256": "new facts are no obstacle"})
    with pytest.raises(ConfigError, match=r"begun with another training set \(there 'a', now 'b'\)"):
        Run(folder, {}, options, facts={"train_sha256": "b"})
    begun = json.loads((folder / "environment.json").read_text())
    (folder / "environment.json").write_text(json.dumps({**begun, "device_type": "cuda"}))
    with pytest.raises(ConfigError, match=r"another kind of device \(there 'cuda', now 'cpu'\)"):
        Run(folder, {}, options)


def test_a_table_that_one_configuration_lacks_is_told_value_by_value(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[options.adapter]\nrank = 8\n")
    with pytest.raises(ConfigError, match=r"configuration: options.adapter.rank \(there 8, now None\)\n"):
        folder_state(tmp_path, {})
    with pytest.raises(ConfigError, match=r"options.adapter \(there \{'rank': 8\}, now 'lora'\)"):
        folder_state(tmp_path, {"options": {"adapter": "lora"}})
