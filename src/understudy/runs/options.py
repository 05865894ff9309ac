"""How a run is carried out: the flags that every verb shares and no method knows of."""

import os
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt

from understudy.errors import ConfigError

Precision = Literal["float32", "bf16"]


class RunOptions(BaseModel):
    """Flags of a run, apart from its method: seed, device, precision and how often it is put on file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    seed: NonNegativeInt = 0
    """Seed of every random stream of the run."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where tensors live; auto takes a GPU if there is one."""
    precision: Precision = "float32"
    """Arithmetic of the networks; losses, inputs and updates stay in float32."""
    channels_last: bool = True
    """Keep images and convolutions in channels-last memory."""
    compile: bool = False
    """Compile the networks with torch.compile (slow to start, faster on long runs)."""
    previews: bool = True
    """Show synthesised samples on the page; they can reveal what the teacher was trained on."""
    log_every: PositiveInt = 20
    """Steps between two entries of the event log; the device is read only then."""
    checkpoint_seconds: PositiveFloat = 30.0
    """Seconds between two checkpoints of a training phase."""

    def torch_device(self) -> torch.device:
        """Return the device of this process.

        Raises:
            ConfigError: the device asked for is not there.
        """
        there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        name = self.device
        if name == "auto":
            name = "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
        if not there[name]:
            raise ConfigError(
                f"no {name} device on this machine",
                where="--device",
                expected="one of " + ", ".join(key for key, present in there.items() if present),
                fix="leave the flag out to take what is there",
            )
        return torch.device(name, int(os.environ.get("LOCAL_RANK", "0"))) if name == "cuda" else torch.device(name)
