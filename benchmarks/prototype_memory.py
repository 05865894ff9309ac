"""How much memory training takes that reads a large bank of prototypes at random.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/prototype_memory.py

Writes 1,000,000 prototypes of 512 numbers (2 GB of float32) in shards, then trains a small surrogate with RDA on as
many tiny images, each in a process of its own, and reports the kernel's account of that process's memory: the peak of
its resident set, mapped files included. Once more with the bound on mapped memory lifted, to show what it is worth.
The bank lies in a temporary folder and is deleted at the end.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from understudy.runs.files import write_json
from understudy.runs.provenance import cpu_name, versions

AIM_MIB = 1024
SHAPE, SEED = (1, 8, 8), 0
# torch is not imported up here: a child's ru_maxrss begins with what its parent had, and so the parent stays small.


def main() -> None:
    """Write the bank, train on it, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="prototypes")
    parser.add_argument("--width", type=int, default=512, help="numbers in a prototype")
    parser.add_argument("--shard-rows", type=int, default=20_000, help="prototypes in a shard")
    parser.add_argument("--batch-size", type=int, default=500, help="images a step; the training is one epoch")
    parser.add_argument("--folder", type=Path, default=None, help="where the temporary bank lies")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "prototype_memory.json")
    parser.add_argument("--part", choices=["write", "bounded", "unbounded"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        part = write if arguments.part == "write" else train
        print(json.dumps(part(arguments)))
        return
    needed, place = arguments.rows * (arguments.width + 1) * 4, arguments.folder or Path(tempfile.gettempdir())
    if shutil.disk_usage(place).free < 1.2 * needed:
        parser.error(f"{place} has not {1.2 * needed / 1e9:.1f} GB free")
    found: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for part in ("write", "bounded", "unbounded"):
            found[part] = child(part, Path(folder))
            show(part, found[part])
    write_json(arguments.out, {"machine": machine(), "aim_peak_mib": AIM_MIB, **found})
    print(f"written to {arguments.out}")


def child(part: str, folder: Path) -> dict[str, object]:
    """Run one part in a fresh process."""
    command = [sys.executable, __file__, *sys.argv[1:], "--folder", str(folder), "--part", part]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, object] = json.loads(answer.stdout.splitlines()[-1])
    return found


def write(arguments: argparse.Namespace) -> dict[str, object]:
    """Write the bank, shard by shard."""
    import torch

    from understudy.bank import PrototypeWriter
    from understudy.runs.seeds import stream

    start = time.perf_counter()
    writer = PrototypeWriter(bank_folder(arguments), {"made": "unit rows of noise, 0.9 long"})
    shards = -(-arguments.rows // arguments.shard_rows)
    for shard in range(shards):
        rows = min(arguments.shard_rows, arguments.rows - shard * arguments.shard_rows)
        noise = torch.randn(rows, arguments.width, generator=stream(SEED, "prototypes", step=shard))
        prototypes = 0.9 * torch.nn.functional.normalize(noise, dim=1)
        writer.write(shard, prototypes, prototypes.norm(dim=1))
    writer.finish(shards)
    size = sum(path.stat().st_size for path in bank_folder(arguments).iterdir())
    return {
        "rows": arguments.rows,
        "width": arguments.width,
        "shards": shards,
        "bytes": size,
        "seconds": round(time.perf_counter() - start, 1),
        **memory(),
    }


def train(arguments: argparse.Namespace) -> dict[str, object]:
    """Train with RDA for one epoch, which reads every row of the bank once, in random order."""
    import torch

    from understudy.bank import Prototypes, _mapped
    from understudy.data import ImageSet
    from understudy.methods.extraction.rda import RDA
    from understudy.methods.extractor import RDA_RECIPE
    from understudy.models import build_encoder
    from understudy.runs.options import RunOptions
    from understudy.runs.run import Run
    from understudy.runs.seeds import stream

    seconds: list[float] = []
    peaks = {"rss_anon_mib": 0, "rss_file_mib": 0}

    class Watched(Prototypes):
        """The bank, with a look at clock and memory at every read."""

        def rows(self, indices: torch.Tensor) -> torch.Tensor:
            begin = time.perf_counter()
            found = super().rows(indices)
            seconds.append(time.perf_counter() - begin)
            now = memory()
            for name, peak in peaks.items():
                peaks[name] = max(peak, now[name])
            return found

    if arguments.part == "unbounded":
        _mapped._MAPPED_BYTES = _mapped._PIECE_BYTES = 1 << 40
    images = torch.randint(256, (arguments.rows, *SHAPE), dtype=torch.uint8, generator=stream(SEED, "images"))
    data = ImageSet("noise", "train", images, torch.zeros(len(images), dtype=torch.int64), ("none",))
    surrogate = build_encoder(
        "mlp:widths=64", input_shape=SHAPE, width=arguments.width, mean=[0.5], std=[0.5], seed=SEED
    )
    recipe = RDA_RECIPE.model_copy(update={"epochs": 1, "batch_size": arguments.batch_size})
    run = Run(arguments.folder / arguments.part, {}, RunOptions(device="cpu", seed=SEED))
    before, start = memory(), time.perf_counter()
    prototypes = Watched(bank_folder(arguments))
    opened = time.perf_counter() - start
    steps = RDA(surrogate_views=1, fit=recipe).train(surrogate, prototypes, data, run=run)
    spent = time.perf_counter() - start - opened
    shutil.rmtree(run.folder)
    return {
        "steps": steps,
        "batch_size": arguments.batch_size,
        "before_opening": before,
        "peak": {**memory(), **peaks},
        "verify_s": round(opened, 1),
        "train_s": round(spent, 1),
        "rows_per_s": round(steps * arguments.batch_size / spent),
        "read_ms_a_batch": round(statistics.median(seconds) * 1e3, 2),
        "read_share_of_training": round(sum(seconds) / spent, 3),
    }


def memory() -> dict[str, int]:
    """Return the kernel's account of this process so far, in MiB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return {
        "ru_maxrss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "vm_hwm_mib": int(status["VmHWM"].split()[0]) >> 10,
        "rss_anon_mib": int(status["RssAnon"].split()[0]) >> 10,
        "rss_file_mib": int(status["RssFile"].split()[0]) >> 10,
    }


def show(part: str, found: dict[str, object]) -> None:
    """Print what a part took."""
    if part == "write":
        print(f"written: {found['bytes'] / 1e9:.2f} GB in {found['shards']} shards, {found['seconds']} s, "
              f"peak {found['ru_maxrss_mib']} MiB")  # fmt: skip
        return
    peak: dict[str, int] = found["peak"]  # type: ignore[assignment]
    words = "as it is" if part == "bounded" else "bound on mapped memory lifted"
    print(f"trained ({words}): peak {peak['ru_maxrss_mib']} MiB, mapped files included (VmHWM {peak['vm_hwm_mib']}, "
          f"anonymous {peak['rss_anon_mib']}, files {peak['rss_file_mib']}; aim < {AIM_MIB}); "
          f"{found['rows_per_s']} rows/s, a read of {found['batch_size']} rows {found['read_ms_a_batch']} ms, "
          f"{found['read_share_of_training']:.0%} of the training")  # fmt: skip


def machine() -> dict[str, object]:
    """Return what the numbers were measured on."""
    return {
        "processor": cpu_name(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": versions(),
        "load_at_end": os.getloadavg()[0],
    }


def bank_folder(arguments: argparse.Namespace) -> Path:
    """Return where the bank is."""
    folder: Path = arguments.folder
    return folder / "bank"


if __name__ == "__main__":
    main()
