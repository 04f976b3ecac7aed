"""Train on the curated set that a recipe's run has sealed, as the entry point of a Ray job.

ray job submit --working-dir . -- python jobs/train.py RECIPE [options of `raysft train`]
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("raysft") is None:  # the uploaded working directory is a checkout, not an installation
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from raysft.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
