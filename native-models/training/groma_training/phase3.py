"""Phase 3: everything together, at a lower rate: encoder, proposer, region encoder with its convolutions, language.

All losses of phases 1 and 2 at once, on fresh scenes only. With conv=False the convolution branch stays silent.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from . import phase1, phase2, tasks
from .groma import Groma
from .optimisers import Optimisers, named
from .phase0 import DenseHeads
from .packing import Packer
from .phase2 import Aids, Item, language_loss, regions_of
from .pipeline import Pipeline
from .schedule import Clock, Running, load, normalise, save
from .tokenizer import Tokenizer


def make(rng: np.random.Generator, progress: float):
    return phase2.make(rng, progress, dense=True)


def run(model: Groma, heads: DenseHeads, out, steps: int, seed: int, conv: bool, name="phase3") -> None:
    size = 2 if conv else 4  # pictures a step
    tok = Tokenizer(out / "tokenizer")
    packer, aids = Packer(tok), Aids(model.cfg.llm.hidden_size)
    per, roi = model.perceiver, model.region_encoder.roi_align
    if not conv:
        for part in (model.region_encoder.mlvl_fuse, roi.pconvs, roi.flatten_linear.weight):
            part.requires_grad_(False)
    language = nn.ModuleList(
        [model.llm, model.img_txt_bridge, model.region_encoder, model.new_input_embs, model.extra_lm_head, aids]
    )
    see = nn.ModuleList([per.ddetr_transformer, per.input_proj])
    aside = [(f"attributes.{n}", p, 0.5) for n, p, _ in named(heads)]
    opt = Optimisers(named(language, 0.6) + named(see, 0.35) + named(per.vis_encoder, 0.35) + aside, 1e-3, 0.008)
    clock, avg = Clock(steps), Running()
    load(out / ("phase3.pt" if name == "phase3b" else "phase2.pt"), aids=aids)
    load(out / f"{name}.pt", model=model, heads=heads, aids=aids, opt=opt, clock=clock)
    feed = Pipeline(make, seed + 5, start=clock.steps * size)
    while not clock.done:
        rng, batch = clock.rng(seed + 17), feed.take(size)
        with torch.autocast("cpu", torch.bfloat16, enabled=clock.bf16):
            states = model.encode(normalise(np.stack([s.pixels for s in batch])))
        states = [s.float() for s in states]
        res = model.propose(states)
        truths = [torch.from_numpy(s.boxes) for s in batch]
        seen, parts = phase1.detection_loss(res, truths, steep=1.0)
        dense, more = phase1.dense_loss(heads, states, batch)
        items = [
            Item(None, res.boxes[i].detach(), res.score[i].detach(), s) for i, s in enumerate(batch)
        ]
        packs, boxes = [], []
        for item in items:
            box, owner, order = regions_of(model, item, rng)
            packs.append(packer.pack([[t] for t in tasks.turns(item.sample.scene, rng, order)], box, owner, order))
            boxes.append(box)
        image = model.image_tokens(states)
        if conv:
            with torch.autocast("cpu", torch.bfloat16, enabled=clock.bf16):
                maps = model.region_encoder.fuse([s.detach() for s in states])
            regions = roi([m.float() for m in maps], boxes)
        else:
            regions = roi([], boxes, conv=False)
        said, info = language_loss(model, aids, items, packs, image, regions, clock.bf16)
        opt.step(said + 0.4 * seen + 1.5 * dense, clock, warm=60)
        avg.add(**{k: parts[k] for k in ("dec_c", "dec_b", "hit", "iou")}, dense=more["shape"], **info)
        clock.step()
        if clock.steps % 25 == 0 or clock.steps == 4:
            print(f"{name} {clock} {avg}", flush=True)
        if clock.steps % 100 == 0:
            save(out / f"{name}.pt", model=model, heads=heads, aids=aids, opt=opt, clock=clock)
    feed.close()
    save(out / f"{name}.pt", model=model, heads=heads, aids=aids, opt=opt, clock=clock)
