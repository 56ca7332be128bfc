"""Pages, charts and lines on a screen."""
