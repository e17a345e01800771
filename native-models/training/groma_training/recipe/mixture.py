"""Data sets mixed by weight; what comes at a place depends on seed and place alone."""

from __future__ import annotations

import numpy as np

from .config import Source
from .example import Ready, ready
from .readers import READERS


class Mixture:
    def __init__(self, sources: list[Source], side: int, flip: float = 0.0):
        self.side, self.flip = side, flip
        self.readers = []
        for s in sources:
            if s.format not in READERS:
                raise ValueError(f"no data format is called {s.format}; there are {', '.join(READERS)}")
            reader = READERS[s.format](**s.options)
            if len(reader) == 0:
                raise ValueError(f"{s.format}: nothing to train on in {s.options}")
            self.readers.append(reader)
        weights = np.array([s.weight for s in sources])
        self.shares = weights / weights.sum()

    def draw(self, rng: np.random.Generator, progress: float = 0.0) -> Ready:
        """The next example, by pipeline.Pipeline's rules (a function of rng)."""
        reader = self.readers[int(rng.choice(len(self.readers), p=self.shares))]
        example = reader.example(int(rng.integers(len(reader))), rng)
        return ready(example, self.side, mirror=bool(rng.random() < self.flip))
