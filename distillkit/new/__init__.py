"""New plugins: a complete distribution for any kind of component, from text templates."""

from distillkit.new.generate import New, generate

__all__ = ["New", "generate"]
