"""Every method beside all supplementary losses, and one beside each, on digits, by one line on top of its recipe."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import pytest

from distillkit.api import Choice, Sample, UsageError
from distillkit.recipe.schema import Recipe
from distillkit.run import loop, runner
from distillkit.show.screen import QuietScreen
from distillkit.train.state import State

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = ("r1_every=2", "projection=8", "width=16", "embedding=8", "cmap=4")
AT_ONCE = ("generator_after_kimg=0.016", "gan_after_kimg=0.008")
HOSTS = {  # recipe: what it needs to do all that it does within a few iterations
    "sid": (), "sida": AT_ONCE, "sid2a": AT_ONCE, "di": (), "dmd": (), "dmd2": ("dfake_gen_update_ratio=2",),
    "cd": (), "ct": (), "ect": ("double_kimg=0.02",), "imm": (), "gdd": SMALL, "gdd_i": SMALL,
    "pd": ("start=4",), "tract": ("schedule=[4,2,1]",),
}  # fmt: skip
TERMS = {
    "embedding": '{use="embedding", real_batch=32, refresh_every=2}',
    "adversarial": '{use="adversarial", lr=1e-3}',
    "regression": '{use="regression", pairs=32, sampler={use="heun", steps=1}}',
    "frechet": '{use="frechet", population=24, minimum=8, embeddings=[{use="pixels"}]}',
}
BATCH, ITERATIONS = 8, 4


def few_images(recipe: Recipe) -> Recipe:
    """The recipe, or one that it starts from, for a few iterations of a tiny network, unmeasured."""
    kimg = BATCH * ITERATIONS / 1000
    run = attrs.evolve(
        recipe.run, kimg=kimg, batch=BATCH, tick_kimg=kimg / 4, checkpoint_kimg=kimg / 2, threads=1, device="cpu",
        grid=1, keep_best=None,
    )  # fmt: skip
    network = recipe.generator.network
    if network is not None:
        network = attrs.evolve(network, config=attrs.evolve(network.config, model_channels=4))
    generator = attrs.evolve(recipe.generator, network=network)
    return attrs.evolve(recipe, run=run, generator=generator, sample=few_steps(recipe.sample), evaluate=())


def few_steps(sample: Choice[Sample]) -> Choice[Sample]:
    """Of the teacher's Heun sampler, whose images every run shows beside the student's."""
    return attrs.evolve(sample, config=attrs.evolve(sample.config, steps=2)) if sample.name == "heun" else sample


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the teacher and the student that others start from are made once."""
    return tmp_path_factory.mktemp("digits") / "runs"


@pytest.fixture(autouse=True)
def home(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLKIT_HOME", str(runs.parent / "home"))


def go(host: str, terms: Sequence[str], runs: Path) -> Path:
    """The run of a host's recipe with one more line."""
    line = f"auxiliary_loss=[{', '.join(TERMS[term] for term in terms)}]"
    sets = [line, *(f"generator_loss.{key}" for key in HOSTS[host])]
    path = RECIPES / f"digits_{host}.toml"
    return runner.run(path, sets=sets, runs=runs, screen=QuietScreen(), change=few_images)[-1].run_dir


WITHOUT_A_TEACHER = [(host, term) for host in ("ct", "imm") for term in ("adversarial", "regression")]
CASES = [(host, ()) for host in HOSTS] + [("sid", (term,)) for term in TERMS]
CASES += [(host, tuple(term for term in TERMS if (host, term) not in WITHOUT_A_TEACHER)) for host in HOSTS]


@pytest.mark.parametrize(("host", "terms"), CASES, ids=[f"{host}-{'-'.join(terms)}" for host, terms in CASES])
def test_every_host_runs_with_every_term_and_goes_on_bit_for_bit(
    host: str, terms: tuple[str, ...], runs: Path, monkeypatch: pytest.MonkeyPatch,
    same_runs: Callable[[Path, Path], None],
) -> None:  # fmt: skip
    """The run that goes on is what a power cut left: a copy of the folder between a checkpoint and the end."""
    real, cut = loop.iterate, runs.parent / "cut" / f"{host}-{'-'.join(terms)}"

    def iterate(state: State) -> None:
        if state.iteration == ITERATIONS - 1 and state.recipe.name == f"digits_{host}":
            shutil.copytree(max(runs.glob("0*")), cut)
        real(state)

    monkeypatch.setattr(loop, "iterate", iterate)
    whole = go(host, terms, runs)
    monkeypatch.setattr(loop, "iterate", real)
    runner.run(None, resume=cut, runs=runs, screen=QuietScreen())
    same_runs(whole, cut)


@pytest.mark.parametrize(("host", "term"), WITHOUT_A_TEACHER)
def test_what_a_method_without_a_teacher_cannot_have_is_told(host: str, term: str, runs: Path) -> None:
    with pytest.raises(UsageError, match=rf'auxiliary_loss "{term}" needs .*\[teacher_score\]'):
        go(host, (term,), runs)
