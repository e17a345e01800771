"""Progress as JSON lines, and its curves as a PNG."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT, LEFT, RIGHT, TOP, FOOT = 900, 260, 70, 20, 36, 30
INK, PALE, RAW, SMOOTH = (40, 40, 40), (225, 225, 225), (220, 190, 150), (170, 80, 20)  # BGR


class Log:
    """Appends one line a report to `log.jsonl`; lines after the step resumed from are dropped."""

    def __init__(self, folder: Path, step: int):
        self.path = folder / "log.jsonl"
        self.rows = [r for r in read(self.path) if r["step"] <= step]
        self.path.write_text("".join(json.dumps(r) + "\n" for r in self.rows))

    def add(self, **row: float) -> None:
        self.rows.append(row)
        with self.path.open("a") as f:
            f.write(json.dumps(row) + "\n")

    def draw(self) -> None:
        draw(self.rows, self.path.with_name("curves.png"))


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def draw(rows: list[dict], path: Path) -> None:
    """One panel a value, over steps: as measured, and its running mean."""
    names = [k for k in (rows[-1] if rows else {}) if k != "step"]
    panels = [panel(name, [(r["step"], r[name]) for r in rows if r.get(name) is not None]) for name in names]
    if panels:
        cv2.imwrite(str(path), np.vstack(panels))


def panel(name: str, points: list[tuple[float, float]]) -> np.ndarray:
    image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    x, y = np.array(points, float).reshape(-1, 2).T
    put(image, name, LEFT, TOP - 14, 0.55)
    if len(x) == 0:
        return image
    lo, hi = float(y.min()), float(y.max())
    hi = hi if hi > lo else lo + 1e-9
    across = LEFT + (x - x[0]) / max(1.0, x[-1] - x[0]) * (WIDTH - LEFT - RIGHT)
    for k in range(5):
        value, at = lo + (hi - lo) * k / 4, int(HEIGHT - FOOT - (HEIGHT - FOOT - TOP) * k / 4)
        cv2.line(image, (LEFT, at), (WIDTH - RIGHT, at), PALE, 1)
        put(image, f"{value:.3g}", 8, at + 4, 0.4)
    put(image, f"step {x[0]:.0f}", LEFT, HEIGHT - 8, 0.4)
    put(image, f"{x[-1]:.0f}", WIDTH - RIGHT - 50, HEIGHT - 8, 0.4)
    for values, colour, thick in ((y, RAW, 1), (smooth(y), SMOOTH, 2)):
        down = HEIGHT - FOOT - (values - lo) / (hi - lo) * (HEIGHT - FOOT - TOP)
        cv2.polylines(image, [np.stack([across, down], 1).round().astype(np.int32)], False, colour, thick, cv2.LINE_AA)
    return image


def smooth(y: np.ndarray) -> np.ndarray:
    """Running mean over a twentieth of the points."""
    k = max(1, len(y) // 20)
    total = np.concatenate([[0], np.cumsum(y)])
    at = np.arange(1, len(y) + 1)
    return (total[at] - total[np.maximum(0, at - k)]) / np.minimum(at, k)


def put(image: np.ndarray, text: str, x: int, y: int, size: float) -> None:
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA)
