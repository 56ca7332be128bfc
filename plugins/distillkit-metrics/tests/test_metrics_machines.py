"""The same student has the same numbers, whatever the threads and the instructions of the processor."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

MACHINES = (
    {"OMP_NUM_THREADS": "1"},
    {"OMP_NUM_THREADS": "2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"},
    {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"},
)
# A student of fixed weights, as one that was trained elsewhere, drawn and measured as in a run.
MEASURE = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
import torch
from distillkit import seeds
from distillkit.api import Use
from distillkit_datasets.digits import Digits
from distillkit_metrics.classifier import DigitsClassifier
from distillkit_metrics.frechet import Frechet

class Held:
    def build(self):
        return DigitsClassifier(DigitsClassifier.Config())

dataset = Digits(Digits.Config())
dataset.open(Path())
weights = torch.arange(2 * 64 * 64, dtype=torch.float64).sin().float().view(2, 64, 64) / 4
x, classes = dataset.images(torch.arange(1438)), dataset.classes(torch.arange(1438))
means = torch.stack([x[classes == c].mean(0) for c in range(10)])

def sample(z, labels):
    hidden = (z.flatten(1) @ weights[0]).relu() @ weights[1]
    return (means[labels.argmax(1)] + 0.2 * hidden.view_as(z)).clamp(-1, 1)

def draw(n, seed=0, labels=None):
    return seeds.images(sample, list(range(n)), labels, dataset, torch.zeros(()))

metric = Frechet(Frechet.Config(features=Held(), images=200))
state = SimpleNamespace(dataset=dataset, held_out=dataset.held_out(), cache=Path("nowhere"))
found = metric.evaluate(state, draw)
print(json.dumps([metric._features.digest, found["fd"], found["sfd"], torch.get_num_threads()]))
"""


def test_threads_and_instruction_sets_change_neither_digest_nor_distance(tmp_path) -> None:
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
