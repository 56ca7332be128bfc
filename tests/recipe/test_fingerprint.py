"""A fingerprint stands for what decides the result, and for nothing else."""

from __future__ import annotations

import re

import pytest
from attrs import evolve

from distillkit import __version__
from distillkit.api import NO_BITS, added_later, field, frozen
from distillkit.recipe import fingerprint, used_distributions, used_numerics
from distillkit.registry.numerics import own_numerics

VERSIONS = {"distillkit": "0.1.0", "distillkit-sid": "0.1.0"}


@pytest.fixture
def of(recipe, good):
    return lambda *sets, versions=VERSIONS: fingerprint(recipe(good, sets), {}, versions)


def test_it_is_sixteen_hex_digits_and_does_not_depend_on_the_order_of_keys(recipe, of, good):
    assert re.fullmatch("[0-9a-f]{16}", of())
    tables = good.strip().split("\n[")
    shuffled = "\n[".join([tables[0], *reversed(tables[1:])])
    assert fingerprint(recipe(shuffled), {}, dict(reversed(VERSIONS.items()))) == of()


@pytest.mark.parametrize(
    "same",
    ["device=cpu", "threads=3", "keep_checkpoints=9", "checkpoint_kimg=1", "tick_kimg=1", "grid=4", "kimg=100.0"],
)
def test_what_does_not_decide_the_result_does_not_count(of, same):
    assert of(f"run.{same}") == of()


@pytest.mark.parametrize(
    "other",
    [
        "run.seed=1", "run.batch=32", "run.micro_batch=32", "run.precision=bf16", "generator_loss.alpha=1.0",
        "generator.optimizer.lr=1e-4", "dataset.path=other", "sample.sigma_init=2.5", 'evaluate=[{use="fid"}]',
    ],
)  # fmt: skip
def test_what_decides_the_result_counts(of, other):
    assert of(other) != of()


def test_numerics_count(of):
    assert of(versions={**VERSIONS, "distillkit-sid": "numerics 2"}) != of()


def test_numerics_are_of_the_distributions_in_use_and_versions_where_none_are_declared(recipe, catalog, good):
    found = used_numerics(recipe(good), catalog)
    assert found == {**used_distributions(recipe(good), catalog), "distillkit": own_numerics()}
    assert list(found) == sorted(found)


@pytest.mark.parametrize(("value", "counts"), [(2.0, False), (3.0, True), (None, False)])
def test_a_key_added_later_counts_where_all_is_not_as_before(recipe, good, value, counts):
    @frozen(kw_only=True)
    class Config:
        alpha: float = 1.2
        extra: float | None = field(default=9.0, metadata=added_later(as_before=2))
        shown: int = field(default=1, metadata=NO_BITS)

    def of(**keys):
        made = recipe(good)
        loss = evolve(made.generator_loss, config=Config(**keys))
        return fingerprint(evolve(made, generator_loss=loss), {}, VERSIONS)

    assert (of(extra=value) != of(extra=2.0)) == counts
    assert of(shown=7) == of() != of(alpha=1.3)


def test_a_default_written_out_is_the_same_recipe(of):
    assert of("generator_loss.alpha=1.2", "sample.sigma_init=1.5") == of()


def test_an_integer_as_the_default_of_a_float_is_that_float(recipe, of, good):
    class_ = recipe(good).generator_loss.cls.Config
    made = evolve(recipe(good), generator_loss=evolve(recipe(good).generator_loss, config=class_(tmax=800)))
    assert fingerprint(made, {}, VERSIONS) == of()


def test_a_parent_counts_by_its_fingerprint_not_by_its_file_name(recipe, good):
    def with_parent(file: str, digits: str) -> str:
        text = good.replace('checkpoint = "teacher"', f'from = "{file}"')
        return fingerprint(recipe(text), {file: digits}, VERSIONS)

    assert with_parent("a.toml", "1234") == with_parent("b.toml", "1234") != with_parent("a.toml", "1235")


def test_used_distributions_are_those_of_nested_parts_too(recipe, catalog, good):
    used = used_distributions(recipe(good + '[[auxiliary_loss]]\nuse = "embedding"\n'), catalog)
    assert used == {
        "distillkit": __version__,
        **dict.fromkeys(
            [
                "distillkit-auxiliary-loss", "distillkit-dataset", "distillkit-embedding", "distillkit-generator-loss",
                "distillkit-kernel", "distillkit-sample", "distillkit-teacher-score",
            ],
            "1.0",
        ),
    }  # fmt: skip
