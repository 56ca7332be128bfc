"""The command under `srun`, whose stand-in on PATH starts the tasks that SLURM would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ranks
SRUN = """#!{python}
import os, subprocess, sys
nodes, per_node, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
tasks = [
    subprocess.Popen(command, env=os.environ | {{
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_ID": "0",
        "SLURM_NNODES": str(nodes), "SLURM_NODEID": str(i // per_node),
        "SLURM_NTASKS": str(nodes * per_node), "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i % per_node),
        "SLURM_JOB_NODELIST": "127.0.0.1", "SLURM_STEP_TASKS_PER_NODE": f"{{per_node}}(x{{nodes}})",
    }})
    for i in range(nodes * per_node)
]
sys.exit(max(task.wait() for task in tasks))
"""
# The command line as it is, but each process that would train notes its place.
NOTE = """
import json, os, pathlib
def note():
    pathlib.Path(os.environ["NOTES"], os.environ["RANK"]).write_text(json.dumps(dict(os.environ)))
    return 0
"""
DISTILLKIT = (
    NOTE
    + f"""
import sys
from distillkit.cli import main, several
several.COMMAND = (sys.executable, "-c", {NOTE + "note()"!r})
launched = several.launched
several.launched = lambda args: note() if (code := launched(args)) is None else code
sys.exit(main.main(sys.argv[1:]))
"""
)


@pytest.mark.parametrize(("nodes", "per_node", "nproc"), [(2, 1, 2), (1, 1, 2), (1, 3, None)])
def test_the_command_joins_what_srun_started(tmp_path: Path, nodes: int, per_node: int, nproc: int | None) -> None:
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(SRUN.format(python=sys.executable))
    srun.chmod(0o755)
    (tmp_path / "notes").mkdir()
    (tmp_path / "r.toml").write_text("schema = 1\n")
    given = [] if nproc is None else ["--nproc", str(nproc)]
    around = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "RANK", "WORLD"))}
    done = subprocess.run(
        ["srun", str(nodes), str(per_node), sys.executable, "-c", DISTILLKIT, "run", str(tmp_path / "r.toml"), *given],
        env=around | {"PATH": f"{srun.parent}:{os.environ['PATH']}", "NOTES": str(tmp_path / "notes")},
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {path.name: json.loads(path.read_text()) for path in (tmp_path / "notes").iterdir()}
    world = nodes * (nproc or per_node)
    assert sorted(found) == [str(rank) for rank in range(world)]
    assert {one["WORLD_SIZE"] for one in found.values()} == {str(world)}
    local = nproc or per_node
    assert [found[str(rank)]["LOCAL_RANK"] for rank in range(world)] == [str(rank % local) for rank in range(world)]
    assert len({(one["MASTER_ADDR"], one["MASTER_PORT"]) for one in found.values()}) == 1
