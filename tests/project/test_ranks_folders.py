"""tox.ini names every folder with tests that start runs on several processes: no other would be run."""

from __future__ import annotations

import configparser
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_of_ranks_lies_in_a_folder_that_tox_names() -> None:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    words = tox["testenv:ranks"]["commands"].split()
    folders = [ROOT / word for word in words if (ROOT / word).is_dir()]
    marked = [
        path
        for top in ("tests", "plugins")
        for path in (ROOT / top).rglob("test_*.py")
        if path != Path(__file__) and "mark.ranks" in path.read_text()
    ]
    assert len(marked) >= 10
    assert [path for path in marked if not any(folder in path.parents for folder in folders)] == []
