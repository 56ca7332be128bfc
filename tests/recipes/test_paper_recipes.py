"""The recipes of papers: all listed, all readable, and with the constants that the papers' code has."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from distillkit.assets.locate import wanted
from distillkit.cli.main import main
from distillkit.recipe import Recipe

RECIPES = Path(__file__).parents[2] / "recipes"
DATA = ("cifar10_cond", "cifar10_uncond", "ffhq", "afhq", "imagenet64")
PAPERS = sorted(path.stem for path in RECIPES.glob("*.toml") if path.stem.startswith((*DATA, "imagenet512")))
TEACHERS = {  # of SiD and its kind; GDD and CD start from the other ("ve") networks
    "cifar10_cond": "edm-cifar10-32x32-cond-vp.pkl",
    "cifar10_uncond": "edm-cifar10-32x32-uncond-vp.pkl",
    "ffhq": "edm-ffhq-64x64-uncond-vp.pkl",
    "afhq": "edm-afhqv2-64x64-uncond-vp.pkl",
    "imagenet64": "edm-imagenet-64x64-cond-adm.pkl",
}
IMAGES = {"ffhq": "ffhq-64x64.zip", "afhq": "afhqv2-64x64.zip", "imagenet64": "imagenet-64x64.zip"}
SID = {  # alpha, batch, images per GPU in SiD and SiDA, lr, beta1, dropout, augment, EMA, Mimg of SiD, SiDA, SiD2A
    "cifar10_uncond": (1.2, 256, 16, 32, 1e-5, 0.0, 0.13, 0.12, 500, 500, 300, 100),
    "cifar10_cond": (1.2, 256, 16, 32, 1e-5, 0.0, 0.13, 0.12, 500, 800, 300, 100),
    "imagenet64": (1.2, 8192, 16, 32, 4e-6, 0.0, 0.10, None, 2000, 1000, 300, 100),
    "ffhq": (1.2, 512, 32, 64, 1e-5, 0.9, 0.05, 0.15, 500, 500, 200, 100),
    "afhq": (1.0, 512, 32, 64, 5e-6, 0.0, 0.05, 0.15, 500, 500, 200, 100),
}
GDD = {  # lr of G, lr of D, batch, kimg, EMA, first backbone
    "cifar10_uncond": (1e-4, 1e-4, 256, 5_000, 500, "vgg16-bn"),
    "cifar10_cond": (1e-4, 1e-4, 256, 5_000, 500, "vgg16-bn"),
    "ffhq": (2e-5, 4e-5, 256, 10_000, 500, "deit"),
    "afhq": (2e-5, 4e-5, 256, 10_000, 500, "deit"),
    "imagenet64": (8e-6, 4e-5, 512, 10_000, 50_000, "deit"),
}


@pytest.fixture(scope="module")
def recipes(shipped: dict[str, Recipe]) -> dict[str, Recipe]:
    return {name: shipped[name] for name in PAPERS}


@pytest.mark.parametrize("name", [name for name in PAPERS if name.startswith(DATA)])
def test_data_and_teacher_are_those_of_the_paper(name, recipes):
    recipe, data = recipes[name], next(data for data in DATA if name.startswith(data))
    assert recipe.dataset.config.path == IMAGES.get(data, "cifar-10-python.tar.gz")
    assert recipe.dataset.config.labels == (data in ("cifar10_cond", "imagenet64"))
    ncsnpp = "gdd" in name or "_cd" in name or "_tract" in name
    teacher = TEACHERS[data].replace("-vp", "-ve") if ncsnpp else TEACHERS[data]
    if name.startswith(("imagenet64_ect", "imagenet64_tcm")):
        teacher = "edm2-img64-s-1073741-0.075.pkl"
    scratch = ("_ct" in name and "_ctm" not in name) or any(mark in name for mark in ("_ict", "_imm", "_meanflow"))
    assert recipe.teacher_score is None if scratch else recipe.teacher_score.config.checkpoint == teacher
    (fid,) = recipe.evaluate
    assert (fid.config.protocol, fid.config.images) == ("edm", 50_000)
    assert fid.config.reference == IMAGES.get(data, "cifar10-32x32.zip").replace(".zip", ".npz")
    files = {
        recipe.dataset.config.path,
        fid.config.reference,
        "inception-2015-12-05.pt",
        *([] if scratch else [teacher]),
    }
    assert files <= {asset.name for asset in wanted(recipe)}


@pytest.mark.parametrize("data", DATA)
def test_sid_has_the_published_constants(data, recipes):
    alpha, batch, micro, _, lr, beta1, dropout, p, ema, mimg, *_ = SID[data]
    recipe, half = recipes[f"{data}_sid"], data in ("imagenet64", "ffhq", "afhq")
    run, generator, loss = recipe.run, recipe.generator, recipe.generator_loss.config
    assert (run.kimg, run.batch, run.micro_batch) == (mimg * 1000, batch, micro)
    assert run.precision == ("bf16" if half else "fp32")
    assert (generator.dropout, generator.ema_halflife_kimg, generator.ema_rampup_ratio) == (dropout, ema, 0.05)
    adam = generator.optimizer
    assert (adam.name, adam.lr, adam.betas, adam.eps) == ("adam", lr, (beta1, 0.999), 1e-6 if half else 1e-8)
    assert (loss.lr, loss.betas, loss.eps) == (lr, (0.0, 0.999), 1e-6 if half else 1e-8)
    assert (loss.alpha, loss.tmax, loss.ls, loss.lsg, loss.noise) == (alpha, 800, 1, 100, "grid")
    assert (loss.augment and loss.augment.config.p) == p
    assert recipe.sample.name == "one-step" and recipe.sample.config.sigma_init == 2.5


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("method", ["sida", "sid2a"])
def test_sida_has_the_published_constants(data, method, recipes):
    _, batch, _, micro, lr, _, dropout, p, ema, _, *mimg = SID[data]
    recipe = recipes[f"{data}_{method}"]
    run, generator, loss = recipe.run, recipe.generator, recipe.generator_loss.config
    assert (run.kimg, run.batch, run.micro_batch) == (mimg[method == "sid2a"] * 1000, batch, micro)
    assert (generator.optimizer.lr, generator.optimizer.betas) == (lr, (0.0, 0.999))
    assert (generator.dropout, generator.ema_halflife_kimg) == (dropout, ema)
    assert generator.optimizer.eps == loss.eps == (1e-8 if "cifar10" in data else 1e-6)
    assert (loss.lr, loss.alpha, loss.lsd, loss.lsg_gan, loss.clip_value) == (lr, 1.0, 1.0, 0.01, 1.0)
    assert (loss.generator_after_kimg, loss.gan_after_kimg) == (100, 200)
    assert (loss.augment and loss.augment.config.p) == p
    assert generator.from_ == (f"{data}_sid.toml" if method == "sid2a" else None)


@pytest.mark.parametrize("data", DATA)
def test_gdd_has_the_published_constants(data, recipes):
    lr_G, lr_D, batch, kimg, ema, backbone = GDD[data]
    for name, freeze in ((f"{data}_gdd", 0), (f"{data}_gdd_i", 1)):
        recipe = recipes[name]
        generator, loss = recipe.generator, recipe.generator_loss.config
        assert (recipe.run.kimg, recipe.run.batch, recipe.run.precision) == (kimg, batch, "bf16")
        assert (generator.optimizer.lr, generator.optimizer.betas) == (lr_G, (0.0, 0.99))
        assert (generator.ema_halflife_kimg, generator.dropout) == (ema, 0.0)
        assert (loss.lr, loss.betas, loss.r1_gamma, loss.r1_every, loss.freeze) == (lr_D, (0.0, 0.99), 1e-4, 16, freeze)
        assert [part.name for part in loss.backbones] == [backbone, "efficientnet-lite0"]
        assert recipe.sample.config.sigma_init == 80


@pytest.mark.parametrize("data", ["cifar10_cond", "cifar10_uncond"])
def test_diff_instruct_and_dmd_have_the_published_constants(data, recipes):
    di, dmd = recipes[f"{data}_di"], recipes[f"{data}_dmd"]
    assert (di.run.batch, di.generator.optimizer.lr, di.generator_loss.config.lr) == (128, 1e-5, 1e-5)
    assert (di.sample.config.sigma_init, di.generator.dropout, di.generator.ema_halflife_kimg) == (1.0, 0.13, 500)
    assert (dmd.run.batch, dmd.run.kimg) == (392, 300 * 392)
    adam = dmd.generator.optimizer
    assert (adam.name, adam.lr, adam.weight_decay, adam.clip_norm) == ("adamw", 5e-5, 0.01, 10)
    (term,) = dmd.auxiliary_loss
    assert (term.slot.weight, term.config.pairs) == ((0.25, 100_000) if data == "cifar10_cond" else (0.5, 500_000))
    assert term.config.distance == "lpips" and term.config.features.config.size == 224
    assert term.config.sampler.config.steps == 18 and dmd.sample.config.sigma_init == 80
    assert [term.name for term in recipes[f"{data}_dmd_el"].auxiliary_loss] == ["embedding"], "in place of regression"


def test_dmd2_has_the_published_constants(recipes):
    recipe = recipes["imagenet64_dmd2"]
    loss, adam = recipe.generator_loss.config, recipe.generator.optimizer
    assert (recipe.run.batch, recipe.run.kimg) == (7 * 40, 200 * 280)
    assert (adam.name, adam.lr, loss.lr, loss.dfake_gen_update_ratio) == ("adamw", 2e-6, 2e-6, 5)
    assert (loss.gen_cls_loss_weight, loss.guidance_cls_loss_weight) == (3e-3, 1e-2)
    assert recipe.generator.ema == "none" and recipe.sample.config.sigma_init == 80


def test_consistency_models_have_the_published_constants(recipes):
    cd, ect = recipes["imagenet64_cd"], recipes["cifar10_uncond_ect"]
    assert (cd.run.batch, cd.run.kimg, cd.generator.optimizer.lr) == (2048, 600 * 2048, 8e-6)
    loss = cd.generator_loss.config
    assert (loss.N, loss.mu, loss.weight, loss.distance) == (40, 0.95, "uniform", "lpips")
    assert loss.features.config.pooling == "average" and loss.features.config.size == 224
    assert 0.5 ** (2048 / (1000 * cd.generator.ema_halflife_kimg)) == pytest.approx(0.99994322, abs=1e-8)
    loss = ect.generator_loss.config
    assert (ect.run.batch, ect.run.kimg, ect.generator.dropout) == (128, 25_600, 0.2)
    assert (ect.generator.optimizer.name, ect.generator.optimizer.lr) == ("radam", 1e-4)
    assert (loss.P_mean, loss.P_std, loss.q, loss.k, loss.b, loss.c, loss.double_kimg) == (-1.1, 2.0, 2, 8, 1, 0, 3200)
    assert 0.5 ** (128 / (1000 * ect.generator.ema_halflife_kimg)) == pytest.approx(0.9999, abs=1e-7)
    large = recipes["imagenet64_ect"]
    loss, adam = large.generator_loss.config, large.generator.optimizer
    assert (large.run.batch, large.run.kimg, large.generator.dropout) == (128, 100 * 128, 0.4)
    assert (large.generator.dropout_resolution, loss.weight, loss.boundary, loss.double_kimg) == (16, "edm", 0, 3200)
    assert (adam.name, adam.lr, adam.betas, adam.schedule) == ("adam", 1e-3, (0.9, 0.99), "inverse_sqrt")
    assert adam.ref_kimg * 1000 == 2000 * large.run.batch
    assert (loss.P_mean, loss.P_std, loss.q, loss.k, loss.b, loss.c) == (-0.8, 1.6, 4, 8, 1, 0.06)


def test_consistency_from_scratch_and_on_cifar_has_the_published_constants(recipes):
    cd, ct, large = (recipes[name] for name in ("cifar10_uncond_cd", "cifar10_uncond_ct", "imagenet64_ct"))
    for recipe in (cd, ct):
        assert (recipe.run.batch, recipe.run.kimg, recipe.generator.optimizer.lr) == (512, 800 * 512, 4e-4)
        assert 0.5 ** (512 / (1000 * recipe.generator.ema_halflife_kimg)) == pytest.approx(0.9999, abs=1e-7)
        assert recipe.dataset.config.xflip and recipe.generator_loss.config.distance == "lpips"
    assert (cd.generator_loss.config.N, cd.generator_loss.config.mu) == (18, 0)
    assert cd.generator.optimizer.warmup_kimg == ct.generator.optimizer.warmup_kimg == 0
    assert (large.run.batch, large.run.kimg, large.generator.optimizer.lr) == (2048, 800 * 2048, 1e-4)
    schedules = [(c.s0, c.s1, c.mu0) for c in (ct.generator_loss.config, large.generator_loss.config)]
    assert schedules == [(2, 150, 0.9), (2, 200, 0.95)]
    networks = [recipe.generator.network for recipe in (ct, large)]
    assert [(one.name, one.config.channel_mult) for one in networks] == [
        ("edm-ncsnpp", (2, 2, 2)), ("edm-adm", (1, 2, 3, 4))
    ]  # fmt: skip
    assert all(recipe.generator.init == "scratch" for recipe in (ct, large))


def test_ict_and_tcm_have_the_published_constants(recipes):
    ict, deep, tcm, large = (
        recipes[f"{name}"] for name in ("cifar10_uncond_ict", "cifar10_uncond_ict_deep", "cifar10_uncond_tcm",
                                        "imagenet64_tcm")
    )  # fmt: skip
    assert (ict.run.batch, ict.run.kimg, ict.generator.optimizer.name) == (1024, 400 * 1024, "radam")
    assert (ict.generator.optimizer.lr, ict.generator.init, ict.generator.network.config.dropout) == (
        1e-4,
        "scratch",
        0.3,
    )
    assert 0.5 ** (1024 / (1000 * ict.generator.ema_halflife_kimg)) == pytest.approx(0.99993, abs=1e-7)
    loss = ict.generator_loss.config
    assert (loss.s0, loss.s1, loss.P_mean, loss.P_std, loss.c) == (10, 1280, -1.1, 2.0, None)
    assert deep.generator.network.config.num_blocks == 2 * ict.generator.network.config.num_blocks
    assert (tcm.run.batch, tcm.run.kimg, tcm.generator.dropout) == (1024, 300 * 1024, 0.2)
    assert (tcm.generator.optimizer.name, tcm.generator.optimizer.lr) == ("radam", 5e-5)
    assert 0.5 ** (1024 / (1000 * tcm.generator.ema_halflife_kimg)) == pytest.approx(0.9999, abs=1e-7)
    loss = tcm.generator_loss.config
    assert (loss.t_prime, loss.df, loss.P_mean, loss.P_std, loss.p, loss.w_b) == (1, 0.01, 0, 0.2, 0.25, 0.1)
    assert (loss.ratio, loss.c, loss.weight) == (0.999, 1e-8, "step")
    loss, adam = large.generator_loss.config, large.generator.optimizer
    assert (large.run.batch, large.run.kimg, adam.lr, adam.betas) == (1024, 400 * 1024, 5e-4, (0.9, 0.99))
    assert (loss.ratio, loss.c, loss.weight, adam.ref_kimg * 1000) == (0.9961, 0.06, "edm", 8000 * 1024)


def test_dmd_on_imagenet_and_dmd2_on_cifar_have_the_published_constants(recipes):
    dmd, dmd2 = recipes["imagenet64_dmd"], recipes["cifar10_cond_dmd2"]
    assert (dmd.run.batch, dmd.run.kimg) == (336, 350 * 336)
    adam, (term,) = dmd.generator.optimizer, dmd.auxiliary_loss
    assert (adam.lr, dmd.generator_loss.config.lr, adam.warmup_kimg) == (2e-6, 2e-6, 500 * 0.336)
    assert (term.slot.weight, term.config.pairs, term.config.sampler.config.steps) == (0.25, 25_000, 256)
    loss = dmd2.generator_loss.config
    assert (dmd2.run.batch, dmd2.run.kimg, dmd2.generator.optimizer.lr, loss.lr) == (2048, 204_800, 1e-4, 1e-4)
    assert (loss.update, loss.features, loss.taps, loss.fake_weight) == ("alternate", "teacher", (32, 16, 8), "none")
    assert (loss.gen_cls_loss_weight, loss.guidance_cls_loss_weight) == (1e-3, 1) and loss.dfake_gen_update_ratio == 5
    assert (loss.critic_noise, int(loss.T_min * 1000), int(loss.T_max * 1000)) == ("matching", 2, 998)
    assert (loss.classifier_lr, loss.clip_norm, dmd2.generator.optimizer.clip_norm) == (1e-4, math.inf, 10)
    assert loss.warmup_kimg == dmd2.generator.optimizer.warmup_kimg == 0


def test_f_distill_has_the_published_constants(recipes):
    cifar, large = recipes["cifar10_cond_f_distill"], recipes["imagenet64_f_distill"]
    assert [(one.run.batch, one.run.kimg) for one in (cifar, large)] == [(2048, 100 * 2048), (512, 600 * 512)]
    assert [one.generator.optimizer.lr for one in (cifar, large)] == [1e-4, 2e-6]
    losses = [one.generator_loss.config for one in (cifar, large)]
    assert [(c.f, c.rate, c.gan_weight, c.lr, c.taps) for c in losses] == [
        ("kl", 0, 1e-3, 1e-4, (32, 16, 8)), ("js", 0.5, 3e-3, 2e-6, ())
    ]  # fmt: skip
    for c in losses:
        assert (c.bins, c.ratio_lower, c.ratio_upper, c.student_update_freq, c.clip_norm) == (10, 0.1, 20, 5, None)


def test_the_embedding_loss_is_four_architectures_by_four_seeds(recipes):
    for name in PAPERS:
        if name.endswith("_el"):
            (term,) = recipes[name].auxiliary_loss
            assert (len(term.config.embeddings), term.config.copies, term.slot.weight) == (4, 4, "auto")


def test_the_flagship_says_all_that_it_lacks_and_makes_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    assert main(["run", str(RECIPES / "afhq_sid2a_el.toml")]) == 3
    told = capsys.readouterr().err
    assert "https://nvlabs-fi-cdn.nvidia.com/edm/pretrained/edm-afhqv2-64x64-uncond-vp.pkl" in told
    assert "distillkit data pack AFHQ afhqv2-64x64.zip --resolution 64" in told and "nothing was run" in told
    assert not (tmp_path / "runs").exists()
