"""Scenes drawn by worker processes into shared memory, each used several times before it is replaced."""

from __future__ import annotations

import mmap
import multiprocessing as mp
import os
import time
import traceback
from collections.abc import Callable

import numpy as np
import torch


class Pool:
    """Records make(rng, i) number 0, 1, 2, ... of fixed shapes; record i depends on seed and i alone.

    The last `kept` of the records that a step may see are on offer; `ahead` more are drawn meanwhile.
    The memory is anonymous and shared by fork, so a pool is made before anything that does not survive a fork.
    """

    def __init__(self, make: Callable[[np.random.Generator, int], dict[str, np.ndarray]], seed: int, kept: int, ahead: int,
                 workers: int):  # fmt: skip
        self.make, self.seed, self.kept, self.ahead, self.workers = make, seed, kept, ahead, workers
        self.capacity = kept + ahead
        example = make(np.random.default_rng([seed, 0]), 0)
        self.arrays = {k: self._shared((self.capacity, *v.shape), v.dtype) for k, v in example.items()}
        self.done = self._shared((workers,), np.dtype(np.int64))  # records drawn, by worker
        self.limit = self._shared((1,), np.dtype(np.int64))  # records under this may be drawn
        self.limit[0] = self.capacity
        context = mp.get_context("fork")
        self.failures = context.Queue()
        self.processes = [context.Process(target=self._work, args=(k,), daemon=True) for k in range(workers)]
        for process in self.processes:
            process.start()

    @staticmethod
    def _shared(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        memory = mmap.mmap(-1, max(1, int(np.prod(shape)) * dtype.itemsize))
        return np.frombuffer(memory, dtype)[: int(np.prod(shape))].reshape(shape)

    def _work(self, worker: int) -> None:
        os.nice(5)
        try:
            for i in range(worker, 2**62, self.workers):
                while i >= self.limit[0]:
                    time.sleep(0.01)
                for key, value in self.make(np.random.default_rng([self.seed, i]), i).items():
                    self.arrays[key][i % self.capacity] = value
                self.done[worker] += 1
        except Exception:
            self.failures.put(traceback.format_exc())

    @property
    def drawn(self) -> int:
        """All records under this number are there."""
        return int(min(k + n * self.workers for k, n in enumerate(self.done)))

    def take(self, rng: np.random.Generator, count: int, seen: int) -> dict[str, torch.Tensor]:
        """`count` records out of the `kept` newest of the first `seen`; waits until those are drawn."""
        self.limit[0] = seen + self.ahead
        while self.drawn < seen:
            if not self.failures.empty():
                raise RuntimeError(f"a record could not be made:\n{self.failures.get()}")
            if not all(process.is_alive() for process in self.processes):
                raise RuntimeError("a process that makes the records ended")
            time.sleep(0.005)
        slots = torch.from_numpy(rng.integers(max(0, seen - self.kept), seen, count) % self.capacity)
        return {key: torch.from_numpy(array).index_select(0, slots) for key, array in self.arrays.items()}

    def close(self) -> None:
        for process in self.processes:
            process.terminate()
