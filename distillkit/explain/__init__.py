"""What may stand in a recipe, told to people, programs and editors: each key with type, default, bounds, meaning."""

from distillkit.explain.json_schema import recipe_schema
from distillkit.explain.keys import Key, keys_of
from distillkit.explain.tables import Page, engine_pages, gloss, page_of, pages_of
from distillkit.explain.words import as_json, default_text, finite, type_text

__all__ = [
    "Key", "Page", "as_json", "default_text", "engine_pages", "finite", "gloss", "keys_of", "page_of",
    "pages_of", "recipe_schema", "type_text",
]  # fmt: skip
