"""Phase 1: the region proposer. 1a on the frozen encoder (with replay), 1b encoder and proposer together.

Heat-map focal loss on the encoder's class logit and a box loss on the four tokens nearest to each
centre; in the decoder every query with a good IoU is a positive, its IoU the target. In 1b the
target turns steep (nothing under IoU 0.55), so that only well-fitting boxes score above 0.15, and
the dense heads of phase 0 go on teaching the encoder colours and shapes.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import scenes
from .boxes import giou_xyxy, iou_matrix, to_xyxy
from .groma import Groma
from .memory import Memory
from .optimisers import Optimisers, named
from .phase0 import DenseHeads, targets
from .pipeline import Pipeline, sample
from .proposer import DeformableAttention
from .schedule import Clock, Running, load, normalise, save

GRID = 32
KEPT, SAVE_EVERY = 3000, 400  # scenes replayed, steps between savings


def make(rng: np.random.Generator, progress: float):
    style = scenes.Style(long_side=(300, 1000))
    if rng.random() < 0.6:  # crowded
        style.count, style.overlap = (8, 13), 0.3
    return sample(scenes.as_filed(scenes.draw(rng, style)))


def initialise(proposer) -> None:
    d = proposer.cfg.d_model
    for m in proposer.modules():
        if isinstance(m, DeformableAttention):
            m.reset()
    nn.init.normal_(proposer.level_embed, std=0.02)
    nn.init.normal_(proposer.query_position_embeddings.weight, std=0.3)
    for head in proposer.bbox_embed:
        nn.init.zeros_(head.layers[2].weight)
        nn.init.zeros_(head.layers[2].bias)
    for head in (proposer.class_embed_enc, *proposer.class_embed_coco, *proposer.class_embed_sa1b):
        nn.init.normal_(head.weight, std=d**-0.5 * 0.3)
        nn.init.constant_(head.bias, -3.0)


def heat_map(boxes: torch.Tensor) -> torch.Tensor:
    """[1024] CenterNet-like truth: 1 at the token nearest to each centre, Gaussian around."""
    at = (torch.arange(GRID) + 0.5) / GRID
    heat = torch.zeros(GRID, GRID)
    for cx, cy, w, h in boxes.tolist():
        sx, sy = max(w / 6, 0.4 / GRID), max(h / 6, 0.4 / GRID)
        g = torch.exp(-((at - cx) ** 2) / (2 * sx**2))[None] * torch.exp(-((at - cy) ** 2) / (2 * sy**2))[:, None]
        heat = torch.maximum(heat, g)
    for cx, cy, _, _ in boxes.tolist():
        heat[min(GRID - 1, int(cy * GRID)), min(GRID - 1, int(cx * GRID))] = 1.0
    return heat.flatten()


def nearest_tokens(boxes: torch.Tensor, k: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    at = (torch.arange(GRID) + 0.5) / GRID
    y, x = torch.meshgrid(at, at, indexing="ij")
    d = (x.flatten()[None] - boxes[:, :1]) ** 2 + (y.flatten()[None] - boxes[:, 1:2]) ** 2
    return d.topk(k, 1, largest=False).indices.flatten(), torch.arange(len(boxes)).repeat_interleave(k)


def pair_loss(pred: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """L1 (relative to the true size) and GIoU of cxcywh pairs [N,4]."""
    scale = true[:, 2:].repeat(1, 2).clamp(min=0.02)
    l1 = ((pred - true).abs() / scale).mean(1)
    return l1 * 1.5 + 2 * (1 - giou_xyxy(to_xyxy(pred), to_xyxy(true)))


def quality_loss(logit: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Focal-weighted cross-entropy towards a quality in 0..1."""
    p = logit.sigmoid().detach()
    return ((p - target).abs() ** 1.5 * F.binary_cross_entropy_with_logits(logit, target, reduction="none")).sum()


def detection_loss(out, truths: list[torch.Tensor], steep: float):
    enc_c = enc_b = dec_c = dec_b = 0.0
    things = sum(len(t) for t in truths)
    hit = pos = 0.0
    for b, true in enumerate(truths):
        heat, logit = heat_map(true), out.enc_logit[b]
        p = logit.sigmoid()
        centre = heat > 0.999
        enc_c = enc_c - (F.logsigmoid(logit) * (1 - p) ** 2)[centre].sum()
        enc_c = enc_c - (F.logsigmoid(-logit) * p**2 * (1 - heat) ** 4)[~centre].sum()
        tokens, which = nearest_tokens(true)
        enc_b = enc_b + pair_loss(out.enc_box[b, tokens].sigmoid(), true[which]).sum() / 4
        for boxes, coco, sa1b in out.layers:
            box = boxes[b]
            with torch.no_grad():
                iou = iou_matrix(to_xyxy(box), to_xyxy(true))
                best, owner = iou.max(1)
                sharp = ((best - 0.55) / 0.35).clamp(0, 1)
                target = (1 - steep) * torch.where(best > 0.4, best, 0.0) + steep * sharp
                top_iou, top = iou.max(0)
                target[top] = torch.maximum(target[top], (0.25 + 0.75 * top_iou))
                chosen = best > 0.4
                chosen[top[top_iou > 0.1]] = True
            dec_c = dec_c + quality_loss(coco[b], target) + quality_loss(sa1b[b], target)
            if chosen.any():
                dec_b = dec_b + pair_loss(box[chosen], true[owner[chosen]]).sum() / chosen.sum() * len(true)
        hit += (top_iou > 0.5).float().sum().item()
        pos += top_iou.sum().item()
    n = max(1, things)
    parts = {"enc_c": enc_c / n, "enc_b": enc_b / n, "dec_c": dec_c / n, "dec_b": dec_b / n}
    loss = parts["enc_c"] + parts["enc_b"] + 0.7 * parts["dec_c"] + parts["dec_b"]
    return loss, {k: v.item() for k, v in parts.items()} | {"hit": hit / n, "iou": pos / n}


def dense_loss(heads: DenseHeads, states, batch):
    """Phase 0's losses on whole pictures."""
    own, uns, col, shp, msk, rare = ([] for _ in range(6))
    for s in batch:
        o, u, _, _ = targets(s, 0, 0, GRID)
        at = np.maximum(o, 0)
        area = np.bincount(o[o >= 0], minlength=len(s.boxes)).astype(np.float32)  # patches of each thing
        rare.append(0.3 + 0.7 * np.minimum(4.0, 20 / np.maximum(area, 1))[at])
        own.append(o), uns.append(u)
        col.append(np.where(o >= 0, s.colours[at], 8))
        shp.append(np.where(o >= 0, s.shapes[at], 8))
        msk.append(s.masks[at].reshape(-1, 49))
    owned, sure = torch.from_numpy(np.stack(own)) >= 0, ~torch.from_numpy(np.stack(uns))
    colour, shape = torch.from_numpy(np.stack(col)), torch.from_numpy(np.stack(shp))
    kind, _, mask, _, _ = heads(states)
    # a thing counts as a thing, not as its area: small ones are the hard ones
    weight = torch.where(owned, torch.from_numpy(np.stack(rare)), 0.15) * sure
    loss = 0.0
    for logits, truth, w in ((kind[..., :9], colour, 1.0), (kind[..., 9:], shape, 1.5)):
        ce = F.cross_entropy(logits.flatten(0, 1), truth.flatten(), reduction="none")
        loss = loss + w * (ce * weight.flatten()).sum() / weight.sum()
    masks = torch.from_numpy(np.stack(msk)).float()
    loss = loss + 0.5 * F.binary_cross_entropy_with_logits(mask[owned], masks[owned])
    ok = (kind[..., 9:].argmax(-1) == shape)[owned].float().mean().item()
    return loss, {"shape": ok, "colour": (kind[..., :9].argmax(-1) == colour)[owned].float().mean().item()}


def run_frozen(model: Groma, out, steps: int, seed: int, lr: float = 1e-3, fresh=3, replay=6) -> None:
    per = model.perceiver
    part = nn.ModuleList([per.ddetr_transformer, per.input_proj])
    opt = Optimisers(named(part), lr, 0.01)
    clock, avg = Clock(steps), Running()
    load(out / "phase1a.pt", model=model, opt=opt, clock=clock)
    feed = Pipeline(make, seed + 1, start=clock.steps * fresh)
    memory = Memory(out / "phase1a-seen", KEPT, SAVE_EVERY * fresh, start=clock.steps * fresh)
    while not clock.done:
        rng, batch = clock.rng(seed + 15), feed.take(fresh)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=clock.bf16):
            states = model.encode(normalise(np.stack([s.pixels for s in batch])))
            mean = torch.stack([s.float() for s in states[-4:]]).mean(0)
        new = [(mean[i].half(), torch.from_numpy(s.boxes)) for i, s in enumerate(batch)]
        old = [memory[int(i)] for i in rng.integers(0, len(memory), replay)] if len(memory) else []
        for item in new:
            memory.add(item)
        items = new + old
        x = torch.stack([i[0] for i in items]).float()
        res = model.propose([x] * 4)
        loss, parts = detection_loss(res, [i[1] for i in items], steep=0.5 * clock.progress)
        opt.step(loss, clock, warm=50)
        avg.add(loss=loss.item(), **parts)
        clock.step()
        if clock.steps % 50 == 0 or clock.steps == 4:
            print(f"phase1a {clock} {avg}", flush=True)
        if clock.steps % SAVE_EVERY == 0:
            save(out / "phase1a.pt", model=model, opt=opt, clock=clock)
    feed.close()
    save(out / "phase1a.pt", model=model, opt=opt, clock=clock)
    memory.clear()


def run_together(model: Groma, heads: DenseHeads, out, steps: int, seed: int, name="phase1b", lr=6e-4, size=6):
    per = model.perceiver
    model.perceiver.vis_encoder.embeddings.mask_token.requires_grad_(False)
    part = nn.ModuleList([per.ddetr_transformer, per.input_proj])
    aside = [(f"attributes.{n}", p, k) for n, p, k in named(heads)]
    opt = Optimisers(named(part) + named(per.vis_encoder, 0.8) + aside, lr, 0.006)
    clock, avg = Clock(steps), Running()
    load(out / f"{name}.pt", model=model, heads=heads, opt=opt, clock=clock)
    feed = Pipeline(make, seed + (7 if name == "phase1c" else 2), start=clock.steps * size)
    while not clock.done:
        batch = feed.take(size)
        with torch.autocast("cpu", torch.bfloat16, enabled=clock.bf16):
            states = model.encode(normalise(np.stack([s.pixels for s in batch])))
        states = [s.float() for s in states]
        res = model.propose(states)
        loss, parts = detection_loss(
            res, [torch.from_numpy(s.boxes) for s in batch], steep=1.0 if name == "phase1c" else min(1.0, 0.5 + clock.progress)
        )
        dense, more = dense_loss(heads, states, batch)
        loss = loss + 3 * dense
        opt.step(loss, clock, warm=50)
        avg.add(loss=loss.item(), **parts, **more)
        clock.step()
        if clock.steps % 25 == 0 or clock.steps == 4:
            print(f"{name} {clock} {avg}", flush=True)
        if clock.steps % 150 == 0:
            save(out / f"{name}.pt", model=model, heads=heads, opt=opt, clock=clock)
    feed.close()
    save(out / f"{name}.pt", model=model, heads=heads, opt=opt, clock=clock)
