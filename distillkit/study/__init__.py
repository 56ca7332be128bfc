"""Studies: many ordinary runs from one file, and one comparison at the end."""

from distillkit.calling import command
from distillkit.study.jobs import Job, jobs
from distillkit.study.plan import Cell, Study, read
from distillkit.study.results import write_results
from distillkit.study.work import look, work

__all__ = ["Cell", "Job", "Study", "jobs", "look", "read", "work", "write_results"]

command(__name__)
