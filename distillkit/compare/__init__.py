"""Runs side by side: groups that differ in their seed only, their curves, and who gets where first."""

from distillkit.calling import command
from distillkit.compare.comparison import Comparison, compare, compare_rows
from distillkit.compare.groups import Group, groups
from distillkit.compare.matrix import markdown
from distillkit.compare.page import write_page
from distillkit.compare.runs import Run

__all__ = ["Comparison", "Group", "Run", "compare", "compare_rows", "groups", "markdown", "write_page"]

command(__name__)
