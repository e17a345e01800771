"""Schedules, running averages, checkpoints of a phase."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import numpy as np
import torch

MEAN = torch.tensor([0.485, 0.456, 0.406])
STD = torch.tensor([0.229, 0.224, 0.225])


def normalise(pixels: np.ndarray) -> torch.Tensor:
    """uint8 [B,H,W,3] -> float [B,3,H,W], ImageNet's mean and std."""
    x = torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255
    return ((x - MEAN) / STD).permute(0, 3, 1, 2).contiguous()


class Clock:
    """Steps done of `total`; learning rate: warm-up, then cosine to 2 %.

    Everything random in a step is drawn from its number and the seed, so state, seed and step
    decide the run: stopped anywhere and resumed, it ends in the same weights bit for bit.
    """

    def __init__(self, total: int, bf16: bool | None = None):
        self.total, self.steps = total, 0
        self.bf16 = bool(int(os.environ.get("GROMA_BF16", "0"))) if bf16 is None else bf16

    def step(self) -> None:
        self.steps += 1

    @property
    def progress(self) -> float:
        return min(1.0, self.steps / self.total)

    @property
    def done(self) -> bool:
        return self.steps >= self.total

    def rng(self, seed: int) -> np.random.Generator:
        """The generator of the step about to be done."""
        return np.random.default_rng([seed, self.steps])

    def rate(self, lr: float, warm: int = 100) -> float:
        cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress))
        return lr * cosine * min(1.0, (self.steps + 1) / warm)

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, d) -> None:
        self.steps = d["steps"]

    def __str__(self) -> str:
        return f"step {self.steps}/{self.total}"


class Budget:
    """Steps or seconds, whichever end first; learning rate: warm-up, then cosine to 2 %."""

    def __init__(self, steps: int, seconds: float | None, warm: int):
        self.total, self.seconds, self.warm, self.steps, self.began = steps, seconds, warm, 0, time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    @property
    def progress(self) -> float:
        return min(1.0, max(self.steps / self.total, self.elapsed / self.seconds if self.seconds else 0.0))

    def rate(self, lr: float, warm: int) -> float:
        return lr * (0.02 + 0.49 * (1 + math.cos(math.pi * self.progress))) * min(1.0, (self.steps + 1) / warm)

    def __str__(self) -> str:
        return f"step {self.steps}, {self.progress:.0%}, {self.elapsed:.0f} s"


class Running:
    def __init__(self, keep: float = 0.98):
        self.keep, self.values = keep, {}

    def add(self, **kw: float) -> None:
        for k, v in kw.items():
            if v == v:
                self.values[k] = self.keep * self.values[k] + (1 - self.keep) * v if k in self.values else v

    def __str__(self) -> str:
        return " ".join(f"{k} {v:.3f}" for k, v in self.values.items())


def save(path: Path, **parts) -> None:
    temp = path.with_suffix(".tmp")
    torch.save({k: v.state_dict() for k, v in parts.items()}, temp)
    temp.replace(path)


def load(path: Path, prefix: str = "", **parts) -> bool:
    """Resume from path if it is there; prefix takes only the tensors under it."""
    if not path.exists():
        return False
    found = torch.load(path, map_location="cpu", weights_only=True)
    for k, v in parts.items():
        s = found[k]
        v.load_state_dict({n[len(prefix) :]: t for n, t in s.items() if n.startswith(prefix)} if prefix else s)
    return True
