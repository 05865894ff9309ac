"""What is refused when a job is resolved, before anything is loaded."""

from typing import Any

import pytest

from understudy.errors import ConfigError
from understudy.study.job import Job, make_job


def distil(name: str, **more: Any) -> Job:
    return make_job(name, verb="distil", model="cnn", teacher="runs/teacher", data="digits", **more)


def test_a_euclidean_radius_must_be_given() -> None:
    """The default is one for linf, in which no image would change."""
    with pytest.raises(ConfigError, match="--epsilon is missing: the default and those of the presets are radii"):
        make_job("pgd_at", verb="train", model="cnn", data="digits", preset="digits", options={"norm": "l2"})
    job = make_job("pgd_at", verb="train", model="cnn", data="digits", options={"norm": "l2", "epsilon": 0.5})
    assert job.method.model_dump()["epsilon"] == 0.5


@pytest.mark.parametrize(("name", "options"), [("crdnd", {}), ("gacd", {}), ("rslad", {"file_answers": False})])
def test_a_bank_is_for_those_who_read_one(name: str, options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"{name}, with these values, takes no bank"):
        distil(name, options=options, bank="runs/first")


def test_those_who_read_one_take_it() -> None:
    for name in ("rslad", "kd"):
        assert distil(name, bank="runs/first").bank == "runs/first"
