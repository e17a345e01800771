"""Phase 5: language again, on everything that is asked; what sees is frozen.

With branch=False the region encoder's convolutions stay silent, as in phase 2. With branch=True half of the
steps leave the image tokens out and some have another picture's, so that what a region is must be read
from its own token, as the released model does. What the frozen parts say of a scene (proposals, boxes as
drawn by hand, junk) is computed once and replayed from disk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from . import tasks
from .boxes import iou_matrix, nms, to_xyxy
from .groma import Groma
from .memory import Memory
from .optimisers import Optimisers, named
from .packing import Packer
from .phase2 import Aids, language_loss, make
from .pipeline import Pipeline
from .schedule import Clock, Running, load, normalise, save
from .tokenizer import Tokenizer

FRESH, REPLAY, KEPT, SAVE_EVERY = 2, 6, 2500, 100
JUNK = 14  # boxes of nothing a scene
MODES, SHARES = ("regions", "both", "other picture"), (0.5, 0.35, 0.15)


@dataclass
class Seen:
    """A scene as the frozen perceiver sees it: N boxes with what the branch says of each."""

    state: torch.Tensor  # [1025,C] half: the last hidden state
    boxes: torch.Tensor  # [N,4]
    scores: torch.Tensor  # [N]; of proposals, otherwise 0
    branch: torch.Tensor  # [N,W] half: flatten_linear's output
    proposals: int  # the first of the boxes; then two drawn boxes a thing, then junk
    sample: object


def junk_boxes(n: int, true: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    wh = np.exp(rng.uniform(np.log(0.04), np.log(0.5), (n, 2)))
    c = rng.uniform(0.02, 0.98, (n, 2))
    lo, hi = np.maximum(c - wh / 2, 0), np.minimum(c + wh / 2, 1)
    junk = torch.from_numpy(np.concatenate([(lo + hi) / 2, hi - lo], 1).astype(np.float32))
    return junk[iou_matrix(to_xyxy(junk), to_xyxy(true)).max(1).values < 0.4]


def drawn_boxes(true: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Two boxes a thing: nearly right, and each side off by up to a tenth."""
    close, off = rng.normal(0, 0.015, true.shape), rng.uniform(-0.1, 0.1, true.shape)
    noise = torch.from_numpy(np.concatenate([close, off]).astype(np.float32))
    return (true.repeat(2, 1) + noise * true[:, 2:].repeat(2, 2)).clamp(0.001, 0.999)


@torch.no_grad()
def perceive(model: Groma, batch, rng: np.random.Generator, bf16: bool, branch: bool) -> list[Seen]:
    roi = model.region_encoder.roi_align
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        states = model.encode(normalise(np.stack([s.pixels for s in batch])))
        maps = model.region_encoder.fuse([x.float() for x in states]) if branch else []
    p = model.propose([s.float() for s in states])
    out = []
    for i, s in enumerate(batch):
        true = torch.from_numpy(s.boxes)
        chosen, scores = model.select(p.boxes[i], p.score[i])
        boxes = torch.cat([chosen, drawn_boxes(true, rng), junk_boxes(JUNK, true, rng)])
        told = roi.flatten_linear.bias.expand(len(boxes), -1)
        if branch:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                told = roi.branch([m[i : i + 1] for m in maps], [boxes])[0]
        s.pixels = s.ids = s.masks = None
        kept = torch.zeros(len(boxes))
        kept[: len(chosen)] = scores
        out.append(Seen(states[-1][i].half(), boxes, kept, told.half(), len(chosen), s))
    return out


def regions_of(model: Groma, seen: Seen, rng: np.random.Generator):
    """Regions of one training pass, in random order: which of seen.boxes [R], owner [R] (-1 junk, -2 unsure), thing -> region."""
    true = torch.from_numpy(seen.sample.boxes)
    n, drawn = len(true), seen.proposals
    scores = seen.scores.clone()
    if rng.random() < 0.4:  # the user's boxes, as Groma.select takes them
        for k in rng.permutation(n)[: int(rng.integers(1, 4))]:
            scores[drawn + int(k) + n * int(rng.integers(2))] = 1.0
    best = iou_matrix(to_xyxy(true), to_xyxy(seen.boxes[: seen.proposals])).max(1).values
    scores[drawn : drawn + n][(best < 0.6) & (scores[drawn : drawn + n] == 0)] = 0.2  # ground boxes
    at = torch.nonzero(scores > 0)[:, 0]
    which = at[nms(to_xyxy(seen.boxes[at]), scores[at], model.cfg.nms_thres)]
    if rng.random() < 0.45:
        junk = torch.arange(drawn + 2 * n, len(seen.boxes))
        which = torch.cat([which, junk[torch.from_numpy(rng.permutation(len(junk)))][: int(rng.integers(1, JUNK + 1))]])
    if rng.random() < 0.85:
        which = which[torch.from_numpy(rng.permutation(len(which)))]
    iou = iou_matrix(to_xyxy(seen.boxes[which]), to_xyxy(true))
    most, owner = iou.max(1)
    owner = torch.where(most > 0.55, owner, torch.where(most < 0.3, -1, -2))
    return which, owner, {i: int(iou[:, i].argmax()) for i in range(n)}


def run(model: Groma, out, steps: int, seed: int, before: str, branch: bool, name="phase5") -> None:
    tok = Tokenizer(out / "tokenizer")
    packer, aids = Packer(tok), Aids(model.cfg.llm.hidden_size)
    roi = model.region_encoder.roi_align
    for frozen in (model.perceiver, model.region_encoder.mlvl_fuse, roi.pconvs, roi.flatten_linear):
        frozen.requires_grad_(False)
    part = nn.ModuleList(
        [model.llm, model.img_txt_bridge, model.region_encoder, model.new_input_embs, model.extra_lm_head, aids]
    )
    opt = Optimisers(named(part), 1e-3, 0.009, decay=0.01)
    clock, avg = Clock(steps), Running()
    load(out / before, aids=aids)
    load(out / f"{name}.pt", model=model, aids=aids, opt=opt, clock=clock)
    feed = Pipeline(make, seed + 13, start=clock.steps * FRESH)
    memory = Memory(out / f"{name}-seen", KEPT, SAVE_EVERY * FRESH, start=clock.steps * FRESH)
    while not clock.done:
        rng = clock.rng(seed + 14)
        items = [memory[int(k)] for k in rng.integers(0, len(memory), REPLAY)] if len(memory) else []
        new = perceive(model, feed.take(FRESH), rng, clock.bf16, branch)
        for item in new:
            memory.add(item)
        items = new + items
        mode = MODES[int(rng.choice(3, p=SHARES))] if branch else "both"
        packs, regions = [], []
        for item in items:
            which, owner, order = regions_of(model, item, rng)
            talks = [[t] for t in tasks.turns(item.sample.scene, rng, order)]
            packs.append(packer.pack(talks, item.boxes[which], owner, order, image=mode != "regions"))
            regions.append(roi.updims(item.branch[which].float() + roi.pos_embedd(item.boxes[which])))
        image = None
        if mode != "regions":
            image = model.bridge(torch.stack([i.state for i in items]).float())
            image = image.roll(1, 0) if mode == "other picture" else image
        loss, parts = language_loss(model, aids, items, packs, image, regions, clock.bf16, ground_aid=not branch)
        opt.step(loss, clock, warm=100)
        avg.add(loss=loss.item(), **parts)
        clock.step()
        if clock.steps % 25 == 0 or clock.steps == 4:
            print(f"{name} {clock} {avg}", flush=True)
        if clock.steps % SAVE_EVERY == 0:
            save(out / f"{name}.pt", model=model, aids=aids, opt=opt, clock=clock)
    feed.close()
    save(out / f"{name}.pt", model=model, aids=aids, opt=opt, clock=clock)
    memory.clear()
