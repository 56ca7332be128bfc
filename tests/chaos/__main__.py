"""`python -m tests.chaos [KIND ...] --n 500 --seed 0`: random trials, each in a process forked from a warm one.

A kind is a module here with `trial(seed, folder) -> str | None`: None where all is well, else a line of what is wrong.
It may have `prepare(folder)`, called once with a folder that all its trials can read. A trial may write a word to
`folder / "outcome"`: how it ended, to be counted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a pool of threads does not survive a fork
KINDS = ("recipes", "kills", "damage")
LIMIT = 120  # seconds that a trial may take
WRONG, OUTCOME, OUTPUT = "wrong", "outcome", "output.txt"  # files in a trial's folder


def main() -> int:
    """Run all trials that were asked for -> 1 if one of them went wrong, else 0."""
    args = arguments()
    folder = args.keep or Path(tempfile.mkdtemp(prefix="distillkit-chaos-"))
    wrong = 0
    for kind in args.kinds or [kind for kind in KINDS if find_spec(f"tests.chaos.{kind}")]:
        start, outcomes = time.perf_counter(), Counter[str]()
        shared = folder / f"{kind}-shared"
        shutil.rmtree(shared, ignore_errors=True)  # of an earlier call
        shared.mkdir(parents=True)
        module = import_module(f"tests.chaos.{kind}")
        if hasattr(module, "prepare"):
            module.prepare(shared)
        for seed, outcome, problem in forked(module, range(args.seed, args.seed + args.n), folder, args.jobs):
            outcomes[outcome] += 1
            if problem:
                wrong += 1
                print(f"{kind} {seed}: {problem}", flush=True)
        print(f"{kind}: {args.n} trials from seed {args.seed} in {time.perf_counter() - start:.0f} s; "
              + ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())), flush=True)  # fmt: skip
    print(f"{wrong} went wrong" + (f"; they are in {folder}" if wrong else ""))
    if not wrong and args.keep is None:
        shutil.rmtree(folder)
    return min(wrong, 1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.chaos", description=__doc__.partition(":")[2].partition(".")[0])
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], metavar="KIND", help=f"{', '.join(KINDS)}; all")
    parser.add_argument("--n", type=int, default=30, help="trials of each kind (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="of the first trial; the others count on (default: 0)")
    parser.add_argument("--jobs", type=int, default=1, help="trials at once (default: 1)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="of the trials that went wrong")
    return parser.parse_args()


def forked(module: ModuleType, seeds: range, folder: Path, jobs: int) -> Iterator[tuple[int, str, str]]:
    """Run each trial in a process of its own -> seed, how it ended, what was wrong ("": nothing), as they end."""
    running: dict[int, int] = {}
    for seed in [*seeds, *[None] * jobs]:
        if len(running) == jobs or (seed is None and running):
            pid, status = os.wait()
            yield judged(running.pop(pid), status, folder, module)
        if seed is not None:
            running[fork(module, seed, place(folder, module, seed))] = seed


def place(folder: Path, module: ModuleType, seed: int) -> Path:
    return folder / f"{module.__name__.rpartition('.')[2]}-{seed:06d}"


def fork(module: ModuleType, seed: int, folder: Path) -> int:
    """Start one trial in an empty folder -> its process."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    try:
        signal.alarm(LIMIT)
        output = os.open(folder / OUTPUT, os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        wrong = module.trial(seed, folder)
    except BaseException as error:
        traceback.print_exc()
        wrong = f"the trial itself: {type(error).__name__}: {error}"
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    (folder / WRONG).write_text(wrong or "", encoding="utf-8")
    os._exit(0)


def judged(seed: int, status: int, folder: Path, module: ModuleType) -> tuple[int, str, str]:
    """Read what a trial left, and remove its folder where all is well."""
    own = place(folder, module, seed)
    wrong, outcome = own / WRONG, own / OUTCOME
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        problem = f"took over {LIMIT} s" if number == signal.SIGALRM else f"died of {signal.Signals(number).name}"
    else:
        problem = (
            wrong.read_text(encoding="utf-8") if wrong.exists() else f"ended with {os.waitstatus_to_exitcode(status)}"
        )
    ended = outcome.read_text(encoding="utf-8") if outcome.exists() else "done"
    if not problem:
        shutil.rmtree(own)
    return seed, "wrong" if problem else ended, " ".join(problem.split())


if __name__ == "__main__":
    sys.exit(main())
