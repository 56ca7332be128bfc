"""These tests are for `tox -e device`: without the pretended GPU they are not collected."""

from __future__ import annotations

import sys

collect_ignore_glob = [] if "pretended" in sys.modules else ["test_*.py"]
