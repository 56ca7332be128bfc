"""What a recipe will cost, before it runs: its own steps on torch's "meta" device, where tensors have shapes alone."""

from distillkit.calling import command

command(__name__)
