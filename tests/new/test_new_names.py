"""Names of new plugins: what is refused, what is warned about, what is never overwritten."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from distillkit.api import KINDS, UsageError
from distillkit.cli.main import main
from distillkit.new import New, generate


@pytest.mark.parametrize("name", ["", "My-Loss", "my_loss", "my--loss", "-x", "1st", "a/b", "..", "x" * 65, "a\n"])
def test_a_name_is_lower_case_words_joined_by_hyphens(name):
    with pytest.raises(UsageError, match="lower-case words joined by hyphens"):
        New.checked(name, "kernel")


def test_the_prefix_of_the_distribution_may_be_given_or_not():
    assert New.checked("distillkit-my-loss", "kernel") == New.checked("my-loss", "kernel")
    new = New.checked("my-loss-2", "kernel")
    assert (new.dist, new.module, new.type) == ("distillkit-my-loss-2", "distillkit_my_loss_2", "MyLoss2")


def test_an_unknown_kind_is_refused_with_the_kinds_there_are(capsys):
    assert main(["new", "x", "--kind", "loss"]) == 2
    assert "no kind of component is called 'loss'; kinds: dataset" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["kernel", "none", "path", "auxiliary-loss", "state", "denoiser", "config"])
def test_no_name_hides_what_its_module_uses(tmp_path, kind, name):
    files = generate(New.checked(name, kind), tmp_path)
    (module,) = [path for path in files if path.name == f"{kind}.py"]
    tree = ast.parse(module.read_text())
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert len(set(classes)) == len(classes) and not imported & set(classes)


def test_nothing_that_exists_is_overwritten(tmp_path, capsys):
    assert main(["new", "x", "--kind", "kernel", "--to", str(tmp_path)]) == 0
    mine = tmp_path / "distillkit-x/README.md"
    mine.write_text("mine")
    assert main(["new", "x", "--kind", "sample", "--to", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err and mine.read_text() == "mine"


def test_a_name_that_an_installed_plugin_offers_is_warned_about(tmp_path, capsys):
    assert main(["new", "one-step", "--kind", "sample", "--to", str(tmp_path)]) == 0
    assert "distillkit offers a sample called 'one-step' already" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["new", "x", "--kind", "kernel", "--to", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_the_next_steps_bring_pytest_where_it_is_not_installed(tmp_path, capsys):
    assert main(["new", "x", "--kind", "kernel", "--to", str(tmp_path)]) == 0
    project = tomllib.loads((tmp_path / "distillkit-x/pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["test"] == ["pytest"]
    page = Path(__file__).parents[2] / "docs/plugins.md"
    for told in (capsys.readouterr().out, (tmp_path / "distillkit-x/README.md").read_text(), page.read_text()):
        assert "pip install -e '.[test]'" in told
