"""ImageNet at 512x512: six sizes of EDM2, three methods, with the constants of the authors' scripts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from distillkit.assets.locate import wanted
from distillkit.assets.table import table
from distillkit.recipe import Recipe

RECIPES = Path(__file__).parents[2] / "recipes"
SIZES = {  # teacher, images per GPU, dropout, Mimg of SiD and SiDA, of SiD2A
    "xs": ("edm2-img512-xs-2147483-0.135.pkl", 64, 0.0, 200, 30),
    "s": ("edm2-img512-s-2147483-0.130.pkl", 64, 0.0, 200, 80),
    "m": ("edm2-img512-m-2147483-0.100.pkl", 32, 0.1, 200, 200),
    "l": ("edm2-img512-l-1879048-0.085.pkl", 32, 0.1, 200, 55),
    "xl": ("edm2-img512-xl-1342177-0.085.pkl", 16, 0.1, 200, 50),
    "xxl": ("edm2-img512-xxl-0939524-0.070.pkl", 2, 0.1, 100, 30),
}
PARAMETERS = {"xs": 124.7, "s": 280.2, "m": 497.8, "l": 777.5, "xl": 1119.3, "xxl": 1523.2}  # millions
METHODS = ("sid", "sida", "sid2a")


@pytest.fixture(scope="module")
def recipes(shipped: dict[str, Recipe]) -> dict[tuple[str, str], Recipe]:
    names = [(size, f"{method}{el}") for size in SIZES for method in METHODS for el in ("", "_el")]
    return {name: shipped[f"imagenet512_{'_'.join(name)}"] for name in names}


def test_there_is_a_recipe_for_every_size_and_method_and_no_other(recipes):
    others = {"imagenet512_xxl_scd", "imagenet512_xxl_scd_el"}  # of one size alone
    found = {path.stem for path in RECIPES.glob("imagenet512_*.toml")} - others
    assert found == {f"imagenet512_{'_'.join(n)}" for n in recipes}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_data_teacher_and_metric_are_those_of_edm2(size, method, recipes):
    recipe = recipes[size, method]
    data, (fid,) = recipe.dataset, recipe.evaluate
    assert (data.name, data.config.path, data.config.labels) == ("latents", "img512-sd.zip", True)
    assert recipe.teacher_score.config.checkpoint == SIZES[size][0]
    assert (fid.config.protocol, fid.config.images, fid.config.reference) == ("edm", 50_000, "img512.npz")
    files = {SIZES[size][0], "img512-sd.zip", "sd-vae-ft-mse.safetensors", "img512.npz", "inception-2015-12-05.pt"}
    assert files == {asset.name for asset in wanted(recipe)}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_a_run_has_the_published_constants(size, method, recipes):
    _, micro, dropout, long, short = SIZES[size]
    recipe = recipes[size, method]
    run, generator, loss = recipe.run, recipe.generator, recipe.generator_loss.config
    assert (run.kimg, run.batch, run.micro_batch) == ((short if method == "sid2a" else long) * 1000, 2048, micro)
    assert (run.precision, run.keep_best) == ("bf16", None if method == "sid" else "fid/fid")
    assert (generator.dropout, generator.ema_halflife_kimg, generator.ema_rampup_ratio) == (dropout, 2000, 0.05)
    adam = generator.optimizer
    assert (adam.name, adam.lr, adam.betas, adam.eps) == ("adam", 5e-5, (0.0, 0.999), 1e-6)
    assert (loss.lr, loss.betas, loss.eps, loss.P_mean, loss.P_std) == (5e-5, (0.0, 0.999), 1e-6, -0.4, 1.0)
    assert (loss.alpha, loss.tmax, loss.ls, loss.augment) == (1.0, 800, 1, None)
    assert loss.lsg == (50 if (size, method) == ("m", "sid2a") else 100)
    assert recipe.sample.config.sigma_init == 2.5
    parent = "sida" if size == "xxl" else "sid"
    assert generator.from_ == (f"imagenet512_{size}_{parent}.toml" if method == "sid2a" else None)


@pytest.mark.parametrize("size", SIZES)
def test_the_adversary_is_that_of_edm2_and_size_s_is_an_exception(size, recipes):
    assert recipes[size, "sid"].generator_loss.config.logvar
    for method in ("sida", "sid2a"):
        loss = recipes[size, method].generator_loss.config
        assert (loss.lsd, loss.lsg_gan, loss.clip_value) == (100, 0.01, math.inf)
        assert (loss.generator_after_kimg, loss.gan_after_kimg) == (100, 200)
        assert (loss.logvar, loss.force_normalization) == ((False, False) if size == "s" else (True, True))
        assert not loss.fake_force_normalization


@pytest.mark.parametrize("size", SIZES)
def test_a_teachers_file_is_as_large_as_its_half_precision_weights(size):
    asset = table()[SIZES[size][0]]
    assert asset.network == "edm2" and asset.mb == round(2 * PARAMETERS[size])
    assert asset.url == f"https://nvlabs-fi-cdn.nvidia.com/edm2/posthoc-reconstructions/{asset.name}"
