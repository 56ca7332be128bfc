"""Lets the test files here import rcm_networks."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
