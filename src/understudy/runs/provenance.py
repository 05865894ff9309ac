"""Where a number came from: versions, hardware, the command and the seed."""

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch", "accelerate", "safetensors", "pydantic", "numpy", "scikit-learn", "datasets", "transformers", "tokenizers",
    "peft", "timm", "pyautoattack",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of those of the packages that matter to a number that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def environment(*, seed: int, device: str, **facts: object) -> dict[str, Any]:
    """Return what `environment.json` holds: enough to say on what a run ran, and how to run it again."""
    return {
        "understudy": metadata.version("understudy"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "device": device,
        "device_name": device_name(device),
        "world_size": int(os.environ.get("WORLD_SIZE", "1")),
        "seed": seed,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command(),
        "commit": commit(),
        "packages": versions(),
        **facts,
    }


def command() -> str:
    """Return the command line that started this process, as one would type it."""
    program = Path(sys.argv[0]).name
    if program == "__main__.py":
        program = "python -m understudy"
    return shlex.join([*program.split(), *sys.argv[1:]])


def cpu_name() -> str:
    """Return the processor's model name, or its architecture where the system does not tell."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def device_name(device: str) -> str:
    """Return the accelerator's product name, or the processor's for the CPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else cpu_name()


def commit() -> str | None:
    """Return the git commit of the checkout that this package runs from, or None for an installed one."""
    package = Path(__file__).resolve().parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(package), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
