"""Commands of plugins: listed, explained, run; a broken or clashing one is a line, and harms nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from distillkit.api import Command
from distillkit.cli import plugged
from distillkit.cli.main import main, parser
from distillkit.cli.overview import COMMANDS

MODULE = '''
from distillkit.api import Command, UsageError
print("imported")
class Count(Command):
    """Count to a number."""
    def add(self, parser):
        parser.add_argument("number", type=int, help="where to stop")
    def main(self, args):
        if args.number < 0:
            raise UsageError("nobody counts backwards")
        print(*range(args.number))
        return 0
class Broken(Command):
    """Break."""
    def add(self, parser):
        raise KeyError("x")
'''


class Site:
    """A folder of sys.path with distributions."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "counting_module.py").write_text(MODULE)

    def install(self, dist: str, **commands: str) -> None:
        folder = self.path / f"{dist.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        lines = [f"{name.replace('_', '-')} = {target}" for name, target in commands.items()]
        (folder / "entry_points.txt").write_text("\n".join(["[distillkit.command]", *lines, ""]))
        plugged.catalog.cache_clear()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "counting_module", raising=False)
    monkeypatch.setattr(plugged, "made", plugged.made.__wrapped__)
    found = Site(tmp_path)
    found.install("distillkit-counting", count="counting_module:Count")
    yield found
    plugged.catalog.cache_clear()


def test_it_runs_with_its_arguments_and_its_errors_are_lines(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["count", "3"]) == 0
    assert capsys.readouterr().out == "imported\n0 1 2\n"
    assert main(["count", "-1"]) == 2
    assert main(["count", "--", "-1"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "error: nobody counts backwards"
    assert main(["count", "--help"]) == 0
    assert "where to stop" in capsys.readouterr().out


def test_it_is_listed_and_not_imported_before_it_is_asked_for(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    told = capsys.readouterr().out
    assert "\nof plugins\n  count         Count to a number.\n" in told and "imported" not in told
    assert main(["--version"]) == 0 and "imported" not in capsys.readouterr().out


def test_a_misspelt_one_is_told_the_way_out(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cuont"]) == 2
    assert capsys.readouterr().err == "error: no command 'cuont'; did you mean count?   distillkit alone lists them\n"


def test_one_with_a_name_of_ours_is_left_out_and_ours_stays(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.install("distillkit-rude", run="counting_module:Count")
    assert main([]) == 0
    left_out = '  left out: distillkit-rude: command "run" is a name of distillkit\'s own\n'
    assert left_out in capsys.readouterr().out
    assert main(["run", "nowhere.toml"]) == 2 and "imported" not in capsys.readouterr().out


def test_one_that_two_distributions_offer_is_left_out_with_both(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.install("distillkit-other", count="counting_module:Count")
    assert main([]) == 0
    assert "  count    " not in (told := capsys.readouterr().out) and "left out: " in told
    assert main(["count", "3"]) == 2
    assert 'command "count" is offered by distillkit-counting 1.0' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("counting_module:Broken", "\"odd\" of distillkit-odd 1.0 cannot add its arguments: KeyError: 'x'"),
        ("counting_module:Missing", "AttributeError: module 'counting_module' has no attribute 'Missing'"),
        ("no_such_module:Odd", "cannot be used: ModuleNotFoundError: No module named 'no_such_module'"),
        ("counting_module:UsageError", "it is no subclass of distillkit.api.Command"),
    ],
)  # fmt: skip
def test_a_broken_one_is_one_line_and_harms_no_other(
    site: Site, capsys: pytest.CaptureFixture[str], target: str, told: str
) -> None:
    site.install("distillkit-odd", odd=target)
    assert main(["odd"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert main(["count", "1"]) == 0


def test_a_parser_of_all_has_its_arguments_and_leaves_broken_ones_without(site: Site) -> None:
    site.install("distillkit-odd", odd="counting_module:Broken")
    with pytest.warns(UserWarning, match='command "odd" of distillkit-odd'):
        whole = parser()
    assert whole.parse_args(["count", "2"]).number == 2


def test_every_command_of_ours_is_a_name_that_no_plugin_may_take() -> None:
    assert set(COMMANDS) <= set(Command.own)


def test_without_commands_of_plugins_nobody_reads_metadata() -> None:
    code = (
        "import sys\n"
        "from distillkit.cli.main import main; main([]); main(['--version'])\n"
        "print({'importlib.metadata', 'distillkit.registry'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
