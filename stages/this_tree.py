"""What every stage imports first: the package comes from the tree that the stage stands in, whatever is installed.

DVC runs queued experiments in copies of the repository, while the installed package stays that of the workspace.
"""

import os
import sys
from pathlib import Path

SRC = str(Path(__file__).resolve().parent.parent / "src")

sys.path.insert(0, SRC)
# For the processes that a stage starts: a fork server imports before it hears of sys.path.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [SRC, os.environ.get("PYTHONPATH")]))
