"""A scene with talks about it as arrays of fixed shapes: what the joint phase draws ahead and trains on."""

from __future__ import annotations

import numpy as np
import torch

from . import scenes, tasks
from .boxes import iou_matrix, to_xyxy
from .packing import Packer
from .pipeline import sample

THINGS, REGIONS, TOKENS = 16, 24, 832
FEATS, READS, LOOKS, PACKS = 48, 64, 160, 2
PER_PACK = ("region_boxes", "region_owner", "region_first", "prefix", "tokens", "positions", "start", "labels", "weights",
            "turn", "kind", "region_at", "talk_feats", "reads", "looks")  # fmt: skip
KINDS = ("short", "long", "refer", "all", "describe", "chat", "where")


def style_of(rng: np.random.Generator, grown: float, without: frozenset[tuple[str, str]]) -> scenes.Style:
    """grown < 1: many small things, for an encoder that has seen nothing yet."""
    if rng.random() > grown:
        top = 0.17 + 0.24 * grown
        return scenes.Style(
            count=(9, 14), sizes={"small": (0.085, 0.165), "large": (0.16, top)}, large_share=0.35,
            long_side=(300, 800), repeat_share=0.1, without=without,
        )  # fmt: skip
    style = scenes.Style(long_side=(300, 1000), repeat_share=0.45, without=without)
    pick = rng.random()
    if pick < 0.3:  # crowded
        style.count, style.overlap = (7, 13), 0.3
    elif pick < 0.4:
        style.overlap = 0.3
    return style


def corners_moved(boxes: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Boxes [N,4] cxcywh as a hand draws them: each side off by up to `share` of the box."""
    off = rng.uniform(-share, share, boxes.shape) * np.tile(boxes[:, 2:], 2)
    lo, hi = boxes[:, :2] - boxes[:, 2:] / 2 + off[:, :2], boxes[:, :2] + boxes[:, 2:] / 2 + off[:, 2:]
    return np.concatenate([(lo + hi) / 2, hi - lo], 1)


def regions_of(true: np.ndarray, rng: np.random.Generator):
    """Regions as a proposer and a user leave them, in random order.

    Returns boxes [R,4], owner [R] (thing; -1 none, -2 unsure), and for each thing the region that fits it best.
    """
    n = len(true)
    sigma = rng.choice([0.008, 0.02, 0.04])
    found = true + rng.normal(0, sigma, true.shape) * np.tile(true[:, 2:], 2)
    if rng.random() < 0.4:  # the user's boxes stand in for the proposals they cover
        drawn = rng.permutation(n)[: int(rng.integers(1, 4))]
        found[drawn] = corners_moved(true[drawn], rng, 0.1)
    more = []
    if rng.random() < 0.3:  # a part of a thing, or beside it
        some = true[rng.integers(0, n, int(rng.integers(1, 4)))]
        more.append(some + rng.normal(0, 0.25, some.shape) * np.tile(some[:, 2:], 2))
    if rng.random() < 0.15 and n > 1:  # two things in one box
        a, b = true[rng.permutation(n)[:2]]
        lo = np.minimum(a[:2] - a[2:] / 2, b[:2] - b[2:] / 2)
        hi = np.maximum(a[:2] + a[2:] / 2, b[:2] + b[2:] / 2)
        more.append(np.concatenate([(lo + hi) / 2, hi - lo])[None])
    if rng.random() < 0.35:  # nothing there
        k = int(rng.integers(1, 5) if rng.random() < 0.7 else rng.integers(5, 20))
        wh = np.exp(rng.uniform(np.log(0.04), np.log(0.5), (k, 2)))
        c = rng.uniform(0.02, 0.98, (k, 2))
        lo, hi = np.maximum(c - wh / 2, 0), np.minimum(c + wh / 2, 1)
        more.append(np.concatenate([(lo + hi) / 2, hi - lo], 1))
    boxes = torch.from_numpy(np.concatenate([found, *more]).clip(0.002, 0.998)).float()
    truth = to_xyxy(torch.from_numpy(true))
    iou = iou_matrix(to_xyxy(boxes), truth)
    alone = torch.cat([torch.ones(n, dtype=torch.bool), iou[n:].max(1).values < 0.6])  # the rest fell to NMS
    boxes = boxes[alone][:REGIONS]
    if rng.random() < 0.9:
        boxes = boxes[torch.from_numpy(rng.permutation(len(boxes)))]
    iou = iou_matrix(to_xyxy(boxes), truth)
    best, owner = iou.max(1)
    owner = torch.where(best > 0.55, owner, torch.where(best < 0.3, -1, -2))
    return boxes, owner, {i: int(iou[:, i].argmax()) for i in range(n)}


def padded(values, shape: tuple[int, ...], fill, dtype) -> np.ndarray:
    """values in the first places of an array; what does not fit is left out."""
    out = np.full(shape, fill, dtype)
    if len(values):
        values = np.asarray(values)[: shape[0]]
        out[: len(values)] = values
    return out


def talks_of(turns: list[tasks.Turn], rng: np.random.Generator) -> list[list[tasks.Turn]]:
    """Most questions stand alone, some follow others."""
    talks: list[list[tasks.Turn]] = []
    for turn in turns:
        if talks and len(talks[-1]) < 3 and rng.random() < 0.2:
            talks[-1].append(turn)
        else:
            talks.append([turn])
    return talks


class Records:
    """make(rng, i) -> arrays; tokens of talks that would not fit are left out, talk by talk.

    growing: scenes until the standard ones; without: pairs that are never drawn or spoken of.
    """

    def __init__(self, packer: Packer, growing: int = 0, without: frozenset[tuple[str, str]] = frozenset()):
        self.packer, self.growing, self.without = packer, growing, without

    def __call__(self, rng: np.random.Generator, i: int) -> dict[str, np.ndarray]:
        torch.set_num_threads(1)
        style = style_of(rng, min(1.0, i / max(1, self.growing)) if self.growing else 1.0, self.without)
        s = sample(scenes.as_filed(scenes.draw(rng, style)), keep_scene=True)
        packs = [self.pack(s, rng) for _ in range(PACKS)]
        return {
            "pixels": s.pixels,
            "ids": s.ids,
            "boxes": padded(s.boxes, (THINGS, 4), 0, np.float32),
            "count": np.array(len(s.boxes), np.int64),
            **{k: padded(getattr(s, k), (THINGS,), 0, np.int64) for k in ("colours", "shapes", "sizes")},
            "masks": padded(s.masks.reshape(-1, 49), (THINGS, 49), 0, np.float16),
            **{k: np.stack([p[k] for p in packs]) for k in packs[0]},
        }

    def pack(self, s, rng: np.random.Generator) -> dict[str, np.ndarray]:
        boxes, owner, order = regions_of(s.boxes, rng)
        first = int(rng.integers(0, 100 - len(boxes))) if rng.random() < 0.12 else 0
        turns = tasks.turns(s.scene, rng, order)
        while True:
            p = self.packer.pack(talks_of(turns, rng), boxes, owner, order, first)
            if len(p["ids"]) <= TOKENS:
                break
            turns.pop()
        in_talks = p["feats"][len(boxes) :]
        reads = [(at, int(o)) for at, o in zip(p["region_at"], owner, strict=True) if o >= -1] + p["reads"]
        kinds = [KINDS.index(t.kind) if k >= 0 else -1 for k in p["turn"] for t in [turns[max(k, 0)]]]
        return {
            "region_boxes": padded(boxes.numpy(), (REGIONS, 4), 0.5, np.float32),
            "region_owner": padded(owner.numpy(), (REGIONS,), -3, np.int64),  # -3: no region
            "region_first": np.array(first, np.int64),
            "prefix": np.array(p["n"], np.int64),
            "tokens": padded(p["ids"], (TOKENS,), 0, np.int64),
            "positions": padded(p["pos"], (TOKENS,), 0, np.int64),
            "start": padded(p["start"], (TOKENS,), TOKENS - 1, np.int64),
            "labels": padded(p["labels"], (TOKENS,), -100, np.int64),
            "weights": padded(p["weights"], (TOKENS,), 0, np.float32),
            "turn": padded(p["turn"], (TOKENS,), -1, np.int64),
            "kind": padded(kinds, (TOKENS,), -1, np.int64),
            "region_at": padded(p["region_at"], (REGIONS,), -1, np.int64),
            "talk_feats": padded(in_talks, (FEATS - REGIONS, 2), -1, np.int64),
            "reads": padded(reads, (READS, 2), -2, np.int64),
            "looks": padded(p["looks"], (LOOKS, 2), -1, np.int64),
        }
