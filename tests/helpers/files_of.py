"""What a folder holds, for tests that say nothing of it has changed. For tests only."""

import hashlib
from pathlib import Path


def contents(folder):
    """Every file beneath ``folder`` and the sha256 of what it holds; folders too."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for path in sorted(Path(folder).rglob("*"))
    }
