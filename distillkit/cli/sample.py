"""`distillkit sample`: images of a finished student, as a sheet, an array, PNGs or a data set."""

from __future__ import annotations

import time
from argparse import Namespace

from distillkit.api import UsageError


def main(arguments: Namespace) -> int:
    """Draw, write and tell how fast it was -> exit code."""
    if arguments.seeds and arguments.n:
        raise UsageError("--seeds says which images, and so how many: no -n")
    import torch

    from distillkit.device import pick_device
    from distillkit.images.write_images import Drawn, refuse_existing, write, writer
    from distillkit.networks.loaded import load
    from distillkit.seeds import SEED_BLOCK
    from distillkit.train import threads

    writer(arguments.out)
    refuse_existing(arguments.out, arguments.force)
    student, device = load(arguments.run), pick_device(arguments.device)
    torch.set_num_threads(threads.choose())
    first = SEED_BLOCK * arguments.seed
    seeds = arguments.seeds or list(range(first, first + (arguments.n or 64)))
    start = time.perf_counter()
    images = student.draw(seeds, arguments.labels, device, arguments.batch)
    rate = len(seeds) / (time.perf_counter() - start)
    title = f"{student.card.get('recipe', arguments.run)}   NFE {student.nfe}"
    write(Drawn(images, seeds, title), arguments.out, arguments.force)
    print(f"{arguments.out}: {len(seeds)} images, NFE {student.nfe}, {rate:.0f} images/s on {device.type}")
    return 0
