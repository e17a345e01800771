"""Phase 4: the convolution branch of the region encoder, on the frozen vision encoder.

A box's token must tell colour, shape and size of what lies there through the branch alone: a linear
head reads them from the finished token (its position part is frozen). RoIAlign reads cxcywh as
corners at twice the scale, so the sampled rectangle runs from (2 cx, 2 cy) to (2 w, 2 h): a thing
lies at a different bin for every box, and others lie in the rectangle too. A point x of a thing with
its own box is sampled at t = (2 cx - x) / (2 cx - 2 w) of the way; dense heads on the fused maps
teach every cell the colour, shape and t of its owner, so that a bin can tell who is meant.
flatten_linear has 25088 inputs, far too many to find the few that matter: while it is learnt it is a
sum over 25 fixed bumps on the bins (t is never under 0.5 at a thing's centre) of a matrix each.
All heads are thrown away.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import scenes
from .boxes import iou_matrix, to_xyxy
from .groma import Groma
from .optimisers import Optimisers, named
from .phase0 import DenseHeads
from .pipeline import Pipeline, sample
from .region_encoder import BINS, LEVELS, RegionEncoder
from .schedule import Clock, Running, load, normalise, save

BATCH, SAVE_EVERY = 4, 50
COARSE = 0.75  # share of the steps without the finest level
BUMPS = ((6.9, 0.7), (8.0, 0.8), (9.4, 1.0), (11.2, 1.2), (13.3, 1.0))  # middle and width, in bins
GRID = 32  # cells of a side at which the fused maps are taught


def make(rng: np.random.Generator, progress: float):
    style = scenes.Style(long_side=(300, 800), repeat_share=0.25)
    if rng.random() < 0.5:  # more things, more boxes for the price of one picture
        style.count = (6, 13)
    return sample(scenes.as_filed(scenes.draw(rng, style)))


def bumps() -> torch.Tensor:
    """[K, BINS, BINS]: products of bumps along x and y, each summing to 1."""
    at = torch.arange(BINS) + 0.5
    line = torch.stack([torch.exp(-(((at - m) / w) ** 2) / 2) for m, w in BUMPS])
    line = line / line.sum(1, keepdim=True)
    return (line[:, None, :, None] * line[None, :, None, :]).flatten(0, 1)


class Readout(nn.Module):
    """flatten_linear with weight[d, c, i, j] = sum_k matrix[d, k, c] * bump[k, i, j]."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.matrix = nn.Linear(len(BUMPS) ** 2 * channels, width)
        nn.init.normal_(self.matrix.weight, std=0.3 * self.matrix.in_features**-0.5)
        nn.init.zeros_(self.matrix.bias)
        self.register_buffer("bump", bumps(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [R,C,BINS,BINS] -> [R,width]."""
        return self.matrix((self.bump.flatten(1) @ x.flatten(2).transpose(1, 2)).flatten(1))

    @torch.no_grad()
    def write(self, flatten: nn.Linear) -> None:
        k = len(self.bump)
        matrix = self.matrix.weight.view(flatten.out_features, k, -1)
        flatten.weight.copy_(torch.einsum("dkc,kij->dcij", matrix, self.bump).flatten(1))
        flatten.bias.copy_(self.matrix.bias)


class BranchHeads(nn.Module):
    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.token = nn.Linear(hidden, 9 + 9 + 3)
        self.cells = nn.ModuleList(nn.Linear(channels, 9 + 9 + 2 * (BINS + 1)) for _ in range(LEVELS))


def initialise(encoder: RegionEncoder, heads: DenseHeads) -> None:
    """Start values: rotations of the hidden states, fusion near the identity.

    The last level's first channels start as phase 0's colour and shape logits.
    """
    fuse, head = encoder.mlvl_fuse, encoder.roi_align
    with torch.no_grad():
        for conv in fuse.input_conv:
            nn.init.zeros_(conv.bias)
            nn.init.zeros_(conv.weight)
            out, feats = conv.out_channels, conv.in_channels - 2
            conv.weight[:, :feats, 0, 0] = nn.init.orthogonal_(torch.empty(out, feats))
            conv.weight[:, feats:] = 0.3 * torch.randn(out, 2, 1, 1)
        kind = heads.kind.weight * heads.norm.weight
        fuse.input_conv[-1].weight[: len(kind), :, 0, 0] = 0
        fuse.input_conv[-1].weight[: len(kind), : kind.shape[1], 0, 0] = kind / kind.norm(dim=1, keepdim=True)
        for conv, centre in [(c.conv, 1.0) for c in fuse.fuse_convs] + [(p, 0.5) for p in head.pconvs]:
            nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
            conv.weight *= 0.4
            conv.weight[:, :, 1, 1] += centre * torch.eye(conv.out_channels)
        for c in fuse.fuse_convs:
            nn.init.constant_(c.gn.bias, 0.5)


def boxes_of(s, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes [R,4] to describe in one picture and their things [R] (-1 = nothing there)."""
    true = torch.from_numpy(s.boxes)
    close = true + torch.from_numpy(rng.normal(0, 0.02, true.shape).astype(np.float32)) * true[:, 2:].repeat(1, 2)
    off = torch.from_numpy(rng.uniform(-0.1, 0.1, true.shape).astype(np.float32)) * true[:, 2:].repeat(1, 2)
    wh = np.exp(rng.uniform(np.log(0.04), np.log(0.5), (3, 2)))
    c = rng.uniform(0.05, 0.95, (3, 2))
    lo, hi = np.maximum(c - wh / 2, 0), np.minimum(c + wh / 2, 1)
    junk = torch.from_numpy(np.concatenate([(lo + hi) / 2, hi - lo], 1).astype(np.float32))
    junk = junk[iou_matrix(to_xyxy(junk), to_xyxy(true)).max(1).values < 0.2]
    owner = torch.arange(len(true))
    boxes = torch.cat([close, true + off, junk]).clamp(0.001, 0.999)
    return boxes, torch.cat([owner, owner, torch.full((len(junk),), -1)])


def cell_truth(s, side: int):
    """Per cell of a side x side grid: owner [side^2] (-1 none, -2 unsure) and its bins [side^2, 2] (BINS = never)."""
    step = 448 // side
    cells = s.ids.reshape(side, step, side, step).transpose(0, 2, 1, 3).reshape(side**2, -1)
    counts = np.stack([(cells == k + 1).sum(1) for k in range(len(s.boxes))], 1)
    most, who = counts.max(1), counts.argmax(1)
    owner = np.where(most >= 0.25 * step * step, who, np.where(most > 0.06 * step * step, -2, -1))
    b = s.boxes[np.maximum(owner, 0)]
    x = np.tile((np.arange(side) + 0.5) / side, side)
    y = np.repeat((np.arange(side) + 0.5) / side, side)
    bins = []
    for centre, extent, p in ((b[:, 0], b[:, 2], x), (b[:, 1], b[:, 3], y)):
        way = centre - extent
        t = (2 * centre - p) / (2 * np.where(np.abs(way) < 1e-3, 1e-3, way))
        bins.append(np.where((t >= 0) & (t < 1), np.clip(t * BINS, 0, BINS - 1), BINS).astype(int))
    return owner, np.stack(bins, 1)


def attributes(s, owner: np.ndarray):
    at = np.maximum(owner, 0)
    pick = lambda values, none: torch.from_numpy(np.where(owner >= 0, values[at], none))  # noqa: E731
    return pick(s.colours, 8), pick(s.shapes, 8), pick(s.sizes, 2)


def dense_loss(heads: BranchHeads, maps, batch):
    """maps: fused levels [B,C,.,.] or None; the finer ones are read at some of their pixels."""
    loss, right, truth = 0.0, [], [cell_truth(s, GRID) for s in batch]
    for head, m, k in zip(heads.cells, maps, (4, 2, 1), strict=True):
        if m is None:
            continue
        m = m[:, :, k // 2 :: k, k // 2 :: k]
        read = head(m.flatten(2).transpose(1, 2).float())
        for b, s in enumerate(batch):
            owner, bins = truth[b]
            colour, shape, _ = attributes(s, owner)
            own = torch.from_numpy(owner)
            sizes = torch.from_numpy(np.bincount(owner[owner >= 0], minlength=len(s.boxes)).clip(1)).float()
            # a thing counts as a thing, not as its area
            w = torch.where(own >= 0, 1 / sizes[own.clamp(min=0)].sqrt(), 0.05) * (own > -2)
            w = w / w.sum()
            for lo, hi, t in ((0, 9, colour), (9, 18, shape)):
                loss = loss + (F.cross_entropy(read[b, :, lo:hi], t, reduction="none") * w).sum()
            wo = w * (own >= 0)
            for axis, lo in ((0, 18), (1, 18 + BINS + 1)):
                ce = F.cross_entropy(read[b, :, lo : lo + BINS + 1], torch.from_numpy(bins[:, axis]), reduction="none")
                loss = loss + 0.5 * (ce * wo).sum() / wo.sum()
            right.append(float((read[b, :, 9:18].argmax(-1) == shape)[own >= 0].float().mean()))
    return loss / (len(batch) * sum(m is not None for m in maps)), float(np.nanmean(right))


def run(model: Groma, dense: DenseHeads, out, steps: int, seed: int, name="phase4") -> None:
    roi = model.region_encoder.roi_align
    model.requires_grad_(False)
    heads = BranchHeads(model.cfg.region_channels, model.cfg.llm.hidden_size)
    initialise(model.region_encoder, dense)
    parts = {"fuse": model.region_encoder.mlvl_fuse, "pconvs": roi.pconvs, "attributes": heads}
    for part in parts.values():
        part.requires_grad_(True)
    readout = Readout(model.cfg.region_channels, model.cfg.region_width)
    opt = Optimisers(named(readout) + [(f"conv.{k}.{n}", p, 1.0) for k, part in parts.items() for n, p, _ in named(part)], 2e-3, 0.01, decay=0.01)
    clock, avg = Clock(steps), Running()
    load(out / f"{name}.pt", model=model, heads=heads, readout=readout, opt=opt, clock=clock)
    feed = Pipeline(make, seed + 11, start=clock.steps * BATCH)
    while not clock.done:
        rng, batch = clock.rng(seed + 12), feed.take(BATCH)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=clock.bf16):
            states = model.encode(normalise(np.stack([s.pixels for s in batch])))
        with torch.autocast("cpu", torch.bfloat16, enabled=clock.bf16):
            maps = model.region_encoder.fuse([x.float() for x in states], coarse_only=clock.progress < COARSE)
        picked = [boxes_of(s, rng) for s in batch]
        with torch.autocast("cpu", torch.bfloat16, enabled=clock.bf16):
            told = readout(torch.cat(roi.bins(maps, [b for b, _ in picked])))
            tokens = roi.updims(told + roi.pos_embedd(torch.cat([b for b, _ in picked])))
        read = heads.token(tokens.float())
        truth = [attributes(s, o.numpy()) for s, (_, o) in zip(batch, picked, strict=True)]
        colour, shape, size = (torch.cat(v) for v in zip(*truth, strict=True))
        loss = F.cross_entropy(read[:, :9], colour) + 1.5 * F.cross_entropy(read[:, 9:18], shape)
        loss = loss + 0.5 * F.cross_entropy(read[:, 18:], size)
        cells, cell_shape = dense_loss(heads, maps, batch)
        opt.step(loss + cells, clock, warm=100)
        there = colour < 8
        right = [(read[:, lo:hi].argmax(-1) == t)[there] for lo, hi, t in ((0, 9, colour), (9, 18, shape), (18, 21, size))]
        avg.add(
            told=loss.item(), cells=cells.item(), cell_shape=cell_shape, colour=right[0].float().mean().item(),
            shape=right[1].float().mean().item(), all=(right[0] & right[1] & right[2]).float().mean().item(),
        )  # fmt: skip
        clock.step()
        if clock.steps % 25 == 0 or clock.steps == 4:
            print(f"{name} {clock} {avg}", flush=True)
        if clock.steps % SAVE_EVERY == 0:
            readout.write(roi.flatten_linear)
            save(out / f"{name}.pt", model=model, heads=heads, readout=readout, opt=opt, clock=clock)
    feed.close()
    readout.write(roi.flatten_linear)
    save(out / f"{name}.pt", model=model, heads=heads, readout=readout, opt=opt, clock=clock)
