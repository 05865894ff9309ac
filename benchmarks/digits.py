"""`understudy quickstart` over several seeds: teacher, CAKE, its controls, and distillation on the real digits.

    python benchmarks/digits.py --seeds 0 1 2

Runs the commands that it prints, resumes if it was stopped, and writes the results and a table of means over the seeds.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from mnist import spread

RESULTS = Path(__file__).parent / "results" / "digits"
ROWS = (
    ("teacher", "teacher", "model"),
    ("CAKE student", "cake", "student"),
    ("control: Gaussian noise", "cake", "noise_control"),
    ("control: samples as they start", "cake", "start_control"),
    ("control: distilled on the real digits", "kd", "student"),
)


def main() -> None:
    """Run the quickstart for each seed, and write the table over all seeds on file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/digits"))
    arguments = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        words = ["quickstart", "--seed", str(seed), "--run", str(arguments.runs / f"s{seed}"), "--json"]
        print("understudy", *words, flush=True)
        answer = subprocess.run(
            [sys.executable, "-m", "understudy", *words], check=True, capture_output=True, text=True
        )
        (RESULTS / f"s{seed}.json").write_text(answer.stdout, encoding="utf-8")
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("s*.json"))]
    lines = [f"| {len(results)} seeds | network | accuracy | agreement with the teacher |", "|---|---|---|---|"]
    for title, run, role in ROWS:
        models = results[0][run]["models"]
        scores = [result[run]["scores"][role] for result in results]
        cells = [spread([score[what] for score in scores]) for what in ("accuracy", "agreement")]
        lines.append(f"| {title} | `{models[role]['spec']}` | {cells[0]} | {cells[1]} |")
    (RESULTS / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
