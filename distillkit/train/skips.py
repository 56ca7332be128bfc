"""Updates that were skipped because a number was not finite: counted on the device, read where the run pauses."""

from __future__ import annotations

import torch
from torch import Tensor


class Skips:
    """How many in all, and by turn how many in a row, with the numbers of the last of the longest row."""

    def __init__(self, device: torch.device) -> None:
        self.total = torch.zeros((), dtype=torch.int64, device=device)
        self.rows: dict[str, Tensor] = {}  # by turn: skipped in a row now, and at most, int64 [2]
        self.numbers: dict[str, Tensor] = {}  # by turn: those of the update that made the row the longest [k]

    def count(self, turn: str, skipped: Tensor, numbers: Tensor) -> None:
        """Take note of an update; skipped, bool []: whether it was; numbers [k]: what to show of it."""
        row, most = self.rows.get(turn, self.total.new_zeros(2))
        row = (row + 1) * skipped
        # The worst row so far, not the last: `check` comes seldom, and a row may have ended before it does.
        self.numbers[turn] = torch.where(row > most, numbers, self.numbers.get(turn, numbers))
        self.rows[turn] = torch.stack([row, torch.maximum(row, most)])
        self.total = self.total + skipped

    def longest(self, turn: str) -> tuple[int, list[float]]:
        """The most updates skipped in a row, and the numbers of the last of them; waits for the device."""
        return (int(self.rows[turn][1]), self.numbers[turn].tolist()) if turn in self.numbers else (0, [])

    def in_a_row(self) -> dict[str, int]:
        """Updates skipped in a row now, by turn; waits for the device."""
        found = {turn: int(rows[0]) for turn, rows in self.rows.items()}
        return {turn: n for turn, n in found.items() if n}

    def load(self, in_a_row: dict[str, int], total: int) -> None:
        """Go on from a checkpoint, before which all was looked at."""
        self.numbers.clear()
        self.total = torch.full_like(self.total, total)
        self.rows = {turn: torch.full_like(self.total, n).expand(2) for turn, n in in_a_row.items()}
