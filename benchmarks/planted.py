"""Mistakes planted in each method's own term, each of which must fail the method's tests: a weight, a sign, a time.

Usage: OMP_NUM_THREADS=1 python benchmarks/planted.py [METHOD ...]    prints a table in Markdown; exit code 1: one lives

A package is copied, one place of one of its files is changed, and the tests run with the copy before all else; the
files of this repository stay as they are.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Method(NamedTuple):
    """The file that has the term, its tests, and what is written there by what is put in its place."""

    file: str
    tests: str
    mistakes: dict[str, str]


SID, DMD, CM, PD = (f"plugins/distillkit-{name}/distillkit_{name}" for name in ("sid", "dmd", "cm", "pd"))
MEANFLOW, SCM = (f"plugins/distillkit-{name}/distillkit_{name}" for name in ("meanflow", "scm"))
METHODS = {
    "RealUID": Method("plugins/distillkit-realuid/distillkit_realuid/realuid.py", "plugins/distillkit-realuid", {
        "labels, (1 - b) / (1 - a))": "labels, 1 - b)",
        "return (u - s * (x - n))": "return (u + s * (x - n))",
        "D(x_t / t, (1 - t) / t, labels)": "D(x_t / t, 1 - t, labels)",
    }),
    "LADD": Method(f"{DMD}/ladd.py", "plugins/distillkit-dmd", {
        "loss + c.r1_weight *": "loss + 2 * c.r1_weight *",
        "return softplus(-l_fake).mean(1)": "return softplus(l_fake).mean(1)",
        "(sigma, n) if c.same_noise": "(sigma, n) if not c.same_noise",
    }),
    "f-distill": Method(f"{DMD}/fdistill.py", "plugins/distillkit-dmd", {
        "self.config.gan_weight * L_gan": "L_gan",
        "w * (D_f - D_r)": "w * (D_r - D_f)",
        "error = error / sigma": "error = error / sigma**2",
    }),
    "iCT": Method(f"{CM}/ict.py", "plugins/distillkit-cm", {
        'return weight("step", t, r) * distance': "return distance",
        "(ln_sigma - P_mean)": "(ln_sigma + P_mean)",
        "t, r = sigma[i + 1], sigma[i]": "t, r = sigma[i], sigma[i + 1]",
    }),
    "TCM": Method(f"{CM}/tcm.py", "plugins/distillkit-cm", {
        "c.w_b / p * loss": "c.w_b * loss",
        "torch.sigmoid(-c.b * t)": "torch.sigmoid(c.b * t)",
        "torch.where(t < self.config.t_prime": "torch.where(t > self.config.t_prime",
    }),
    "SIM": Method(f"{SID}/sim.py", "plugins/distillkit-sid", {
        "c**2 * u[0].numel()": "c**2",
        "return d * (D_fake - x) / w": "return d * (x - D_fake) / w",
        "d * (D_fake - x)": "d * (D_real - x)",
    }),
    "LSG": Method(f"{SID}/lsg.py", "plugins/distillkit-sid", {
        "augment_labels), kappa)": "augment_labels), kappa - 1)",
        "D0.lerp(fake_score(x, sigma, labels": "D0.lerp(fake_score(x, 2 * sigma, labels",
        "None if labels is None else layout.without_words(labels)": "labels",
    }),
    "PD": Method(f"{PD}/pd.py", "plugins/distillkit-pd", {
        "truncated_snr(t) *": "truncated_snr(h) *",
        "joined(D_t, D_h, t, h, s)": "joined(D_h, D_t, t, h, s)",
        "self.sigma[i - half]": "self.sigma[i - whole]",
    }),
    "TRACT": Method(f"{PD}/tract.py", "plugins/distillkit-pd", {
        "truncated_snr(t).flatten() * error": "error",
        "D_t + t / (2 * r)": "D_t - t / (2 * r)",
        "self.sigma[(i - one).clamp(min=one)]": "self.sigma[(i - group).clamp(min=one)]",
    }),
    "several steps": Method("distillkit/train/rollout.py", "plugins/distillkit-dmd tests/train/test_rollout.py", {
        "c.sigmas[i + 1] ** 2": "c.sigmas[i] ** 2",
        "self.step._real_of_x + sigma * self.z": "self.step._real_of_x - sigma * self.z",
        'rollout.gradient == "all")': 'rollout.gradient != "all")',
    }),
    "MeanFlow": Method(f"{MEANFLOW}/meanflow.py", "plugins/distillkit-meanflow", {
        "(e + c.c) ** c.p": "(e + c.c)",
        "v - rise * (t - r) * du": "v + rise * (t - r) * du",
        "rise * (t - r)": "rise * t",
    }),
    "improved MeanFlow": Method(f"{MEANFLOW}/imf.py", "plugins/distillkit-meanflow", {
        "(1 - 1 / inside)": "(1 - inside)",
        "V = u + (t - r) * du": "V = u - (t - r) * du",
        "t / (1 - t), labels, to, told": "t, labels, to, told",
    }),
    "CTM": Method("plugins/distillkit-ctm/distillkit_ctm/ctm.py", "plugins/distillkit-ctm", {
        "self.config.dsm * self.balance": "self.balance",
        "D + s / t * (x - D)": "D - s / t * (x - D)",
        "labels), at.u, at.s, labels)": "labels), at.t, at.s, labels)",
    }),
    "IMM": Method("plugins/distillkit-imm/distillkit_imm/imm.py", "plugins/distillkit-imm", {
        "weight(t, c.a, c.b)": "weight(s, c.a, c.b)",
        "tt + rr - 2 * tr": "tt + rr + 2 * tr",
        "self.sigma(r).to(y) * n, r, s": "self.sigma(r).to(y) * n, t, s",
    }),
    "sCD, sCT": Method(f"{SCM}/scm.py", "plugins/distillkit-scm", {
        "/ sin2.sqrt()  # (c)": "/ sin2  # (c)",
        "- (1 - r) * cos2": "+ (1 - r) * cos2",
        "(x - D_star, s), ends": "(x - D_star, 0 * s), ends",
    }),
    "rCM": Method(f"{SCM}/rcm.py", "plugins/distillkit-scm", {
        ".square() / sin2)": ".square())",
        "(D_f - D_star) / size": "(D_star - D_f) / size",
        "s = S * step.lognormal_sigma": "s = step.lognormal_sigma",
    }),
}  # fmt: skip


def fails(method: Method, written: str, planted: str) -> bool:
    """Whether the tests of the method fail with the mistake. Raises SystemExit where the file has no such place."""
    source = ROOT / method.file
    text = source.read_text("utf-8")
    if text.count(written) != 1:
        raise SystemExit(f"{method.file}: {text.count(written)} places say {written!r}")
    parts = Path(method.file).parts
    package = Path(*parts[: 3 if parts[0] == "plugins" else 1])
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / package.name
        shutil.copytree(ROOT / package, copied, ignore=shutil.ignore_patterns("__pycache__"))
        (copied / Path(method.file).relative_to(package)).write_text(text.replace(written, planted), "utf-8")
        command = [sys.executable, "-P", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *method.tests.split()]
        env = {**os.environ, "PYTHONPATH": folder}
        code = subprocess.run(command, cwd=ROOT, env=env, check=False, stdout=subprocess.DEVNULL).returncode
    if code not in (0, 1):
        raise SystemExit(f"{method.tests}: pytest ended with {code}")
    return code == 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", help=", ".join(METHODS))
    chosen, lives = parser.parse_args().methods or list(METHODS), 0
    print("| method | written | planted | its tests |\n| --- | --- | --- | --- |")
    for name in chosen:
        for written, planted in METHODS[name].mistakes.items():
            found = fails(METHODS[name], written, planted)
            lives += not found
            print(f"| {name} | `{written}` | `{planted}` | {'fail' if found else '**pass**'} |", flush=True)
    return int(lives > 0)


if __name__ == "__main__":
    sys.exit(main())
