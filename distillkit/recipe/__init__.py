"""Recipes: TOML files -> frozen values, and back."""

from distillkit.recipe.fingerprint import choices, fingerprint, used_distributions, used_numerics
from distillkit.recipe.graph import chain, checkpoint, inherited, with_checkpoint
from distillkit.recipe.problem import Problem, RecipeProblems
from distillkit.recipe.read import choice_from_table, read
from distillkit.recipe.schema import Generator, Recipe, Run
from distillkit.recipe.tiny import tiny
from distillkit.recipe.write import table_of, to_toml

__all__ = [
    "Generator", "Problem", "Recipe", "RecipeProblems", "Run", "chain", "checkpoint",
    "choice_from_table", "choices", "fingerprint", "inherited", "read", "table_of", "tiny", "to_toml",
    "used_distributions", "used_numerics", "with_checkpoint",
]  # fmt: skip
