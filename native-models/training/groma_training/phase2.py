"""Phases 2 and 3: image bridge, region encoder and language model on top of the frozen perceiver.

About a dozen turns a picture are packed over one shared prefix, positions restarting at its end.
Aids that make referring form (all thrown away afterwards):
  a) one small head reads colour, shape and size from region tokens after layer 2 and, the same
     head, from the hidden state that is about to say <rK>;
  b) one attention head in the last two layers is taught to look at the region to be named;
  c) <rK>'s number is read back from its region token, and so is where it lies (thirds and centre);
  d) one attention head in the first two layers is taught to look from a region token at the image
     tokens its thing covers.
Only the region encoder's position branch is trained here; phase 3 adds the convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import scenes, tasks
from .boxes import iou_matrix, to_xyxy
from .groma import Groma
from .memory import Memory
from .optimisers import Optimisers, named
from .packing import IMAGE_TOKENS, Packer, collate, embed
from .pipeline import Pipeline, sample
from .schedule import Clock, Running, load, normalise, save
from .tokenizer import Tokenizer

KEPT, SAVE_EVERY = 2500, 150  # scenes replayed, steps between savings
LOOK_IMAGE = {0: 1, 1: 1}  # layer -> head of aid d
LOOK_REGION = {2: 0, 3: 0}  # layer -> head of aid b


def make(rng: np.random.Generator, progress: float, dense: bool = False):
    style = scenes.Style(long_side=(300, 1000), repeat_share=0.5)
    if rng.random() < 0.15:
        style.overlap = 0.3
    s = sample(scenes.as_filed(scenes.draw(rng, style)), keep_scene=True)
    cells = s.ids.reshape(16, 28, 16, 28)
    s.cover = np.stack([(cells == k + 1).mean((1, 3)).reshape(256) for k in range(len(s.boxes))]).astype(np.float16)
    if not dense:
        s.ids = s.masks = None
    return s


class Aids(nn.Module):
    def __init__(self, h: int):
        super().__init__()
        self.attributes = nn.Linear(h, 9 + 9 + 3)
        self.number = nn.Linear(h, 100)
        self.attributes_place = nn.Linear(h, 3 + 3 + 2)  # third across, third down, centre
        nn.init.normal_(self.attributes_place.weight, std=0.005)
        nn.init.constant_(self.attributes_place.bias, 0.0)


@dataclass
class Item:
    states: torch.Tensor | None  # [1025,C] half: the last hidden state
    boxes: torch.Tensor  # [Q,4]
    scores: torch.Tensor  # [Q]
    sample: object


def regions_of(model: Groma, item: Item, rng: np.random.Generator):
    """Regions for one training pass, in random order: boxes [R,4], owner [R] (-1 junk, -2 unsure), thing -> region."""
    true = torch.from_numpy(item.sample.boxes)
    refer = None
    if rng.random() < 0.4:
        pick = rng.permutation(len(true))[: int(rng.integers(1, 4))]
        refer = true[torch.from_numpy(pick)]
        noise = torch.from_numpy(rng.normal(0, rng.choice([0.015, 0.06]), refer.shape).astype(np.float32))
        refer = (refer + noise * refer[:, 2:].repeat(1, 2)).clamp(0.001, 0.999)
    missing = None
    if len(item.boxes):
        best = iou_matrix(to_xyxy(true), to_xyxy(item.boxes)).max(1).values
        missing = true[best < 0.6]
    boxes, _ = model.select(item.boxes, item.scores, refer, missing)
    if rng.random() < 0.45:
        n = int(rng.integers(1, 8)) if rng.random() < 0.7 else int(rng.integers(8, 45))
        wh = np.exp(rng.uniform(np.log(0.04), np.log(0.5), (n, 2)))
        c = rng.uniform(0.02, 0.98, (n, 2))
        lo, hi = np.maximum(c - wh / 2, 0), np.minimum(c + wh / 2, 1)
        junk = torch.from_numpy(np.concatenate([(lo + hi) / 2, hi - lo], 1).astype(np.float32))
        junk = junk[iou_matrix(to_xyxy(junk), to_xyxy(true)).max(1).values < 0.4]
        boxes = torch.cat([boxes, junk])[:100]
    boxes = boxes[torch.from_numpy(rng.permutation(len(boxes)))] if rng.random() < 0.85 else boxes
    iou = iou_matrix(to_xyxy(boxes), to_xyxy(true))
    best, owner = iou.max(1)
    owner = torch.where(best > 0.55, owner, torch.where(best < 0.3, -1, -2))
    order = {i: int(iou[:, i].argmax()) for i in range(len(true))}
    return boxes, owner, order


def language_loss(model: Groma, aids: Aids, items, packs, image, regions, bf16: bool = False, ground_aid: bool = True):
    """image [B,256,H], or None where the packs have no image tokens; regions: per item [R,H]."""
    ids, pos, mask, labels, weights = collate(packs)
    x = embed(model, packs, ids, image, regions)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        hidden, _, states, seen = model.llm(x, pos, mask, probes=LOOK_IMAGE | LOOK_REGION)
    hidden, seen = hidden.float(), {k: v.float() for k, v in seen.items()}
    chosen = labels >= 0
    # the label of position t is the token at t, told by position t - 1
    tell = chosen[:, 1:]
    logits = model.logits(hidden[:, :-1][tell])
    truth, w = labels[:, 1:][tell], weights[:, 1:][tell]
    ce = F.cross_entropy(logits, truth, reduction="none")
    parts = {"lm": (ce * w).sum() / w.sum()}
    hit = (logits.argmax(-1) == truth).float()
    base = model.llm.cfg.vocab_size
    box = truth >= base + 14
    info = {"rK": hit[box].mean().item(), "token": hit[~box].mean().item()}
    # aid a
    where, colour, shape, size = [], [], [], []
    number_at, number = [], []
    for b, p in enumerate(packs):
        s = items[b].sample
        for c, o in zip(p["region_at"], p["owner"].tolist(), strict=True):
            number_at.append((b, c))
            if o >= -1:
                where.append((b, c))
                colour.append(s.colours[o] if o >= 0 else 8)
                shape.append(s.shapes[o] if o >= 0 else 8)
                size.append(s.sizes[o] if o >= 0 else 2)
        number += range(len(p["region_at"]))
        for c, o in p["reads"]:
            where.append((b, c)), colour.append(s.colours[o]), shape.append(s.shapes[o]), size.append(s.sizes[o])
    at = torch.tensor(where)
    mid = states[1]
    read = aids.attributes(mid[at[:, 0], at[:, 1]])
    colour, shape, size = (torch.tensor(np.array(v)) for v in (colour, shape, size))
    parts["attr"] = (
        F.cross_entropy(read[:, :9], colour) + 1.5 * F.cross_entropy(read[:, 9:18], shape)
        + F.cross_entropy(read[:, 18:], size)
    )  # fmt: skip
    info["shape"] = (read[:, 9:18].argmax(-1) == shape).float().mean().item()
    # aid c
    at = torch.tensor(number_at)
    parts["num"] = F.cross_entropy(aids.number(mid[at[:, 0], at[:, 1]]), torch.tensor(number))
    spots = [(b, c, p["boxes"][k, :2]) for b, p in enumerate(packs) for c, k in p["feats"]]
    at = torch.tensor([(b, c) for b, c, _ in spots])
    centre = torch.stack([v for _, _, v in spots])
    thirds = (centre * 3).long().clamp(0, 2)
    where_ = aids.attributes_place(mid[at[:, 0], at[:, 1]])
    parts["place"] = (
        F.cross_entropy(where_[:, :3], thirds[:, 0]) + F.cross_entropy(where_[:, 3:6], thirds[:, 1])
        + 8 * (where_[:, 6:] - centre).abs().mean()
    )  # fmt: skip
    # aids b and d
    look, ground = 0.0, 0.0
    looks = [(b, c, p["region_at"][k]) for b, p in enumerate(packs) for c, k in p["looks"]]
    lb, lc, lk = (torch.tensor(v) for v in zip(*looks, strict=True))
    for layer in LOOK_REGION:
        s = seen[layer][lb, lc].masked_fill(~mask[lb, 0, lc], -1e4)
        look = look + F.cross_entropy(s, lk)
    if ground_aid:
        grounds = [(b, c, o) for b, p in enumerate(packs) for c, o in p["grounds"]]
        gb, gc = torch.tensor([g[0] for g in grounds]), torch.tensor([g[1] for g in grounds])
        cover = torch.from_numpy(np.stack([items[b].sample.cover[o] for b, _, o in grounds]).astype(np.float32))
        cover = cover >= torch.clamp(cover.max(1, keepdim=True).values * 0.6, max=0.5)
        i0 = packs[0]["image_at"]
        for layer in LOOK_IMAGE:
            lp = seen[layer][gb, gc].masked_fill(~mask[gb, 0, gc], -1e4).log_softmax(-1)[:, i0 : i0 + IMAGE_TOKENS]
            ground = ground - torch.logsumexp(lp.masked_fill(~cover, -1e4), 1).mean()
    parts["look"] = look / 2
    loss = parts["lm"] + 0.5 * parts["attr"] + 0.5 * parts["look"] + 0.2 * parts["num"] + 0.3 * parts["place"]
    if ground_aid:
        parts["ground"] = ground / 2
        loss = loss + 0.4 * parts["ground"]
    return loss, {k: v.item() for k, v in parts.items()} | info


def run(model: Groma, out, steps: int, seed: int, name="phase2", fresh=2, replay=6) -> None:
    first = name == "phase2"
    tok = Tokenizer(out / "tokenizer")
    packer, aids = Packer(tok), Aids(model.cfg.llm.hidden_size)
    model.perceiver.requires_grad_(False)
    roi = model.region_encoder.roi_align
    for silent in (model.region_encoder.mlvl_fuse, roi.pconvs, roi.flatten_linear.weight):
        silent.requires_grad_(False)
    part = nn.ModuleList(
        [model.llm, model.img_txt_bridge, model.region_encoder, model.new_input_embs, model.extra_lm_head, aids]
    )
    opt = Optimisers(named(part), 1.5e-3 if first else 1e-3, 0.012 if first else 0.009, decay=0.01)
    clock, avg = Clock(steps), Running()
    if not first:
        aids.load_state_dict(torch.load(out / "phase2.pt", weights_only=True)["aids"], strict=False)
    load(out / f"{name}.pt", model=model, aids=aids, opt=opt, clock=clock)
    feed = Pipeline(make, seed + (3 if first else 9), start=clock.steps * fresh)
    memory = Memory(out / f"{name}-seen", KEPT, SAVE_EVERY * fresh, start=clock.steps * fresh)
    while not clock.done:
        rng, batch = clock.rng(seed + 16), feed.take(fresh)
        with torch.no_grad():
            with torch.autocast("cpu", torch.bfloat16, enabled=clock.bf16):
                states = model.encode(normalise(np.stack([s.pixels for s in batch])))
            states = [s.float() for s in states]
            p = model.propose(states)
        new = []
        for i, s in enumerate(batch):
            s.pixels = None
            new.append(Item(states[-1][i].half(), p.boxes[i].clone(), p.score[i].clone(), s))
        items = new + ([memory[int(k)] for k in rng.integers(0, len(memory), replay)] if len(memory) else [])
        for item in new:
            memory.add(item)
        packs, boxes = [], []
        for item in items:
            box, owner, order = regions_of(model, item, rng)
            packs.append(packer.pack([[t] for t in tasks.turns(item.sample.scene, rng, order)], box, owner, order))
            boxes.append(box)
        image = model.bridge(torch.stack([i.states for i in items]).float())
        regions = roi([], boxes, conv=False)
        loss, parts = language_loss(model, aids, items, packs, image, regions, clock.bf16)
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
