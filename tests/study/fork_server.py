"""Starts command lines in processes of their own, without each of them importing torch anew.

Reads one JSON job a line, forks, and answers with the child's process number, then with its exit status.
"""

import json
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any


def preload(modules: Sequence[str]) -> None:
    """Import what a run needs, and compute nothing: threads would not survive the fork."""
    import accelerate  # noqa: F401
    import plotly.graph_objects  # noqa: F401

    import understudy.cli.method_command
    import understudy.study.measure

    for module in modules:
        import_module(module)
    # A throughput is no result, and takes a second to measure.
    understudy.study.measure.throughput = lambda model, shape: 1.0  # noqa: ARG005


def child(job: dict[str, Any]) -> None:
    """Run one command line and end the process."""
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(job["cwd"])
    code = 1
    try:
        from understudy.cli.app import run

        code = run(job["argv"])
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Answer jobs until standard input ends."""
    preload(sys.argv[1:])
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            child(json.loads(line))
        print(pid, flush=True)  # noqa: T201
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


if __name__ == "__main__":
    serve()
