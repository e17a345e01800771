"""What the frozen perceiver computed for earlier scenes, kept on disk for replay."""

from __future__ import annotations

import pickle
from pathlib import Path


class Memory:
    """Items numbered from 0, the newest `size` of them offered again.

    A run that resumes at an earlier step finds what was on offer then: `spare` older items stay on disk,
    at least as many as are added between two savings, and newer ones are written again as they come.
    """

    def __init__(self, folder: Path, size: int, spare: int, start: int = 0):
        self.folder, self.size, self.spare, self.count = folder, size, spare, start
        folder.mkdir(parents=True, exist_ok=True)
        if not all(self.path(i).exists() for i in range(max(0, start - size), start)):
            raise FileNotFoundError(f"{folder} does not hold the {size} items before number {start}")

    def path(self, i: int) -> Path:
        return self.folder / f"{i:07d}.pkl"

    def __len__(self) -> int:
        return min(self.size, self.count)

    def add(self, item) -> None:
        temp = self.path(self.count).with_suffix(".tmp")
        temp.write_bytes(pickle.dumps(item))
        temp.replace(self.path(self.count))
        self.count += 1
        self.path(self.count - self.size - self.spare - 1).unlink(missing_ok=True)

    def __getitem__(self, k: int):
        """Item k of the len(self) on offer, oldest first."""
        return pickle.loads(self.path(self.count - len(self) + k).read_bytes())

    def clear(self) -> None:
        """Deletes everything, at the end of a phase."""
        for f in self.folder.glob("*.pkl"):
            f.unlink()
        self.folder.rmdir()
