"""`distillkit export`: a finished student for other programs, in a folder with its cards."""

from __future__ import annotations

from argparse import Namespace


def main(arguments: Namespace) -> int:
    """Write, compare and tell how far apart the two are -> exit code."""
    from distillkit.networks.export import PASSES, export

    done = export(arguments.run, arguments.to, arguments.out)
    print(
        f"{arguments.out}: {arguments.to}, {done.size / 1e6:.2f} MB; "
        f"largest difference from the student {done.difference:.2g} over {sum(PASSES)} images"
    )
    return 0
