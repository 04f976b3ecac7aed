"""numba's `njit`, with compiled functions kept where no change of a module goes unnoticed, and `intrinsic`.

numba keeps them beside a function's own file and makes them again when that changes. It would go on with a
kernel that has an old version of another module's function compiled into it. So they are kept in a folder
that is named after what all modules here say. `NUMBA_CACHE_DIR`, where it is set, is left as it is.
"""

from __future__ import annotations

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

# numba reads the variable once, when it is imported
from numba import njit, types  # noqa: E402
from numba.core import cgutils  # noqa: E402
from numba.extending import intrinsic  # noqa: E402

__all__ = ["cache_folder", "cgutils", "intrinsic", "njit", "types"]
