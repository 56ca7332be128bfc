"""Images in and out: packing, sheets, statistics."""
