"""Results for ranks that do not see the first one's disk: sent whole, to a folder that goes when they end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import numpy as np
import torch
from torch import Tensor

from distillkit.disk import files, manifest
from distillkit.disk.results import Outcome
from distillkit.train.ranks.alone import Ranks

RESULT = "result"


@contextmanager
def delivered(outcomes: Mapping[str, Outcome], ranks: Ranks) -> Iterator[dict[str, Outcome]]:
    """The outcomes of the first rank as this one can read them: where they lie, or in a copy of their results."""
    found = dict(outcomes)
    with ExitStack() as stack:
        for table, outcome in outcomes.items() if ranks.size > 1 else ():
            folder = outcome.run_dir / RESULT
            wanted = ranks.share(partial(identity, folder))
            lacks = identity(folder) != wanted
            if not any(ranks.those_of_all(lacks)):
                continue
            tensors, _ = ranks.spread((contents(folder) if ranks.first else {}, {}))
            if lacks:
                home = Path(stack.enter_context(TemporaryDirectory(prefix="distillkit-")))
                (home / RESULT).mkdir()
                for name, data in tensors.items():
                    (home / RESULT / name).write_bytes(data.numpy().data)
                found[table] = attrs.evolve(outcome, run_dir=home)
        yield found


def identity(folder: Path) -> str:
    """The hash of a result's manifest, which has those of its files; "": it is not here."""
    file = folder / manifest.NAME
    return files.sha256(file) if file.is_file() else ""


def contents(folder: Path) -> dict[str, Tensor]:
    """The bytes of each file of a result."""
    listed = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(("eval-", "."))]
    return {path.name: torch.from_numpy(np.fromfile(path, np.uint8)) for path in listed}
