"""Muted backgrounds: plain, gradient, soft noise, checks, photo-like texture."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

KINDS = ("plain", "gradient", "noise", "checks", "texture")
_NOISE = np.random.default_rng(7).standard_normal((700, 700, 3)).astype(np.float32)


def grain(h: int, w: int, rng: np.random.Generator) -> np.ndarray:
    """Unit Gaussian noise [h,w,3], tiled from one sheet at a random place (cheap)."""
    y, x = rng.integers(0, 700, 2)
    sheet = np.roll(_NOISE, (int(y), int(x)), (0, 1))
    return np.tile(sheet, (h // 700 + 1, w // 700 + 1, 1))[:h, :w]


def _blobs(h: int, w: int, cell: float, rng: np.random.Generator, channels: int = 3) -> np.ndarray:
    """Smooth noise with features of about `cell` pixels, [h,w,channels], about unit variance."""
    gh, gw = max(2, int(h / cell) + 2), max(2, int(w / cell) + 2)
    small = rng.standard_normal((gh, gw, channels)).astype(np.float32)
    big = cv2.resize(small, (w, h), interpolation=cv2.INTER_CUBIC if cell < 60 else cv2.INTER_LINEAR)
    return big.reshape(h, w, channels)


def muted(rng: np.random.Generator) -> np.ndarray:
    """A colour of low saturation that stands apart from black and white, RGB float."""
    light = rng.uniform(0.28, 0.84) if rng.random() < 0.85 else rng.uniform(0.2, 0.92)
    rgb = colorsys.hls_to_rgb(rng.random(), light, rng.uniform(0, 0.32) * rng.random() ** 0.5)
    return np.array(rgb, np.float32) * 255


def background(h: int, w: int, kind: str, rng: np.random.Generator) -> np.ndarray:
    """float32 [h,w,3], 0..255."""
    base = muted(rng)
    near = np.clip(base + rng.uniform(-1, 1) * 45 + rng.uniform(-14, 14, 3), 35, 238).astype(np.float32)
    if kind == "plain":
        return np.broadcast_to(base, (h, w, 3)).astype(np.float32).copy()
    yy = np.linspace(-1, 1, h, dtype=np.float32)[:, None]
    xx = np.linspace(-1, 1, w, dtype=np.float32)[None, :]
    if kind == "gradient":
        if rng.random() < 0.3:
            cx, cy = rng.uniform(-0.8, 0.8, 2)
            t = np.clip(np.hypot(yy - cy, xx - cx) / 1.6, 0, 1)
        else:
            a = rng.uniform(0, 2 * np.pi)
            t = np.clip((yy * np.sin(a) + xx * np.cos(a)) / 2.4 + 0.5, 0, 1)
        return (base + t[..., None] * (near - base)).astype(np.float32)
    if kind == "noise":
        img = base + _blobs(h, w, rng.uniform(3, 60), rng, int(rng.choice([1, 3]))) * rng.uniform(3, 11)
        return img.astype(np.float32)
    if kind == "checks":
        cell = max(6, int(min(h, w) * rng.uniform(0.03, 0.16)))
        dy, dx = rng.integers(0, 2 * cell, 2)
        ys, xs = (np.arange(h) + dy) // cell, (np.arange(w) + dx) // cell
        style = rng.random()
        if style < 0.6:
            t = (ys[:, None] + xs[None, :]) % 2
        elif style < 0.8:
            t = np.broadcast_to((ys % 2)[:, None], (h, w))
        else:
            t = np.broadcast_to((xs % 2)[None, :], (h, w))
        other = np.clip(base + rng.choice([-1, 1]) * rng.uniform(8, 34), 35, 235).astype(np.float32)
        return np.where(t[..., None] > 0, base, other).astype(np.float32)
    # texture: octaves of noise in brightness and a little colour, perhaps stretched like wood or sky
    stretch = rng.choice([1.0, 1.0, rng.uniform(3, 12)])
    img = np.broadcast_to(base, (h, w, 3)).astype(np.float32).copy()
    cell = min(h, w) * rng.uniform(0.15, 0.5)
    amp = rng.uniform(7, 17)
    for _ in range(int(rng.integers(3, 6))):
        sw = max(8, int(w / stretch))
        n = _blobs(h, sw, max(2.0, cell), rng, 1)[..., 0]
        if sw != w:
            n = cv2.resize(n, (w, h), interpolation=cv2.INTER_LINEAR)
        img += n[..., None] * amp
        cell, amp = cell / rng.uniform(2, 3.2), amp * rng.uniform(0.5, 0.8)
    img += _blobs(h, w, min(h, w) * 0.3, rng) * 4
    return np.clip(img, 38, 232)
