"""The studies of this repository are valid, and an option of an axis is the recipe that says the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from distillkit.registry import Catalog
from distillkit.study import jobs, read

ROOT = Path(__file__).parents[2]
CATALOG = Catalog.installed()
STUDIES = [
    path
    for folder in ("benchmarks", "benchmarks/claims")
    for path in sorted((ROOT / folder).glob("*.toml"))
    if "pip install -e benchmarks/claims/arms" not in path.read_text("utf-8")  # arms that nothing of ours offers
]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_a_study_of_ours_has_no_problem_and_no_cell_twice(path):
    study = read(path, CATALOG)
    made = jobs(evolve(study, seeds=(0,)), CATALOG)
    assert sum(job.cell is not None for job in made) == len(study.cell)
    if path.name.startswith("el_"):
        assert [list(row) for row in study.rows().values()] == [["itself", "EL", "EL on pixels", "FD-loss"]] * 7


def test_the_embedding_loss_as_an_option_is_the_recipe_that_has_it(tmp_path):
    """So that runs of `digits_sid_el` are those of the study's cell, and so for each host."""
    study = read(ROOT / "benchmarks/el_digits.toml", CATALOG)
    hosts = {option.recipe.removesuffix(".toml"): option for option in study.vary["host"]}
    cells = "".join(f'[[cell]]\nrecipe = "{name}_el.toml"\nset = {list(hosts[name].set)}\n' for name in hosts)
    head = f'schema = 1\nname = "x"\nseeds = [0]\nset = {list(study.set)}\n'
    (tmp_path / "x.toml").write_text((head + cells).replace("../recipes", str(ROOT / "recipes")))
    with_it = [cell for cell in study.cell if cell.label.endswith(", EL")]
    made = jobs(evolve(study, seeds=(0,), cell=with_it), CATALOG)
    ours = {job.cell[0]: job.fingerprint for job in made if job.cell}
    same = [job.fingerprint for job in jobs(read(tmp_path / "x.toml", CATALOG), CATALOG) if job.cell]
    assert same == [ours[f"{option.label}, EL"] for option in study.vary["host"]]
