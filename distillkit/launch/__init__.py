"""One command as several processes: who starts them, watches them and says how it ended. No torch."""

from distillkit.launch.environment import alone, joined, nodes_of_slurm
from distillkit.launch.guest import follow
from distillkit.launch.host import lead
from distillkit.launch.task import TIMEOUT, Outcome, Task

__all__ = ["TIMEOUT", "Outcome", "Task", "alone", "follow", "joined", "lead", "nodes_of_slurm"]
