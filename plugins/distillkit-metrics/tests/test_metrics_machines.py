"""The same student has the same numbers, whatever the threads and the instructions of the processor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MACHINES = (
    {"OMP_NUM_THREADS": "1"},
    {"OMP_NUM_THREADS": "2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"},
    {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"},
)
# A student of fixed weights, as one that was trained elsewhere, drawn and measured as in a run.
MEASURE = """
import json
from pathlib import Path
import torch
from distillkit import seeds
from distillkit_datasets.digits import Digits
from distillkit_metrics.classifier import DigitsClassifier
from distillkit_metrics.pixels import measured, measured_set
from distillkit_metrics.statistics import distance_of, moments, principal_axes

dataset = Digits(Digits.Config())
dataset.open(Path())
weights = torch.arange(2 * 64 * 64, dtype=torch.float64).sin().float().view(2, 64, 64) / 4
x, classes = dataset.images(torch.arange(1438)), dataset.classes(torch.arange(1438))
means = torch.stack([x[classes == c].mean(0) for c in range(10)])

def sample(z, labels):
    hidden = (z.flatten(1) @ weights[0]).relu() @ weights[1]
    return (means[labels.argmax(1)] + 0.2 * hidden.view_as(z)).clamp(-1, 1)

features = DigitsClassifier(DigitsClassifier.Config())
features.prepare(dataset, None, Path("nowhere"))
real = measured_set(features, dataset)
fake = measured(features, seeds.images(sample, list(range(200)), None, dataset, torch.zeros(())).x)
axes = principal_axes(real["spatial"], 64)
fd, _ = distance_of(fake["penultimate"], moments(real["penultimate"]))
sfd, _ = distance_of(fake["spatial"] @ axes, moments(real["spatial"] @ axes))
print(json.dumps([features.digest, fd, sfd, torch.get_num_threads()]))
"""


def test_threads_and_instruction_sets_change_neither_digest_nor_distance(tmp_path: Path) -> None:
    pytest.importorskip("distillkit_datasets.digits")
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", MEASURE], env={**os.environ, **machine}, cwd=tmp_path, stdout=-1, text=True
        )
        for machine in MACHINES
    ]
    found = [json.loads(job.communicate()[0]) for job in jobs]
    digests, fds, sfds, threads = zip(*found, strict=True)
    assert threads == (1, 2, 1) and len(set(digests)) == 1
    assert max(fds) - min(fds) < 1e-6 and max(sfds) - min(sfds) < 1e-6 and min(fds) > 0.1
