"""What relative paths in recipes count from, and what is written of them."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import attrs
import pytest

from distillkit.api import FILE, Choice, field, frozen
from distillkit.recipe import read, shipped, to_toml
from distillkit.recipe.paths import changed, named, of_python, spelt

RECIPE = """
schema = 1
[run]
kimg = 100
batch = 64
[dataset]
use = "points"
path = "{}"
[teacher_score]
use = "edm"
checkpoint = "/teacher"
[generator_loss]
use = "sid"
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with recipes, and data in it and beside the recipes."""
    monkeypatch.chdir(tmp_path)
    for name in ("data/points.npz", "recipes/near.npz", "recipes/parts/deep.npz"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return tmp_path


def path_of(text, catalog, sets=(), file="recipes/x.toml"):
    Path(file).write_text(RECIPE.format(text))
    return read(file, sets, catalog).dataset.config.path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("near.npz", "recipes/near.npz"), ("./near.npz", "recipes/near.npz"), ("../data/points.npz", "data/points.npz"),
        ("missing.npz", "recipes/missing.npz"), ("s3://bucket/a-{0..3}.tar", "s3://bucket/a-{0..3}.tar"),
        ("img512-sd.zip", "img512-sd.zip"), ("n*.npz", "recipes/n*.npz"), ("/data/points.npz", "/data/points.npz"),
    ],
)  # fmt: skip
def test_a_path_counts_from_the_file_that_writes_it(place, catalog, text, found):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert path_of(text, catalog) == found


def test_a_part_that_is_extended_counts_from_its_own_folder(place, catalog):
    Path("recipes/parts/data.toml").write_text(RECIPE.format("deep.npz"))
    Path("mine.toml").write_text('schema = 1\nextends = "recipes/parts/data.toml"\n')
    assert read("mine.toml", (), catalog).dataset.config.path == "recipes/parts/deep.npz"


def test_what_is_there_from_the_working_directory_alone_is_taken_and_the_new_spelling_told(place, catalog):
    with pytest.warns(FutureWarning) as caught:
        assert path_of("data/points.npz", catalog) == "data/points.npz"
    (told,) = [str(one.message) for one in caught]
    assert told.startswith('x.toml:8: dataset.path = "data/points.npz"') and '"../data/points.npz"' in told
    with pytest.warns(FutureWarning, match="shards"):
        Path("shards-0.tar").touch()
        assert path_of("shards-{0..3}.tar", catalog) == "shards-{0..3}.tar"


def test_set_shipped_recipes_and_tables_of_python_count_from_the_working_directory(place, catalog, monkeypatch):
    assert path_of("near.npz", catalog, ["dataset.path=data/points.npz"]) == "data/points.npz"
    assert path_of("near.npz", catalog, ["dataset.path=nowhere.npz"]) == "nowhere.npz"
    with of_python(Path("recipes/x.toml")):
        assert path_of("near.npz", catalog) == "near.npz"
    monkeypatch.setattr(shipped, "folder", lambda: place / "recipes")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert path_of("data/points.npz", catalog) == "data/points.npz"
        assert path_of("near.npz", catalog) == "recipes/near.npz"  # somebody's own, put there


def test_the_recipe_of_a_run_from_before_is_read_as_it_was_without_a_word(place, catalog):
    Path("runs/0001-x/from").mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for file in ("runs/0001-x/resolved.toml", "runs/0001-x/from/teacher.toml"):
            assert path_of("data/points.npz", catalog, file=file) == "data/points.npz"
            assert path_of("gone.npz", catalog, file=file) == "gone.npz"
        assert path_of("../../data/points.npz", catalog, file="runs/0001-x/resolved.toml") == "data/points.npz"


def test_dots_are_left_out_but_behind_a_link(place, catalog):
    Path("far/inner").mkdir(parents=True)
    Path("far/other.npz").touch()
    Path("recipes/link").symlink_to(place / "far" / "inner")
    assert path_of("link/../other.npz", catalog) == "recipes/link/../other.npz"


def test_a_fingerprint_has_a_path_as_seen_from_one_folder_or_whole(place):
    home = str(place)
    assert {spelt(text, home) for text in ("data/a", "./data/a", f"{home}/data/a", "recipes/../data/a")} == {"data/a"}
    assert spelt("../a", home) == str(place.parent / "a") == spelt("../a", None)
    assert spelt("data/a", home, f"{home}/runs/1") == "../../data/a"
    assert spelt("../a", "", home) == "../a" and spelt("img512-sd.zip", home) == "img512-sd.zip"
    Path("img512-sd.zip").touch()
    os.chdir("data")
    assert spelt("../img512-sd.zip", home) == "img512-sd.zip" and spelt("s3://b/a", home) == "s3://b/a"


@frozen(kw_only=True)
class Config:
    files: tuple[str, ...] = field(default=(), metadata=FILE)
    named: dict[str, str] = field(factory=dict, metadata=FILE)
    part: Choice | None = None
    word: str = "a"
    path: str = "a"


def test_lists_tables_and_parts_of_a_plugins_config_have_paths_too():
    config = Config(files=("a", "b"), named={"x": "c"}, part=Choice("kernel", "k", Config, Config(files=("d",))))
    keys = {("files", 0): "a", ("files", 1): "b", ("named", "x"): "c", ("part", "files", 0): "d", ("part", "path"): "a"}
    assert {key: text for key, (_, text) in named(config).items()} == keys | {("path",): "a"}
    new = changed(config, lambda key, _, text: f"up/{text}")
    assert (new.files, new.named, new.part.config.files, new.word) == (("up/a", "up/b"), {"x": "up/c"}, ("up/d",), "a")
    logged = Choice("logger", "l", Config, Config(files=("out",)))
    assert changed(logged, lambda key, _, text: "moved") is logged and changed(config, lambda k, _, t: t) is config


def test_what_is_written_for_a_folder_reads_from_there(place, catalog):
    recipe = attrs.evolve(read_at("recipes/x.toml", "near.npz", catalog))
    there = Path("runs/0001-x/resolved.toml")
    there.parent.mkdir(parents=True)
    home = os.path.abspath(".")
    there.write_text(to_toml(changed(recipe, lambda key, _, text: spelt(text, home, os.path.abspath(there.parent)))))
    assert 'path = "../../recipes/near.npz"' in there.read_text()
    there.parent.rename("alone")
    assert read("alone/resolved.toml", (), catalog).dataset.config.path == "recipes/near.npz"
    Path("alone").rename(there.parent)
    os.chdir("/")
    assert os.path.samefile(read(place / there, (), catalog).dataset.config.path, place / "recipes/near.npz")


def read_at(file, text, catalog):
    Path(file).write_text(RECIPE.format(text))
    return read(file, (), catalog)
