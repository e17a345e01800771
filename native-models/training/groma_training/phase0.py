"""Phase 0: the encoder alone, on 168 and 224 px windows, with dense heads that are thrown away.

Every 14 px patch tells the colour and shape of the thing it lies on, its box and the thing's 7x7
coverage of its own box; early layers tell easier things that lead there: which of the patch's own
2 px cells the thing covers, and how much of each of the 9x9 patches around. Small things come first.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import scenes
from .boxes import giou_xyxy
from .optimisers import Optimisers, named
from .pipeline import Pipeline, sample
from .schedule import Clock, Running, normalise, save, load
from .vision_encoder import VisionEncoder

WINDOWS = 4  # windows taken from each scene
SCENES = 4  # scenes in a batch: 16 windows


def make(rng: np.random.Generator, progress: float):
    grow = min(1.0, progress / 0.55)
    top = 0.17 + 0.24 * grow
    style = scenes.Style(
        count=(12 - int(5 * grow), 18 - int(7 * grow)),
        sizes={"small": (0.085, 0.165), "large": (0.16, top)},
        large_share=0.35 + 0.2 * grow,
        long_side=(300, 800),
        repeat_share=0.1,
    )
    return sample(scenes.as_filed(scenes.draw(rng, style)))


class DenseHeads(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.norm = nn.LayerNorm(c)
        self.kind = nn.Linear(c, 18)  # 9 colours, 9 shapes; 8 = background
        self.box = nn.Sequential(nn.Linear(c, c), nn.GELU(), nn.Linear(c, 4))
        self.mid = nn.LayerNorm(c)
        self.mask = nn.Linear(c, 49)
        self.own_norm, self.own = nn.LayerNorm(c), nn.Linear(c, 49)
        self.near_norms = nn.ModuleList(nn.LayerNorm(c) for _ in range(2))
        self.near = nn.ModuleList(nn.Linear(c, 81) for _ in range(2))

    def forward(self, states):
        x = self.norm(states[-1][:, 1:])
        mask = self.mask(self.mid(states[-2][:, 1:]))
        own = self.own(self.own_norm(states[1][:, 1:]))
        near = [f(n(states[k][:, 1:])) for f, n, k in zip(self.near, self.near_norms, (2, 3), strict=True)]
        return self.kind(x), self.box(x), mask, own, near


def targets(s, r0: int, c0: int, patches: int):
    """Per-patch truth of one window: owner index (-1 = none), whether well in view."""
    side = patches * 14
    ids = s.ids[r0 * 14 : r0 * 14 + side, c0 * 14 : c0 * 14 + side]
    cells = ids.reshape(patches, 14, patches, 14).transpose(0, 2, 1, 3).reshape(patches**2, 196)
    n = len(s.boxes)
    counts = np.stack([(cells == k).sum(1) for k in range(1, n + 1)], 1)  # [P,n]
    owner = counts.argmax(1)
    most = counts.max(1)
    owner = np.where(most >= 40, owner, -1)  # at least a fifth of the patch
    unsure = (most >= 12) & (most < 40)
    b = s.boxes * 448
    x1, y1 = b[:, 0] - b[:, 2] / 2 - c0 * 14, b[:, 1] - b[:, 3] / 2 - r0 * 14
    x2, y2 = b[:, 0] + b[:, 2] / 2 - c0 * 14, b[:, 1] + b[:, 3] / 2 - r0 * 14
    seen = (np.clip(x2, 0, side) - np.clip(x1, 0, side)) * (np.clip(y2, 0, side) - np.clip(y1, 0, side))
    share = seen / np.maximum(1e-6, b[:, 2] * b[:, 3])
    whole = np.where(owner >= 0, share[np.maximum(owner, 0)] > 0.72, False)
    return owner, unsure, whole, np.stack([x1, y1, x2, y2], 1)


def surroundings(s, owner, r0: int, c0: int, patches: int):
    """Per patch of a window: coverage by its owner of its own 7x7 cells and of the 9x9 patches around."""
    side = patches * 14
    ids = s.ids[r0 * 14 : r0 * 14 + side, c0 * 14 : c0 * 14 + side]
    cells = ids.reshape(patches, 7, 2, patches, 7, 2).transpose(0, 3, 1, 4, 2, 5).reshape(patches**2, 49, 4)
    own = (cells == (owner + 1)[:, None, None]).mean(2).astype(np.float32)
    n = len(s.boxes)
    cover = np.zeros((n, patches + 8, patches + 8), np.float32)
    tiles = ids.reshape(patches, 14, patches, 14)
    for k in range(n):
        cover[k, 4:-4, 4:-4] = (tiles == k + 1).mean((1, 3))
    view = np.lib.stride_tricks.sliding_window_view(cover, (9, 9), (1, 2))  # [n,patches,patches,9,9]
    rows, cols = np.divmod(np.arange(patches**2), patches)
    return own, view[np.maximum(owner, 0), rows, cols].reshape(-1, 81)


def run(encoder: VisionEncoder, out, steps: int, seed: int, lr: float = 1e-3) -> None:
    heads = DenseHeads(encoder.cfg.hidden_size)
    opt = Optimisers(named(encoder) + [(f"attributes.{n}", p, k) for n, p, k in named(heads)], lr, 0.01)
    clock = Clock(steps)
    load(out / "phase0.pt", encoder=encoder, heads=heads, opt=opt, clock=clock)
    feed = Pipeline(make, seed, start=clock.steps * SCENES, total=steps * SCENES)
    avg = Running()
    while not clock.done:
        rng = clock.rng(seed + 1)
        patches = 12 if clock.progress < 0.5 else 16  # a window's side
        half = (32 - patches) // 2
        py, px = np.divmod(np.arange(patches**2), patches)
        centres = torch.tensor(np.stack([px, py, px, py], 1) * 14.0 + 7, dtype=torch.float32)
        pix, wins, own, uns, who, box, col, shp, msk, cell, near = ([] for _ in range(11))
        for s in feed.take(SCENES):
            for k in range(WINDOWS):  # one random window in each quarter's direction
                r0 = int(rng.integers(0, half + 1)) + half * (k // 2)
                c0 = int(rng.integers(0, half + 1)) + half * (k % 2)
                o, u, w, b = targets(s, r0, c0, patches)
                at = np.maximum(o, 0)
                side = patches * 14
                pix.append(s.pixels[r0 * 14 : r0 * 14 + side, c0 * 14 : c0 * 14 + side])
                wins.append((r0, c0))
                own.append(o), uns.append(u), who.append(w), box.append(b[at])
                col.append(np.where(o >= 0, s.colours[at], 8))
                shp.append(np.where(o >= 0, s.shapes[at], 8))
                msk.append(s.masks[at].reshape(-1, 49))
                a, b = surroundings(s, o, r0, c0, patches)
                cell.append(a), near.append(b)
        owned = torch.from_numpy(np.stack(own)) >= 0
        unsure, whole = torch.from_numpy(np.stack(uns)), torch.from_numpy(np.stack(who))
        colour, shape = torch.from_numpy(np.stack(col)), torch.from_numpy(np.stack(shp))
        truth = torch.from_numpy(np.stack(box)).float()
        masks = torch.from_numpy(np.stack(msk)).float()
        with torch.autocast("cpu", torch.bfloat16, enabled=clock.bf16):
            states = encoder(normalise(np.stack(pix)), wins)
        states = [x.float() for x in states]
        kind, ltrb, mask, own_, near_ = heads(states)
        cells, around = torch.from_numpy(np.stack(cell))[owned], torch.from_numpy(np.stack(near))[owned]
        weight = torch.where(owned, 1.0, 0.3) * (~unsure)
        norm = weight.sum()
        loss_c = (F.cross_entropy(kind[..., :9].flatten(0, 1), colour.flatten(), reduction="none")
                  * weight.flatten()).sum() / norm
        ws = weight * torch.where(owned & ~whole, 0.0, 1.0)
        loss_s = (F.cross_entropy(kind[..., 9:].flatten(0, 1), shape.flatten(), reduction="none")
                  * ws.flatten()).sum() / norm  # fmt: skip
        pred = centres + F.softplus(ltrb) * torch.tensor([-40.0, -40.0, 40.0, 40.0])
        p, t = pred[whole], truth[whole]
        loss_b = (p - t).abs().mean() / 40 + (1 - giou_xyxy(p, t)).mean()
        loss_m = F.binary_cross_entropy_with_logits(mask[whole], masks[whole])
        loss_o = F.binary_cross_entropy_with_logits(own_[owned], cells)
        loss_n = sum(F.binary_cross_entropy_with_logits(x[owned], around) for x in near_) / 2
        loss = loss_c + 1.5 * loss_s + 0.5 * loss_b + loss_m + loss_o + 3 * loss_n
        opt.step(loss, clock, warm=100)
        with torch.no_grad():
            avg.add(
                loss=loss.item(), colour=(kind[..., :9].argmax(-1) == colour)[owned].float().mean().item(),
                shape=(kind[..., 9:].argmax(-1) == shape)[whole].float().mean().item(),
                bg=(kind[..., 9:].argmax(-1) == 8)[~owned & ~unsure].float().mean().item(),
                box=loss_b.item(), mask=loss_m.item(), own=loss_o.item(), near=loss_n.item(),
            )  # fmt: skip
        clock.step()
        if clock.steps % 50 == 0:
            print(f"phase0 {clock} {avg}", flush=True)
        if clock.steps % 500 == 0:
            save(out / "phase0.pt", encoder=encoder, heads=heads, opt=opt, clock=clock)
    feed.close()
    save(out / "phase0.pt", encoder=encoder, heads=heads, opt=opt, clock=clock)
