"""The table of assets, and recipes that name them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from distillkit.api import InputError
from distillkit.assets.folder import folder
from distillkit.assets.locate import located, pin, require, wanted
from distillkit.assets.table import KINDS, UNKNOWN, Asset, hosts, table
from distillkit.cli.main import main
from distillkit.recipe import read

RECIPE = """
schema = 1
[run]
kimg = 0.1
batch = 8
device = "cpu"
[dataset]
use = "npz"
path = "mine.npz"
[teacher_score]
use = "network"
checkpoint = "edm-cifar10-32x32-cond-vp.pkl"
[generator_loss]
use = "gdd"
[[generator_loss.backbones]]
use = "vgg16-bn"
weights = "vgg16_bn-6c64b313.pth"
[[generator_loss.backbones]]
use = "efficientnet-lite0"
weights = "tf_efficientnet_lite0-0aa007d2.pth"
"""
NAMED = ["edm-cifar10-32x32-cond-vp.pkl", "vgg16_bn-6c64b313.pth", "tf_efficientnet_lite0-0aa007d2.pth"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with a recipe that names three assets, and an empty home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    (tmp_path / "r.toml").write_text(RECIPE)
    return tmp_path


def put(name: str) -> Path:
    folder().mkdir(parents=True, exist_ok=True)
    (folder() / name).write_bytes(b"something")
    return folder() / name


def test_the_table_says_where_each_comes_from_and_how_large_it_is():
    assert {asset.kind for asset in table().values()} == set(KINDS)
    for asset in table().values():
        assert bool(asset.url) != bool(asset.how), asset.name
        assert asset.url is None or asset.url.endswith("/" + asset.name), "the name is the file's"
        assert asset.mb and asset.limit > 1_000_000 * asset.mb
        assert asset.sha256 == UNKNOWN or len(asset.sha256) == 64 or asset.sha256 in asset.name
    assert hosts() == {
        "nvlabs-fi-cdn.nvidia.com",
        "download.pytorch.org",
        "dl.fbaipublicfiles.com",
        "www.cs.toronto.edu",
    }


def test_teachers_are_as_large_as_their_weights_in_single_precision_or_edm2s_in_half():
    teachers = {asset.name: asset.mb for asset in table().values() if asset.kind == "teacher"}
    assert (sum("edm-" in name for name in teachers), sum("edm2-" in name for name in teachers)) == (9, 7)
    assert teachers["edm-cifar10-32x32-uncond-vp.pkl"] == round(4 * 55_733_891 / 1e6)
    assert teachers["edm-imagenet-64x64-cond-adm.pkl"] == round(4 * 295_899_267 / 1e6)
    assert teachers["edm2-img512-xs-2147483-0.135.pkl"] == round(2 * 124_713_253 / 1e6)


@pytest.mark.parametrize("url", ["http://host/a.pkl", "https://host/a.pkl?x=1", "file:///a.pkl"])
def test_no_asset_comes_from_anything_but_https(url):
    with pytest.raises(ValueError, match="url"):
        Asset(name="a.pkl", kind="teacher", url=url, licence="x", sha256="unknown")


@pytest.mark.parametrize("name", ["../a.pkl", "a/b.pkl", ".hidden", ""])
def test_no_name_leads_out_of_the_folder(name):
    with pytest.raises(ValueError, match="name"):
        Asset(name=name, kind="teacher", licence="x", sha256="unknown")


def test_names_in_a_recipe_become_paths_wherever_they_stand(here):
    recipe = read(here / "r.toml")
    assert [asset.name for asset in wanted(recipe)] == NAMED
    found = located(recipe, folder())
    assert found.teacher_score.config.checkpoint == str(here / "home/assets" / NAMED[0])
    assert [part.config.weights for part in found.generator_loss.config.backbones] == [
        str(folder() / name) for name in NAMED[1:]
    ]
    same = attrs.evolve(found, teacher_score=recipe.teacher_score, generator_loss=recipe.generator_loss)
    assert same == recipe and wanted(found) == []


def test_a_file_of_that_name_here_comes_first(here):
    (here / NAMED[0]).write_bytes(b"mine")
    assert located(read(here / "r.toml"), folder()).teacher_score.config.checkpoint == str(here / NAMED[0])


def test_all_that_is_missing_is_told_at_once(here):
    put(NAMED[1])
    with pytest.raises(InputError) as error:
        require(Path("r.toml"), [read(here / "r.toml")] * 2, folder())
    text = str(error.value)
    assert text.splitlines()[0] == "2 files are missing for r.toml; nothing was run."
    assert f"{NAMED[0]}   teacher, about 223 MB, licence: CC BY-NC-SA 4.0\n      {table()[NAMED[0]].url}" in text
    assert f"{NAMED[2]}   features, about 19 MB" in text and "by hand" in text and NAMED[1] not in text
    assert f"Put them into {folder()}" in text and f"\nTo download: distillkit assets get {NAMED[0]}\n" in text
    assert text.endswith("distillkit run r.toml --smoke")


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_recipe_whose_assets_are_missing_makes_no_run_folder(here, capsys, command):
    assert main([command, "r.toml"]) == InputError.exit_code
    assert "3 files are missing for r.toml; nothing was run." in capsys.readouterr().err
    assert not (here / "runs").exists()


def test_the_resolved_recipe_names_them_where_they_are_there_too(here, capsys):
    for name in NAMED:
        put(name)
    assert main(["check", "--toml", "r.toml"]) == 0
    assert f'checkpoint = "{NAMED[0]}"' in capsys.readouterr().out, "the resolved recipe has the name, not my folder"


def test_the_command_lists_what_is_here_without_torch(here, capsys):
    put(NAMED[0])
    assert main(["assets", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["name"]: row["here"] for row in told["assets"]} == {name: name == NAMED[0] for name in table()}
    assert told["folder"] == str(folder())
    assert main(["assets"]) == 0
    text = capsys.readouterr().out
    assert "here" in text and all(name in text for name in table())


def test_the_command_gets_nothing_it_cannot(here, capsys, monkeypatch):
    monkeypatch.setenv("DISTILLKIT_OFFLINE", "1")
    assert main(["assets", "get", NAMED[0], "afhqv2-64x64.zip"]) == 3
    assert main(["assets", "get", "afhqv2-64x64.zip"]) == 3
    assert main(["assets", "get", "afhqv2-64x64.zp"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert "DISTILLKIT_OFFLINE is set" in told[0] and "prepare it: `distillkit data pack AFHQ" in told[1]
    assert told[2] == "error: no asset is called 'afhqv2-64x64.zp'; did you mean afhqv2-64x64.zip?"
    put(NAMED[1])
    assert main(["assets", "get", NAMED[1]]) == 3
    assert "the table says 6c64b313" in capsys.readouterr().err


def test_assets_need_no_torch():
    modules = "distillkit.assets.get, distillkit.assets.locate, distillkit.cli.assets"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_a_file_whose_sum_nobody_publishes_is_noted_where_it_is_used_first(here):
    name = "edm-cifar10-32x32-cond-vp.pkl"
    assert table()[name].sha256 == UNKNOWN
    path = put(name)
    with pytest.warns(UserWarning, match=f"{name}: no published sha256 is known; this file's is 3fc9b689459d738f8c88"):
        pin([{"checkpoint": name}], folder())
    pin([{"checkpoint": name}], folder())
    path.write_bytes(b"something else")
    with pytest.raises(InputError, match=f"{name}: sha256 is .*assets.lock says 3fc9b689459d738f8c88"):
        pin([{"checkpoint": name}], folder())


def test_a_file_that_is_not_the_published_one_is_refused_where_it_is_used(here):
    put("vgg16_bn-6c64b313.pth")
    with pytest.raises(InputError, match="the table says 6c64b313"):
        pin(["vgg16_bn-6c64b313.pth"], folder())
