"""Whether this process is one of several, told by the environment that `--nproc`, torchrun or srun set."""

from __future__ import annotations

import os

from distillkit.api import UsageError
from distillkit.train.ranks.alone import Ranks

TIMEOUT = "DISTILLKIT_TIMEOUT"  # seconds that another process may be silent
SECONDS = 300.0


def join(shard: int | None = None) -> Ranks:
    """Join the other processes, `shard` of which are to share each network (None: as many as it takes).

    Alone where there are none. Raises UsageError without a GPU for this one, and Lost."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return Ranks()
    import torch  # one process alone may find that there is nothing to do, and never need it

    from distillkit.train.ranks.distributed import Distributed
    from distillkit.train.ranks.group import Group

    if torch.cuda.is_available():
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise UsageError(f"process {local} of this machine has no GPU: torch sees {torch.cuda.device_count()}")
        torch.cuda.set_device(local)
    return Group(Distributed(float(os.environ.get(TIMEOUT) or SECONDS)), shard)
