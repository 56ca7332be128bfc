"""One script for the few minutes with a GPU: first whether it is right there, then how fast.

Usage: python benchmarks/gpu.py --out FOLDER [--minutes 8] [--peak 989]        on a CUDA GPU
       python benchmarks/gpu.py --device cpu --tiny                            whether the script itself is well

`--peak`: TFLOP/s of the GPU in bf16, dense, by its data sheet, for the share of it that is reached. What is found is
written after each step, so that a script which is cut short leaves what it has: gpu.json, and gpu.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import torch
from gpu_checks import Check, checks, known_levers
from gpu_speed import Speed, cases, measure, table

from distillkit.device import pick_device


def main(argv: list[str] | None = None) -> int:
    """-> 0, or 1 where a check failed; speeds of a device that computes something else say nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny networks, two cases")
    parser.add_argument("--minutes", type=float, default=8.0, help="no case is begun after so long")
    parser.add_argument("--peak", type=float, default=0.0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    device, start = pick_device(args.device, "--device"), time.perf_counter()
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    done: list[Check] = []
    for check in checks(str(device)):
        done.append(check)
        print(f"{'ok' if check.passed else 'NO':4}{check.name}: {check.found}", flush=True)
        write(args.out, done, [], [], args.peak)
    speeds: list[Speed] = []
    left_out: list[str] = []
    wanted = cases(known_levers(str(device)))
    for case in wanted[:1] + wanted[-1:] if args.tiny else wanted:
        if time.perf_counter() - start > 60 * args.minutes:
            left_out.append(f"{case.recipe} {case.run}: no time was left")
            continue
        try:
            speeds.append(measure(case, device, args.tiny))
        except Exception as error:
            left_out.append(f"{case.recipe} {case.run}: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
            print(f"NO  {left_out[-1]}", flush=True)
        else:
            print(f"    {case.recipe} {case.run}: {speeds[-1].img_per_sec:,.0f} img/s", flush=True)
        write(args.out, done, speeds, left_out, args.peak)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    print(text(done, speeds, left_out, args.peak))
    return 0 if all(check.passed for check in done) and (speeds or not wanted) else 1


def machine() -> str:
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return f"{name}, torch {torch.__version__}, Python {platform.python_version()}"


def text(done: list[Check], speeds: list[Speed], left_out: list[str], peak: float) -> str:
    """Markdown."""
    rows = [f"| {check.name} | {'yes' if check.passed else 'NO'} | {check.found} |" for check in done]
    parts = [machine(), "\n".join(["| check | passed | found |", "|---|---|---|", *rows])]
    parts += [table(speeds, peak)] if speeds else []
    parts += ["Left out:\n\n" + "\n".join(f"- {line}" for line in left_out)] if left_out else []
    return "\n\n".join(parts)


def write(out: Path | None, done: list[Check], speeds: list[Speed], left_out: list[str], peak: float) -> None:
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    (out / "gpu.md").write_text(text(done, speeds, left_out, peak) + "\n")
    found = {
        "machine": machine(), "checks": [check._asdict() for check in done],
        "speeds": [{**speed._asdict(), "case": speed.case._asdict()} for speed in speeds], "left_out": left_out,
    }  # fmt: skip
    (out / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
