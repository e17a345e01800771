"""One picture with its boxes and what is said about it, whatever data set it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..scenes import Scene, squash
from ..tasks import Turn


@dataclass
class Example:
    """Boxes are named by their index in `boxes`, in turns too (see tasks.Turn)."""

    picture: Path | np.ndarray  # a file, or uint8 RGB [H,W,3]
    boxes: np.ndarray  # float32 [N,4] corners in pixels of the upright picture
    talks: list[list[Turn]] = field(default_factory=list)
    head: str = "coco"  # the objectness head that these boxes teach: coco or sa1b
    scene: Scene | None = None  # synthetic: its turns are drawn once the order of the regions is known


@dataclass
class Ready:
    """An example as a step takes it."""

    pixels: np.ndarray  # uint8 [S,S,3], squashed
    boxes: np.ndarray  # float32 [N,4] cxcywh 0..1
    talks: list[list[Turn]]
    head: str
    scene: Scene | None


def pixels_of(picture: Path | np.ndarray) -> np.ndarray:
    """uint8 RGB [H,W,3], turned upright by its EXIF note."""
    if isinstance(picture, np.ndarray):
        return picture
    with Image.open(picture) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def ready(example: Example, side: int, mirror: bool = False) -> Ready:
    """Squashes the picture to side x side; boxes are clipped to it, empty ones are refused. @raises ValueError"""
    image = pixels_of(example.picture)
    h, w = image.shape[:2]
    b = np.clip(example.boxes.reshape(-1, 4) / [w, h, w, h], 0, 1).astype(np.float32)
    if not (np.isfinite(b).all() and (b[:, 2:] > b[:, :2]).all()):
        raise ValueError(f"{example.picture if isinstance(example.picture, Path) else 'picture'}: a box is empty or outside")
    pixels = squash(image, side)
    if mirror:
        pixels = np.ascontiguousarray(pixels[:, ::-1])
        b = np.stack([1 - b[:, 2], b[:, 1], 1 - b[:, 0], b[:, 3]], 1)
    cxcywh = np.concatenate([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]], 1).astype(np.float32)
    scene = example.scene
    if scene is not None:
        scene.image = None
        for t in scene.things:
            t.outer = t.hole = t.rgb = None
    return Ready(pixels, cxcywh, example.talks, example.head, scene)
