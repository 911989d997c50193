"""Real guests are also asked over the wire: the tests of the management protocol have the client."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "qmp"))
