"""Data sets mixed by weight; what comes at a place depends on seed and place alone."""

from __future__ import annotations

import sys
from xml.etree import ElementTree

import numpy as np

from .config import Source
from .example import Ready, ready
from .readers import READERS

PATIENCE = 20  # damaged items in a row before a run stops


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
        """The next example, by pipeline.Pipeline's rules (a function of rng); damaged ones are passed over and named."""
        for _ in range(PATIENCE):
            reader = self.readers[int(rng.choice(len(self.readers), p=self.shares))]
            i, mirror = int(rng.integers(len(reader))), bool(rng.random() < self.flip)
            try:
                return ready(reader.example(i, rng), self.side, mirror)
            except (OSError, ValueError, ElementTree.ParseError) as error:
                print(f"{type(reader).__name__} item {i} is passed over: {error}", file=sys.stderr, flush=True)
        raise ValueError(f"{PATIENCE} damaged items one after the other")
