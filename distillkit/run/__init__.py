"""Recipes to finished runs."""

from distillkit.calling import command

command(__name__)
