"""Published files are refused where they were made for other data: nothing is measured against the wrong images."""

from __future__ import annotations

import pytest

from distillkit.recipe import RecipeProblems, chain, read, shipped
from distillkit.recipe.made_for import Data, data_of, misused_by, named

AFHQ = 'dataset={use="image-zip", path="afhqv2-64x64.zip", labels=false}'


@pytest.fixture
def told(tmp_path):
    """The problems of a recipe that extends a shipped one."""

    def find(name: str, text: str = "", sets=()) -> list[tuple[str, str, str]]:
        path = tmp_path / "mine.toml"
        path.write_text(f'schema = 1\nextends = "{name}"\n{text}')
        with pytest.raises(RecipeProblems) as caught:
            chain(path, sets)
        return [(problem.key, problem.message, problem.hint) for problem in caught.value.problems]

    return find


def test_other_images_over_a_recipe_are_no_longer_measured_against_its_statistics(told):
    found = told("cifar10_uncond_di", "", [AFHQ])
    assert sorted(found, reverse=True) == [
        ("teacher_score.checkpoint",
         '"edm-cifar10-32x32-uncond-vp.pkl" is of cifar10 at 32x32, the data are afhqv2 at 64x64',
         "for these data: edm-afhqv2-64x64-uncond-vp.pkl, edm-afhqv2-64x64-uncond-ve.pkl"),
        ("evaluate[0].reference", '"cifar10-32x32.npz" is of cifar10 at 32x32, the data are afhqv2 at 64x64',
         "for these data: afhqv2-64x64.npz"),
    ]  # fmt: skip


def test_a_part_of_the_data_brings_all_that_is_of_it(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('schema = 1\nextends = ["cifar10_uncond_di", "parts/data/afhq"]\n')
    assert {asset.data for _, asset in named(read(path).teacher_score)} == {"afhqv2"}


@pytest.mark.parametrize(
    ("name", "sets", "key"),
    [
        ("imagenet64_sid", ['teacher_score.checkpoint="edm2-img512-xs-2147483-0.135.pkl"'], "teacher_score.checkpoint"),
        ("ffhq_sid", ['evaluate.0.reference="elsewhere/cifar10-32x32.npz"'], "evaluate[0].reference"),
        ("cifar10_cond_sid", ['dataset.path="mine"', 'evaluate.0.reference="img512.npz"'], "evaluate[0].reference"),
        ("digits_sid", ['evaluate=[{use="fid", reference="cifar10-32x32.npz", features={use="digits-classifier"}}]'],
         "evaluate[0].reference"),
    ],
)  # fmt: skip
def test_so_are_other_sizes_own_folders_and_data_known_by_their_class(told, name, sets, key):
    assert [problem[0] for problem in told(name, "", sets)] == [key]


def test_an_autoencoder_that_did_not_make_the_latents_is_refused(told, monkeypatch):
    import attrs

    from distillkit.assets import table

    other = attrs.evolve(table.table()["sd-vae-ft-mse.safetensors"], name="other-vae.safetensors")
    monkeypatch.setitem(table.table(), other.name, other)
    (found,) = told("imagenet512_xs_sid", "", ['dataset.vae="other-vae.safetensors"'])
    assert found[:2] == ("dataset.vae", '"other-vae.safetensors" does not decode these latents')


@pytest.mark.parametrize("table", ["teacher_score", "generator"])
def test_a_recipe_of_other_data_is_no_start(told, table):
    text = f'[dataset]\nuse = "gaussian-mixture"\n[{table}]\nfrom = "digits_teacher"\n'
    ((key, message, _),) = told(
        "digits_sid", text + ("" if table == "teacher_score" else "[teacher_score]\nremove = true\n")
    )
    assert key == f"{table}.from"
    assert message == "digits_teacher.toml is a recipe of digits, the data here are gaussian-mixture"


def test_files_of_ones_own_may_be_of_anything_until_their_size_is_known():
    recipe = read(shipped.asked("afhq_sid"), ['dataset.path="mine.zip"'])
    assert data_of(recipe.dataset) == Data()
    for resolution, told in ((64, ""), (32, '"afhqv2-64x64.npz" is of afhqv2 at 64x64, the images are 32x32')):
        dataset = recipe.dataset.build()
        dataset.resolution = resolution
        assert misused_by(recipe, dataset).removeprefix("evaluate[0].reference: ") == told


def test_every_published_file_of_images_says_what_it_is_of():
    from distillkit.assets.table import table

    for asset in table().values():
        about_images = asset.kind in ("teacher", "reference", "data")
        assert bool(asset.data) == bool(asset.resolution) == about_images, asset.name
