"""Which components are installed, read from metadata alone."""

from distillkit.registry.catalog import Catalog
from distillkit.registry.errors import NotOffered, Unusable
from distillkit.registry.offer import Offer
from distillkit.registry.scan import Issue

__all__ = ["Catalog", "Issue", "NotOffered", "Offer", "Unusable"]
