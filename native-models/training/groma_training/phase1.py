"""Phase 1: the region proposer. 1a on the frozen encoder (with replay), 1b encoder and proposer together.

In 1b the proposer's quality target turns steep (`detection`), and the dense heads of phase 0 go on teaching the encoder
colours and shapes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from . import scenes
from .detection import detection_loss
from .groma import Groma
from .memory import Memory
from .optimisers import Optimisers, named
from .patches import owners, patch_loss
from .phase0 import DenseHeads
from .pipeline import Pipeline, sample
from .proposer import DeformableAttention
from .schedule import Clock, Running, load, normalise, save

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


def truths_of(boxes: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes [B,N,4] of pictures with different numbers of things, and which of them are real [B,N]."""
    there = [torch.ones(len(b), dtype=torch.bool) for b in boxes]
    return pad_sequence(boxes, batch_first=True, padding_value=0.5), pad_sequence(there, batch_first=True)


def patches_of(batch) -> dict:
    """What `patch_loss` asks about whole pictures."""
    out = {
        k: pad_sequence([torch.from_numpy(getattr(s, k)) for s in batch], batch_first=True)
        for k in ("boxes", "colours", "shapes", "masks")
    }
    ids = torch.from_numpy(np.stack([s.ids for s in batch]))
    return out | {"masks": out["masks"].flatten(2), "owners": owners(ids, out["boxes"].shape[1])}


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
        loss, parts = detection_loss(res, *truths_of([i[1] for i in items]), steep=0.5 * clock.progress)
        opt.step(loss, clock, warm=50)
        avg.add(loss=loss.item(), **{k: v.item() for k, v in parts.items()})
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
        steep = 1.0 if name == "phase1c" else min(1.0, 0.5 + clock.progress)
        loss, parts = detection_loss(res, *truths_of([torch.from_numpy(s.boxes) for s in batch]), steep)
        dense, more = patch_loss(heads, states, patches_of(batch))
        loss = loss + 3 * dense
        opt.step(loss, clock, warm=50)
        avg.add(loss=loss.item(), **{k: v.item() for k, v in (parts | more).items()})
        clock.step()
        if clock.steps % 25 == 0 or clock.steps == 4:
            print(f"{name} {clock} {avg}", flush=True)
        if clock.steps % 150 == 0:
            save(out / f"{name}.pt", model=model, heads=heads, opt=opt, clock=clock)
    feed.close()
    save(out / f"{name}.pt", model=model, heads=heads, opt=opt, clock=clock)
