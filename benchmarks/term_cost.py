"""What a further loss costs: CPU time of an iteration of each host of el_digits.toml, beside the host as it is.

Usage: OMP_NUM_THREADS=1 python benchmarks/term_cost.py [--repeats 30]    prints a table in Markdown

Images to a target, times these ratios, are seconds to the target that no other work on the machine disturbed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from step_overhead import RECIPES, measure, ratio, taught, teacher

from distillkit.recipe import read
from distillkit.registry import Catalog
from distillkit.train.build import build
from distillkit.train.iterate import iterate

HOSTS = ("sid", "sida", "di", "dmd", "dmd2", "cd", "gdd")
PERIOD = {"dmd2": 5, "gdd": 16}  # iterations after which turns and lazy terms repeat
SETS = {  # at their full rate from the first iteration; few pairs, which are as dear as many
    "sida": ("generator_loss.generator_after_kimg=0", "generator_loss.gan_after_kimg=0"),
    "dmd": ("auxiliary_loss.0.pairs=128",),
}
TERMS = {
    "itself": None,
    "EL": '{use="embedding"}',
    "EL, copies = 4": '{use="embedding", copies=4}',
    "EL on pixels": '{use="embedding", embeddings=[{use="pixels"}]}',
    "FD-loss": '{use="frechet", population=2000}',
}


def iterations(host: str, term: str | None, folder: Path, catalog: Catalog) -> Callable[[], None]:
    """One period of a host with a term, on a teacher with random weights."""
    sets = SETS.get(host, ()) if term is None or host != "dmd" else ()
    terms = () if term is None else (f"auxiliary_loss=[{term}]",)
    recipe = read(RECIPES / f"digits_{host}.toml", (*sets, *terms, "run.threads=1", 'run.device="cpu"'), catalog)
    state = build(taught(recipe, folder), catalog)
    return lambda: [iterate(state) for _ in range(PERIOD.get(host, 1))] and None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30, help="iterations of each, at least (%(default)s)")
    parser.add_argument("--hosts", nargs="+", choices=HOSTS, default=HOSTS, help="all, if none are named")
    parser.add_argument("--terms", nargs="+", choices=list(TERMS)[1:], default=list(TERMS)[1:], help="all, likewise")
    given = parser.parse_args()
    torch.set_num_threads(1)
    catalog = Catalog.installed()
    print("| | ms an iteration | " + " | ".join(given.terms) + " |\n|---|---|" + "---|" * len(given.terms))
    with tempfile.TemporaryDirectory() as folder:
        teacher(Path(folder), catalog)
        for host in given.hosts:
            terms = {name: TERMS[name] for name in ("itself", *given.terms)}
            loops = {name: iterations(host, term, Path(folder), catalog) for name, term in terms.items()}
            times = measure(loops, max(5, given.repeats // PERIOD.get(host, 1)))
            own = times["itself"][:, 0]
            ratios = (ratio(list(zip(times[name][:, 0], own, strict=True))) for name in given.terms)
            cells = " | ".join(f"{of.median:.2f} ({of.low:.2f} ... {of.high:.2f})" for of in ratios)
            print(f"| {host} | {np.median(own) / PERIOD.get(host, 1):.0f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
