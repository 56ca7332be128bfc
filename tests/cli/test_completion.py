"""What a shell completes with the script of `distillkit completion`."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from distillkit.cli.completion import SHELLS
from distillkit.cli.main import main
from distillkit.cli.overview import COMMANDS

ASK = """
source "$1"
complete -p distillkit > /dev/null || exit 3
while read -r -a words; do
  COMP_WORDS=(distillkit "${words[@]}"); COMP_CWORD=${#words[@]}; COMPREPLY=()
  _shtab_distillkit distillkit "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
  echo "${COMPREPLY[@]}"
done
"""
GAUSSIANS = {"gaussians_sid", "gaussians_sid2a", "gaussians_sid_el", "gaussians_sida", "gaussians_sim"}
COMPLETED = {  # the words so far, and what the last one may become
    "comp": {"compare", "completion"},
    "run --res": {"--resume", "--restarts"},
    "run gaussians_si": GAUSSIANS,
    "check my.toml gaussians_si": GAUSSIANS,
    "run my": {"my.toml"},
    "run mi": {"mine/"},
    "run --resume 00": {"0001-a", "0002-b"},
    "sample 00": {"0001-a", "0002-b"},
    "sample digits/s": {"digits/sid", "digits/sid2a_el"},
    "export 1 --to o": {"onnx"},
    "plugins sid": {"sid", "sid2a", "sida"},
    "recipes copy gaussians_si": GAUSSIANS,
    "data ch": {"check"},
    "data check no": {"notes.txt"},
    "launch my.toml --on sl": {"slurm"},
    "completion f": {"fish"},
}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scripts")
    for shell in SHELLS:
        with (folder / shell).open("w") as file, redirect_stdout(file):
            assert main(["completion", shell]) == 0
    return folder


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_one_of_that_shell_and_has_every_command(shell: str, scripts: Path) -> None:
    text = (scripts / shell).read_text()
    assert all(name in text for name in COMMANDS)
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} here")
    subprocess.run([program, "-n", scripts / shell], check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_completes(scripts: Path, tmp_path: Path) -> None:
    for name in ("runs/0001-a", "runs/0002-b", "runs/study-x", "mine"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("my.toml", "my.txt", "notes.txt"):
        (tmp_path / name).touch()
    done = subprocess.run(
        ["bash", "-c", ASK, "ask", scripts / "bash"],
        cwd=tmp_path, capture_output=True, text=True, check=True, input="\n".join(COMPLETED) + "\n",
    )  # fmt: skip
    found = [{*line.split()} for line in done.stdout.splitlines()]
    assert dict(zip(COMPLETED, found, strict=True)) == COMPLETED, done.stderr
