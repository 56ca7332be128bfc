"""Recipes: TOML files -> frozen values, and back."""

from distillkit.recipe.problem import Problem, RecipeProblems
from distillkit.recipe.read import read
from distillkit.recipe.schema import Generator, Recipe, Run

__all__ = ["Generator", "Problem", "Recipe", "RecipeProblems", "Run", "read"]
