"""Numbers and pictures of the averaged generator."""

from distillkit.calling import command

command(__name__)
