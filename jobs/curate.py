"""Run a recipe up to its curated set, without training, as the entry point of a Ray job.

ray job submit --working-dir . -- python jobs/curate.py RECIPE [options of `raysft curate`]
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("raysft") is None:  # the uploaded working directory is a checkout, not an installation
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from raysft.cli import main

if __name__ == "__main__":
    sys.exit(main(["curate", *sys.argv[1:]]))
