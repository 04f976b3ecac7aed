"""Numerics on arrays and strings, without I/O.

Compiled functions are kept between processes in a folder of their own, named after what all modules here
say: numba looks at a function's own file alone, and would go on with a kernel that has an old version of
another module's function compiled into it. `NUMBA_CACHE_DIR`, where it is set, is left as it is.
"""

import hashlib
import os
import tempfile
from pathlib import Path


def cache_folder(sources: Path, above: Path) -> Path:
    """A folder below `above`, another one whenever a module of `sources` changes."""
    told = hashlib.blake2b(digest_size=8)
    for module in sorted(sources.glob("*.py")):
        told.update(module.read_bytes())
    return above / "raysft" / f"numba-{told.hexdigest()}"


def _above() -> Path:
    """The user's folder for caches, or, where there is none to write to, the system's for temporary files."""
    named = os.environ.get("XDG_CACHE_HOME")
    home = Path(named) if named else Path("~/.cache").expanduser()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir())
    return home if os.access(home, os.W_OK) else Path(tempfile.gettempdir())


if "NUMBA_CACHE_DIR" not in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = str(cache_folder(Path(__file__).parent, _above()))
