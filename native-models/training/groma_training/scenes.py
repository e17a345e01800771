"""Seeded synthetic scenes with exact boxes, names and referring expressions.

`python -m groma_training.scenes --out DIR --count N --seed S` writes pictures and annotations.json.
"""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from . import backgrounds, shapes
from .vocabulary import COLOUR_NAMES, COLOUR_SPREAD, COLOURS, SHAPES, SIZES

cv2.setNumThreads(1)


@dataclass
class Thing:
    shape: str
    colour: str
    size: str
    box: tuple[float, float, float, float]  # x1 y1 x2 y2, pixels of the picture
    outer: np.ndarray  # [N,2] pixels
    hole: np.ndarray | None
    rgb: np.ndarray

    @property
    def name(self) -> str:
        return f"{self.size} {self.colour} {self.shape}"

    @property
    def caption(self) -> str:
        return f"a {self.name}"

    @property
    def centre(self) -> tuple[float, float]:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclass
class Scene:
    image: np.ndarray  # uint8 RGB [H,W,3]
    things: list[Thing]
    file_format: str = "jpg"
    quality: int = 95
    size: tuple[int, int] = field(default=(0, 0))  # width, height
    without: frozenset[tuple[str, str]] = frozenset()  # (colour, shape) pairs that such scenes never hold


@dataclass
class Style:
    """What to draw; the defaults are the standard scenes."""

    count: tuple[int, int] = (3, 9)
    sizes: dict[str, tuple[float, float]] = field(default_factory=lambda: dict(SIZES))
    large_share: float = 0.45
    overlap: float = 0.15  # of the smaller box
    long_side: tuple[int, int] = (300, 1600)
    square_share: float = 0.25
    repeat_share: float = 0.3  # chance that a thing repeats the name of an earlier one
    without: frozenset[tuple[str, str]] = frozenset()  # (colour, shape) pairs that are not drawn


FAST = Style(long_side=(300, 900))  # training: the same look at 448 px, cheaper to draw


def _canvas(style: Style, rng: np.random.Generator) -> tuple[int, int]:
    lo, hi = style.long_side
    long = int(np.exp(rng.uniform(np.log(lo), np.log(hi))))
    if rng.random() < style.square_share:
        return long, long
    aspect = rng.choice([4 / 3, 3 / 2, 16 / 9, rng.uniform(1.0, 1.9)])
    short = max(lo, int(long / aspect))
    return (long, short) if rng.random() < 0.6 else (short, long)


def _overlap(a, b) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    small = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return w * h / small


def _shade(colour: str, rng: np.random.Generator) -> np.ndarray:
    off = rng.integers(-COLOUR_SPREAD, COLOUR_SPREAD + 1, 3)
    return np.clip(np.array(COLOURS[colour]) + off, 0, 255).astype(np.float32)


def _mask(outer, hole, x0: int, y0: int, w: int, h: int, mode: int) -> np.ndarray:
    """Coverage [h,w] 0..1 of an outline on the pixel window at x0, y0; mode picks the anti-aliasing."""
    k = mode if mode > 1 else 1
    flags = cv2.LINE_AA if mode == 1 else cv2.LINE_8
    m = np.zeros((h * k, w * k), np.uint8)

    def pts(p):
        return np.round(((p - [x0, y0]) * k - 0.5) * 256).astype(np.int32)[None]

    cv2.fillPoly(m, pts(outer), 255, flags, 8)
    if hole is not None:
        cv2.fillPoly(m, pts(hole), 0, flags, 8)
    if k > 1:
        m = cv2.resize(m, (w, h), interpolation=cv2.INTER_AREA)
    return m.astype(np.float32) / 255


def _paint(canvas: np.ndarray, t: Thing, mode: int, look: str, rng: np.random.Generator) -> None:
    height, width = canvas.shape[:2]
    x0, y0 = max(0, int(t.box[0]) - 2), max(0, int(t.box[1]) - 2)
    x1, y1 = min(width, int(t.box[2]) + 3), min(height, int(t.box[3]) + 3)
    w, h = x1 - x0, y1 - y0
    m = _mask(t.outer, t.hole, x0, y0, w, h, mode)[..., None]
    fill: np.ndarray = t.rgb
    if look == "shaded":
        ramp = np.linspace(-1, 1, h, dtype=np.float32)[:, None, None] * rng.uniform(-10, 10)
        fill = np.clip(t.rgb + ramp, 0, 255)
    elif look == "grainy":
        fill = np.clip(t.rgb + backgrounds.grain(h, w, rng) * rng.uniform(2, 7), 0, 255)
    patch = canvas[y0:y1, x0:x1]
    patch += (fill - patch) * m
    if look == "outlined":
        edge = np.zeros((h, w), np.uint8)
        side = max(t.box[2] - t.box[0], t.box[3] - t.box[1])
        thick = max(1, int(side * rng.uniform(0.008, 0.03)))
        for p in (t.outer, t.hole):
            if p is not None:
                q = np.round((p - [x0, y0] - 0.5) * 256).astype(np.int32)[None]
                cv2.polylines(edge, q, True, 255, thick, cv2.LINE_AA, 8)
        inside = (edge.astype(np.float32) / 255)[..., None] * m  # inward: boxes stay tight
        patch += (t.rgb * rng.uniform(0.45, 0.8) - patch) * inside


def draw(rng: np.random.Generator, style: Style | None = None) -> Scene:
    style = style or Style()
    width, height = _canvas(style, rng)
    short = min(width, height)
    img = backgrounds.background(height, width, str(rng.choice(backgrounds.KINDS)), rng)
    things: list[Thing] = []
    target = int(rng.integers(style.count[0], style.count[1] + 1))
    mode = int(rng.choice([0, 1, 1, 2, 3]))
    plain = rng.random() < 0.6
    tries = 0
    while len(things) < target and tries < 40 * target:
        tries += 1
        if things and rng.random() < style.repeat_share:
            twin = things[int(rng.integers(len(things)))]
            shape, colour, size = twin.shape, twin.colour, twin.size
            other = rng.random()
            if other < 0.2:
                colour = str(rng.choice(COLOUR_NAMES))
            elif other < 0.4:
                shape = str(rng.choice(SHAPES))
        else:
            shape, colour = str(rng.choice(SHAPES)), str(rng.choice(COLOUR_NAMES))
            size = "large" if rng.random() < style.large_share else "small"
        if (colour, shape) in style.without:
            continue
        outer, hole = shapes.outline(shape, rng)
        lo, hi = style.sizes[size]
        side = rng.uniform(lo, hi) * short
        ext = outer.max(0) - outer.min(0)
        scale = side / ext.max()
        bw, bh = ext * scale
        if bw + 4 > width or bh + 4 > height:
            continue
        x, y = rng.uniform(1, width - 1 - bw), rng.uniform(1, height - 1 - bh)
        box = (x, y, x + bw, y + bh)
        if any(_overlap(box, t.box) > style.overlap for t in things):
            continue
        rgb = _shade(colour, rng)
        xa, ya, xb, yb = (int(v) for v in box)
        around = img[max(0, ya - 3) : yb + 4, max(0, xa - 3) : xb + 4].reshape(-1, 3)
        if np.abs(around.mean(0) - rgb).sum() < 70:  # must stand out
            continue
        move = np.array([x, y]) - outer.min(0) * scale
        t = Thing(
            shape, colour, size, box, outer * scale + move,
            None if hole is None else hole * scale + move, rgb,
        )  # fmt: skip
        look = "plain" if plain else str(rng.choice(["plain", "shaded", "grainy", "outlined"]))
        _paint(img, t, mode, look, rng)
        things.append(t)
    if rng.random() < 0.4:
        img += backgrounds.grain(height, width, rng) * rng.uniform(1, 7)
    if rng.random() < 0.15:
        img = cv2.GaussianBlur(img, (0, 0), rng.uniform(0.4, 1.1))
    out = np.clip(img + 0.5, 0, 255).astype(np.uint8)
    fmt = "jpg" if rng.random() < 0.7 else "png"
    return Scene(out, things, fmt, int(rng.integers(60, 97)), (width, height), style.without)


def encode(scene: Scene, fmt: str | None = None) -> bytes:
    fmt = fmt or scene.file_format
    out = io.BytesIO()
    if fmt == "jpg":
        Image.fromarray(scene.image).save(out, "JPEG", quality=scene.quality)
    else:
        Image.fromarray(scene.image).save(out, "PNG")
    return out.getvalue()


def as_filed(scene: Scene) -> Scene:
    """The scene as read back from its file: JPEG's losses included."""
    if scene.file_format == "jpg":
        ok, buf = cv2.imencode(".jpg", scene.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, scene.quality])
        scene.image = np.ascontiguousarray(cv2.imdecode(buf, cv2.IMREAD_COLOR)[..., ::-1])
    return scene


def squash(image: np.ndarray, side: int = 448) -> np.ndarray:
    """Pillow's antialiased bicubic to side x side, as the released demo does; uint8."""
    return np.asarray(Image.fromarray(image).resize((side, side), Image.BICUBIC))


def instance_map(scene: Scene, side: int = 448) -> np.ndarray:
    """uint8 [side,side]: 0 background, 1 + index of the topmost thing, on the squashed picture."""
    sx, sy = side / scene.size[0], side / scene.size[1]
    ids = np.zeros((side, side), np.uint8)
    for i, t in enumerate(scene.things):
        x0, y0 = max(0, int(t.box[0] * sx) - 1), max(0, int(t.box[1] * sy) - 1)
        x1, y1 = min(side, int(t.box[2] * sx) + 2), min(side, int(t.box[3] * sy) + 2)
        s = np.array([sx, sy])
        m = _mask(t.outer * s, None if t.hole is None else t.hole * s, x0, y0, x1 - x0, y1 - y0, 1)
        ids[y0:y1, x0:x1][m > 0.5] = i + 1
    return ids


def boxes_cxcywh(scene: Scene) -> np.ndarray:
    """Boxes [N,4] as centre, width, height in 0..1."""
    w, h = scene.size
    b = np.array([t.box for t in scene.things], np.float32).reshape(-1, 4) / [w, h, w, h]
    return np.concatenate([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]], 1).astype(np.float32)


PLACES = (
    ("on the left", 0, min), ("on the right", 0, max), ("at the top", 1, min), ("at the bottom", 1, max)
)  # fmt: skip


def expressions(scene: Scene, margin: float = 0.0) -> list[tuple[str, int]]:
    """Every (referring expression, thing index) of the standard kind that is unambiguous.

    margin: how far (share of the side) the outermost centre must lead the next of its kind.
    """
    kinds: dict[str, list[int]] = {}
    for i, t in enumerate(scene.things):
        kinds.setdefault(t.name, []).append(i)
    found = []
    for name, members in kinds.items():
        if len(members) == 1:
            found.append((f"the {name}", members[0]))
            continue
        for words, axis, pick in PLACES:
            at = [scene.things[i].centre[axis] / scene.size[axis] for i in members]
            best = at.index(pick(at))
            if all(j == best or abs(a - at[best]) > margin for j, a in enumerate(at)):
                found.append((f"the {name} {words}", members[best]))
    return found


def coco(scenes: list[tuple[str, Scene]]) -> dict:
    """COCO-form truth: bbox xywh in pixels, category = shape, plus caption and expressions."""
    images, annotations = [], []
    for n, (name, s) in enumerate(scenes, 1):
        images.append({"id": n, "file_name": name, "width": s.size[0], "height": s.size[1]})
        refs: dict[int, list[str]] = {}
        for text, i in expressions(s):
            refs.setdefault(i, []).append(text)
        for i, t in enumerate(s.things):
            x1, y1, x2, y2 = (round(float(v), 2) for v in t.box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": n,
                    "category_id": SHAPES.index(t.shape) + 1,
                    "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
                    "area": round((x2 - x1) * (y2 - y1), 2),
                    "iscrowd": 0,
                    "caption": t.caption,
                    "attributes": {"colour": t.colour, "size": t.size, "shape": t.shape},
                    "referring": refs.get(i, []),
                }
            )
    cats = [{"id": i + 1, "name": s} for i, s in enumerate(SHAPES)]
    return {"images": images, "annotations": annotations, "categories": cats}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--count", type=int, default=12)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--long-side", type=int, nargs=2, default=(300, 1600))
    p.add_argument("--jpeg", action="store_true", help="write every picture as JPEG")
    p.add_argument("--overlap", type=float, default=0.15, help="harder scenes: more")
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    style = Style(long_side=tuple(a.long_side), overlap=a.overlap)
    done = []
    for i in range(a.count):
        s = draw(np.random.default_rng([a.seed, i]), style)
        fmt = "jpg" if a.jpeg else s.file_format
        name = f"scene{i:03d}.{fmt}"
        (a.out / name).write_bytes(encode(s, fmt))
        done.append((name, s))
    (a.out / "annotations.json").write_text(json.dumps(coco(done), indent=1) + "\n")


if __name__ == "__main__":
    main()
