"""What a study of text is asked to do: methods, backbone, data, attacks and seeds."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from understudy.errors import ConfigError
from understudy.runs.options import RunOptions
from understudy.runs.run import FREE_OPTIONS
from understudy.study.job import RUNS, require
from understudy.study.text_job import make_settings
from understudy.study.text_methods import Chosen, choose_methods
from understudy.study.text_settings import TextSettings
from understudy.study.text_values import checked


class Withstand(BaseModel):
    """A study, resolved: what `config.toml` holds, and `--config` reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    methods: Annotated[tuple[str, ...], Field(min_length=1)]
    """Methods with their options: adpmixup:rule=pairwise."""
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0, 1, 2)
    """Seeds of the models; two or more give intervals over them."""
    preset: str | None = None
    """Named values of every method's options, where it has them."""
    text: TextSettings
    """Backbone, data and attacks."""
    options: dict[str, Any] = {}
    """Options of every method that has them."""
    run: RunOptions = RunOptions()
    """How models are trained; their seeds are `seeds`."""

    def config(self) -> dict[str, Any]:
        """Return the configuration as `config.toml` stores it, apart from the table [run]."""
        return self.model_dump(mode="json", exclude={"run"})

    def default_folder(self) -> Path:
        """Return `runs/withstand-HASH`, with a hash of all that matters."""
        everything = json.dumps([self.config(), self.run.model_dump(exclude=set(FREE_OPTIONS))], sort_keys=True)
        return RUNS / f"withstand-{hashlib.sha256(everything.encode()).hexdigest()[:6]}"

    def chosen(self) -> tuple[Chosen, ...]:
        """Return the methods with their values."""
        return choose_methods(self.methods, preset=self.preset, options=self.options)


def make_withstand(values: Mapping[str, Any]) -> Withstand:
    """Resolve a study: every value within its bounds, every method, attack and option known.

    Args:
        values: fields of `Withstand`.

    Raises:
        ConfigError: something is missing, unknown or out of range.
    """
    given = {name: value for name, value in values.items() if value is not None}
    require(given.get("methods") or None, "--methods", "such as adversarial_training,adapter_soup,adpmixup")
    given["text"] = make_settings(given.get("text") or {})
    job = checked(Withstand, given, where="withstand")
    if twice := [seed for seed in job.seeds if job.seeds.count(seed) > 1]:
        raise ConfigError(
            f"seed {twice[0]} is named twice",
            where="--seeds",
            expected="each seed once: the same one again would be the same models, and no second look",
        )
    job.chosen()
    return job
