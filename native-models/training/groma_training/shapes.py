"""Outlines of the eight shapes, with the variety other programs would draw them in.

An outline is (outer [N,2], hole [M,2] or None) around the origin, radius about 1, y down.
"""

from __future__ import annotations

import numpy as np


def _regular(n: int, start: float = -np.pi / 2) -> np.ndarray:
    a = start + np.arange(n) * 2 * np.pi / n
    return np.stack([np.cos(a), np.sin(a)], 1)


def _circle(r: float = 1.0) -> np.ndarray:
    return _regular(48) * r


def _star(inner: float) -> np.ndarray:
    a = -np.pi / 2 + np.arange(10) * np.pi / 5
    r = np.where(np.arange(10) % 2 == 0, 1.0, inner)[:, None]
    return np.stack([np.cos(a), np.sin(a)], 1) * r


def _cross(half: float) -> np.ndarray:
    t, o = half, 1.0
    return np.array(
        [(-t, -o), (t, -o), (t, -t), (o, -t), (o, t), (t, t),
         (t, o), (-t, o), (-t, t), (-o, t), (-o, -t), (-t, -t)], float
    )  # fmt: skip


def _heart(kind: int, rng: np.random.Generator) -> np.ndarray:
    if kind == 0:  # the classic trigonometric heart
        t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        x = 16 * np.sin(t) ** 3
        y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
        p = np.stack([x, y * rng.uniform(0.92, 1.1)], 1)
    elif kind == 1:  # two half circles on a triangle
        a = np.linspace(np.pi, 2 * np.pi, 20)
        r = 0.5
        left = np.stack([-r + r * np.cos(a), r * np.sin(a)], 1)
        right = np.stack([r + r * np.cos(a), r * np.sin(a)], 1)
        p = np.concatenate([left, right, [(0.0, rng.uniform(1.0, 1.35))]])
    elif kind == 2:  # two full circles and the tangent lines to the tip: a rotated square's heart
        a1 = np.linspace(np.pi * 0.75, np.pi * 1.75, 24)
        a2 = np.linspace(np.pi * 1.25, np.pi * 2.25, 24)
        c, r = 0.5, np.sqrt(0.5)
        left = np.stack([-c + r * np.cos(a1), r * np.sin(a1)], 1)
        right = np.stack([c + r * np.cos(a2), r * np.sin(a2)], 1)
        p = np.concatenate([left, right, [(0.0, 1.0)]])
    else:  # cubic Bezier lobes
        dip, shoulder, top = rng.uniform(0.18, 0.36), rng.uniform(0.95, 1.25), rng.uniform(-0.3, 0.0)
        s = np.linspace(0, 1, 28)[:, None]
        a, b = np.array([0, dip]), np.array([rng.uniform(0.25, 0.5), top - 0.1])
        c, d = np.array([shoulder, top]), np.array([1.0, 0.45])
        one = (1 - s) ** 3 * a + 3 * (1 - s) ** 2 * s * b + 3 * (1 - s) * s**2 * c + s**3 * d
        a, b = d, np.array([0.95, 0.85])
        c, d = np.array([0.45, 1.2]), np.array([0.0, rng.uniform(1.45, 1.75)])
        two = (1 - s) ** 3 * a + 3 * (1 - s) ** 2 * s * b + 3 * (1 - s) * s**2 * c + s**3 * d
        half = np.concatenate([one, two[1:]])
        p = np.concatenate([half, half[::-1][1:-1] * [-1, 1]])
    p = p - (p.max(0) + p.min(0)) / 2
    return p / np.abs(p).max()


def _round_corners(p: np.ndarray, share: float) -> np.ndarray:
    """Cut each corner with a small quadratic curve; share of the edge, < 0.5."""
    before, after = np.roll(p, 1, 0), np.roll(p, -1, 0)
    a, b = p + (before - p) * share, p + (after - p) * share
    s = np.linspace(0, 1, 5)[None, :, None]
    q = (1 - s) ** 2 * a[:, None] + 2 * s * (1 - s) * p[:, None] + s**2 * b[:, None]
    return q.reshape(-1, 2)


def _rotate(p: np.ndarray, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return p @ np.array([[c, s], [-s, c]])


def outline(shape: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
    """A random outline of the shape, in any rotation that keeps its name true."""
    hole = None
    turn = rng.uniform(0, 2 * np.pi)
    upright = rng.random() < 0.4
    if shape == "circle":
        return _circle(), None
    if shape == "ring":
        return _circle(), _circle(rng.uniform(0.48, 0.62))
    if shape == "square":
        p = _regular(4, np.pi / 4)
        turn = 0.0 if upright else rng.uniform(-np.pi / 4, np.pi / 4)
    elif shape == "triangle":
        p = _regular(3)
        turn = 0.0 if upright else turn
    elif shape == "hexagon":
        p = _regular(6)
        turn = rng.choice([0.0, np.pi / 6]) if upright else turn
    elif shape == "star":
        p = _star(rng.uniform(0.36, 0.54))
        turn = 0.0 if upright else turn
    elif shape == "cross":
        p = _cross(rng.uniform(0.2, 0.42))
        turn = 0.0 if upright or rng.random() < 0.4 else rng.uniform(-np.pi / 4, np.pi / 4)
    elif shape == "heart":
        p = _heart(int(rng.integers(4)), rng)
        turn = 0.0 if upright else rng.uniform(-0.6, 0.6) if rng.random() < 0.6 else turn
    else:
        raise ValueError(shape)
    if shape in ("square", "triangle", "star", "cross") and rng.random() < 0.15:
        p = _round_corners(p, rng.uniform(0.03, 0.09))
    return _rotate(p, turn), hole
