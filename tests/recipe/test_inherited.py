"""Settings of the optimizer that were made for another method are named, wherever the method changes over them."""

from __future__ import annotations

import pytest

from distillkit.cli.main import main
from distillkit.recipe import inherited, shipped

SID = """\
schema = 1
[run]
kimg = 0.1
batch = 8
[dataset]
use = "gaussian-mixture"
[teacher_score]
use = "gaussian-mixture"
[generator]
init = "scratch"
network = { use = "mlp" }
[generator.optimizer]
lr = 3e-3
betas = [0.0, 0.9]
[generator_loss]
use = "sid"
"""
LR = "generator.optimizer.lr = 0.003 is of a recipe of sid (sid.toml:13)"
BETAS = "generator.optimizer.betas = [0.0, 0.9] is of a recipe of sid (sid.toml:14)"


@pytest.fixture
def told(tmp_path):
    """What is told of a recipe that extends sid.toml."""
    (tmp_path / "sid.toml").write_text(SID)

    def find(text: str, *sets: str) -> list[str]:
        (tmp_path / "mine.toml").write_text(f'schema = 1\nextends = "sid.toml"\n{text}')
        return inherited(tmp_path / "mine.toml", sets)

    return find


def test_what_the_new_method_does_not_set_itself_is_named_with_its_place(told):
    found = told('[generator_loss]\nuse = "dmd"\n[generator.optimizer]\nbetas = [0.9, 0.99]\n')
    assert found == [LR]
    assert told("", "generator_loss.use=dmd") == [LR, BETAS]
    assert told("", "generator_loss.use=dmd", "generator.optimizer.lr=1e-3") == [BETAS]


@pytest.mark.parametrize(
    "text",
    [
        "[run]\nkimg = 1\n",
        '[generator_loss]\nuse = "sid"\nalpha = 1.0\n',
        '[generator_loss]\nuse = "dmd"\n[generator]\noptimizer.remove = true\n',
        '[generator_loss]\nuse = "dmd"\n[generator.optimizer]\nlr = 1.0\nbetas.remove = true\n',
    ],
)
def test_nothing_is_said_where_nothing_is_inherited(told, text):
    assert told(text) == []


def test_a_change_further_down_counts_and_a_change_back_does_not(told, tmp_path):
    told('[generator_loss]\nuse = "dmd"\n')
    for use, lines in (("dmd2", 2), ("sid", 0)):
        (tmp_path / "last.toml").write_text(f'schema = 1\nextends = "mine.toml"\n[generator_loss]\nuse = "{use}"\n')
        assert len(inherited(tmp_path / "last.toml")) == lines


def test_check_says_it_and_is_content(told, tmp_path, capsys):
    told('[generator_loss]\nuse = "dmd"\n[[evaluate]]\nuse = "mixture"\n')
    assert main(["check", str(tmp_path / "mine.toml")]) == 0
    assert f"from a recipe of another method; check that they are meant:\n  {LR}" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "mine.toml"), str(tmp_path / "sid.toml")]) == 0
    assert LR in capsys.readouterr().out


def test_no_shipped_recipe_inherits_such():
    assert {name: lines for name in shipped.names() if (lines := inherited(shipped.asked(name)))} == {}
