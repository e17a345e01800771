"""The joint phase: everything together on a GPU, in batches of fixed shapes.

`python -m groma_training.joint --start CHECKPOINT --out DIR --steps N` goes on from the checkpoint of the phases before:
encoder, proposer, region encoder with its convolutions, and language, all losses at once. With `--see SHARE` instead of a
checkpoint it begins with nothing: for that share of the run encoder and proposer learn to see, small things first.

So that what a region is gets read from its own token, as in the released model, a part of the scenes hide their image tokens
and a few have another scene's. Everything beside the model (heads, aids) is thrown away.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from . import checkpoint, demo, make_tokenizer
from .branch import BranchHeads, Readout, cell_loss, start_branch
from .cuda_graph import Recorded
from .deepen import deepen
from .detection import detection_loss
from .groma import Groma
from .joint_records import PACKS, PER_PACK, Records
from .optimisers import Optimisers, named
from .packing import Packer
from .patches import flipped, near_loss, owners, patch_loss
from .phase0 import DenseHeads
from .phase2 import Aids
from .pool import Pool
from .region_encoder import BINS, axis_weights
from .schedule import MEAN, STD, Budget, Running
from .talks import attribute_loss, language_loss, mean, thing_attributes
from .tokenizer import Tokenizer
from .vocabulary import HELD_OUT, SEEDS

HIDDEN, OTHER = 0.45, 0.07  # shares of the scenes without image tokens, and with another scene's


def fused(model: Groma, states: list[torch.Tensor]) -> list[torch.Tensor]:
    """The region encoder's maps in bfloat16, channels together in memory; autocast would normalise in float32."""
    fuse = model.region_encoder.mlvl_fuse
    weights = {k: v.bfloat16() for k, v in fuse.named_parameters()}
    g = int((states[-1].shape[1] - 1) ** 0.5)
    maps = [s[:, 1:].bfloat16().unflatten(1, (g, g)).permute(0, 3, 1, 2) for s in states[-3:]]
    with torch.autocast(states[0].device.type, enabled=False):
        return functional_call(fuse, weights, (maps,))


def pooled(maps: list[torch.Tensor], boxes: torch.Tensor) -> list[torch.Tensor]:
    """RoIAlign of every level: maps [B,C,.,.], boxes [B,R,4] -> [B*R,C,14,14] each, channels together in memory."""
    b, r, _ = boxes.shape
    rois, out = (boxes * 448).flatten(0, 1), []
    for level, m in enumerate(maps):
        c, h, w = m.shape[1:]
        a = rois * ((8, 4, 2)[level] / 14)
        ay = axis_weights(a[:, 1] - 0.5, a[:, 3] - a[:, 1], h).to(m.dtype).view(b, r * BINS, h)
        ax = axis_weights(a[:, 0] - 0.5, a[:, 2] - a[:, 0], w).to(m.dtype)
        rows = ay @ m.permute(0, 2, 3, 1).reshape(b, h, w * c)  # [B, R*14, w*C]
        bins = ax[:, None] @ rows.view(b * r, BINS, w, c)  # [B*R, 14, 14, C]
        out.append(bins.permute(0, 3, 1, 2))
    return out


def region_tokens(model: Groma, readout: Readout, maps, boxes: torch.Tensor) -> torch.Tensor:
    """[B,R,H]; flatten_linear is the sum of a smooth read-out and its own weights. maps None: without the branch."""
    roi, (b, r, _) = model.region_encoder.roi_align, boxes.shape
    told = readout.matrix.bias + roi.flatten_linear.bias
    if maps is not None:
        x = F.relu(sum(p(m) for p, m in zip(roi.pconvs, pooled(maps, boxes), strict=True)))
        told = (readout(x) + roi.flatten_linear(x.flatten(1))).view(b, r, -1)
    return roi.updims(told + roi.pos_embedd(boxes))


class Trainer:
    def __init__(self, model: Groma, image_at: int, device: torch.device):
        c = model.cfg
        self.model, self.image_at, self.device = model, image_at, device
        self.dense = DenseHeads(c.vision.hidden_size)
        self.aids = Aids(c.llm.hidden_size)
        self.heads = BranchHeads(c.region_channels, c.llm.hidden_size)
        self.readout = Readout(c.region_channels, c.region_width)
        self.mean, self.std = (v.view(3, 1, 1).to(device) for v in (MEAN, STD))

    def optimisers(self, rate: float) -> Optimisers:
        m, per, roi = self.model, self.model.perceiver, self.model.region_encoder.roi_align
        language = nn.ModuleDict({
            "llm": m.llm, "bridge": m.img_txt_bridge, "new_input_embs": m.new_input_embs, "extra_lm_head": m.extra_lm_head,
            "updims": roi.updims, "pos": roi.pos_embedd,
        })  # fmt: skip
        branch = nn.ModuleDict({"conv": nn.ModuleList([m.region_encoder.mlvl_fuse, roi.pconvs]), "flatten": roi.flatten_linear})
        proposer = nn.ModuleList([per.ddetr_transformer, per.input_proj])
        aside = [(f"attributes.{n}", p, k) for part in (self.dense, self.aids, self.heads) for n, p, k in named(part, 1.0)]
        readout = [(f"conv.{n}", p, k) for n, p, k in named(self.readout, 1.5)]
        every = named(language, 1.0) + named(branch, 1.5) + readout + named(proposer, 0.5) + named(per.vis_encoder, 0.7)
        return Optimisers(every + aside, rate, 8 * rate, gpu=self.device.type == "cuda")

    def prepare(self, pool: Pool, rng: np.random.Generator, size: int, seen: int) -> dict[str, torch.Tensor]:
        """A batch in memory that a GPU reads by itself, with one of each scene's packs."""
        batch = pool.take(rng, size, seen)
        rows, chosen = torch.arange(size, device="cpu"), torch.from_numpy(rng.integers(0, PACKS, size))
        batch = {k: v[rows, chosen] if k in PER_PACK else v for k, v in batch.items()}
        batch["draw"] = torch.from_numpy(rng.random(size, np.float32))  # who goes without image tokens
        batch["flips"] = torch.from_numpy(rng.random((size, 3), np.float32))
        return {k: v.pin_memory() for k, v in batch.items()} if self.device.type == "cuda" else batch

    def with_owners(self, batch: dict[str, torch.Tensor]) -> dict:
        """And the truth that follows from the instance map."""
        out = dict(batch)
        out["there"] = torch.arange(out["boxes"].shape[1])[None] < out["count"][:, None]
        out["owners"] = owners(out["ids"], out["boxes"].shape[1])
        out["cover"] = F.avg_pool2d(out["owners"]["share"], 2).flatten(2)  # [B,things,256]
        return out

    def seeing(self, batch: dict[str, torch.Tensor]):
        """Losses of what sees alone, on mirrored pictures."""
        batch = self.with_owners(batch | flipped(batch, batch["flips"]))
        with torch.autocast(self.device.type, torch.bfloat16):
            states = self.model.encode(self.normalised(batch["pixels"]))
        states = [s.float() for s in states]
        seen, parts = detection_loss(self.model.propose(states), batch["boxes"], batch["there"], steep=0.5)
        patch, more = patch_loss(self.dense, states, batch)
        return 0.4 * seen + 1.5 * patch + near_loss(self.dense, states, batch), parts | more, {}

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 [B,H,W,3] -> float [B,3,H,W]"""
        return (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std

    def losses(self, batch: dict[str, torch.Tensor], conv: bool = True, both: bool = False):
        """The sum, its parts, and how many turns of each kind came out whole; both: nobody goes without image tokens."""
        m = self.model
        cast = torch.autocast(self.device.type, torch.bfloat16)
        with cast:
            states = m.encode(self.normalised(batch["pixels"]))
        states = [s.float() for s in states]
        proposals = m.propose(states)
        seen, parts = detection_loss(proposals, batch["boxes"], batch["there"], steep=1.0)
        patch, more = patch_loss(self.dense, states, batch)
        with cast:
            maps = fused(m, states)
            cells = cell_loss(self.heads, maps, batch)
            regions = region_tokens(m, self.readout, maps if conv else None, batch["region_boxes"])
        owner = batch["region_owner"]
        truth = thing_attributes(batch, owner)
        read = self.heads.token(regions.float())
        token = attribute_loss(read, truth, (owner > -2).float())
        draw = torch.full_like(batch["draw"], 0.5) if both else batch["draw"]
        hidden, other = draw < HIDDEN, draw > 1 - OTHER
        with cast:
            image = m.image_tokens(states)
            image = torch.where(other[:, None, None], image.roll(1, 0), image)
            said, told, whole = language_loss(m, self.aids, batch, image, regions, hidden, self.image_at)
        loss = said + 0.4 * seen + 1.5 * patch + token + 0.5 * cells
        with torch.no_grad():
            right = [(read[..., lo:hi].argmax(-1) == t) for (lo, hi), t in zip(((0, 9), (9, 18), (18, 21)), truth, strict=True)]
            there = (owner >= 0).float()
            branch = {"token_shape": mean(right[1].float(), there), "token_all": mean((right[0] & right[1] & right[2]).float(), there)}
        return loss, parts | more | told | branch | {"token": token, "cells": cells}, whole

    def export(self, out: Path, tokenizer: Path) -> None:
        """The checkpoint, the read-out folded into flatten_linear."""
        weights = dict(self.model.state_dict())
        flat = "region_encoder.roi_align.flatten_linear"
        weights[f"{flat}.weight"] = weights[f"{flat}.weight"] + self.readout.weight()
        weights[f"{flat}.bias"] = weights[f"{flat}.bias"] + self.readout.matrix.bias
        checkpoint.write(self.model, out, tokenizer, {k: v.cpu() for k, v in weights.items()})


def numbers(values: dict[str, torch.Tensor]) -> dict[str, float]:
    return dict(zip(values, torch.stack([v.float() for v in values.values()]).tolist(), strict=True))


def run(a: argparse.Namespace) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = a.start
    if tokenizer is None:
        tokenizer = a.out / "tokenizer"
        make_tokenizer.write(tokenizer)
    packer = Packer(Tokenizer(tokenizer))
    records = Records(packer, a.grow if a.see else 0, HELD_OUT if a.hold_out else frozenset())
    pool = Pool(records, a.seed, a.kept, a.ahead, a.workers)
    model = start_model(a).train()
    trainer = Trainer(model, len(packer.head), device)
    start_branch(model.region_encoder)
    torch.set_default_device(device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    for part in (model, trainer.dense, trainer.aids, trainer.heads, trainer.readout):
        part.to(device)
    model.region_encoder.to(memory_format=torch.channels_last)
    model.perceiver.vis_encoder.embeddings.mask_token.requires_grad_(False)
    opt, drawer = trainer.optimisers(a.rate), ThreadPoolExecutor(1)

    def ahead(step: int):
        rng = np.random.default_rng([a.seed + 20, step])
        return drawer.submit(trainer.prepare, pool, rng, a.batch, a.first + a.fresh * step)

    def step(losses, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        loss, parts, whole = losses(batch)
        opt.update(loss)
        return {"loss": loss.detach()} | {k: v.detach() for k, v in (parts | whole).items()}

    budget, avg, waited, coming = Budget(a.steps, a.seconds, a.warm), Running(0.8), 0.0, ahead(0)
    for losses, until in ((trainer.seeing, a.see), (lambda batch: trainer.losses(trainer.with_owners(batch)), 1.0)):
        recorded = None
        while budget.progress < until:
            before = time.monotonic()
            batch = {k: v.to(device, non_blocking=True) for k, v in coming.result().items()}
            waited += time.monotonic() - before
            opt.set_rates(budget, warm=a.warm)
            if device.type == "cuda" and a.record and recorded is None:
                recorded = Recorded(partial(step, losses), batch)
            coming = ahead(budget.steps + 1)
            parts = recorded(batch) if recorded else step(losses, batch)
            budget.steps += 1
            if budget.steps % 20 == 0:
                avg.add(**numbers(parts))
            if budget.steps % a.say == 0:
                more = sides(trainer, batch) if until == 1 else ""
                print(f"joint {budget}, waited {waited:.0f} s, drawn {pool.drawn}: {avg} {more}", flush=True)
            if budget.steps % a.save == 0:
                trainer.export(a.out / "checkpoint", tokenizer)
    trainer.export(a.out / "checkpoint", tokenizer)
    coming.cancel()
    pool.close()
    drawer.shutdown(wait=False, cancel_futures=True)


def start_model(a: argparse.Namespace) -> Groma:
    torch.manual_seed(a.seed)
    if a.start:
        return deepen(checkpoint.read(a.start), a.vision_layers, a.llm_layers)
    c = demo.config()
    vision, llm = replace(c.vision, num_hidden_layers=a.vision_layers), replace(c.llm, num_hidden_layers=a.llm_layers)
    return demo.new_model(a.seed, replace(c, vision=vision, llm=llm))


@torch.no_grad()
def sides(trainer: Trainer, batch: dict[str, torch.Tensor]) -> str:
    """Turns that come out whole with all image tokens, and the same with a silent convolution branch."""
    words = []
    for name, conv in (("both", True), ("silent", False)):
        whole = numbers(trainer.losses(trainer.with_owners(batch), conv, both=True)[2])
        words += [f"{name}.{k} {whole[k]:.3f}" for k in ("short", "refer", "all", "describe", "chat")]
    return " ".join(words)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--start", type=Path, help="checkpoint to go on from; else from nothing")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--steps", type=int, default=4000)
    p.add_argument("--seconds", type=float, help="end after so many, fewer steps or not")
    p.add_argument("--see", type=float, default=0.0, help="share of the run that teaches only what sees")
    p.add_argument("--grow", type=int, default=8000, help="with --see: scenes until the standard ones; small things first")
    p.add_argument("--hold-out", action="store_true", help="never draw or name a part of the colours' and shapes' pairs")
    p.add_argument("--batch", type=int, default=96)
    p.add_argument("--fresh", type=int, default=40, help="scenes that are new in each step; the rest was seen before")
    p.add_argument("--first", type=int, default=2000, help="scenes drawn before the first step")
    p.add_argument("--kept", type=int, default=30000, help="scenes on offer")
    p.add_argument("--ahead", type=int, default=2000, help="scenes drawn ahead")
    p.add_argument("--rate", type=float, default=1e-3)
    p.add_argument("--warm", type=int, default=100, help="steps until the full rate")
    p.add_argument("--record", action=argparse.BooleanOptionalAction, default=True, help="the step as a CUDA graph")
    p.add_argument("--seed", type=int, default=31, help=f"under {SEEDS}: evaluation draws from above")
    p.add_argument("--workers", type=int, default=14)
    p.add_argument("--vision-layers", type=int, default=6)
    p.add_argument("--llm-layers", type=int, default=6)
    p.add_argument("--say", type=int, default=100)
    p.add_argument("--save", type=int, default=1000)
    a = p.parse_args()
    if not 0 < a.seed < SEEDS - 21:
        p.error(f"--seed: between 1 and {SEEDS - 22}")
    run(a)


if __name__ == "__main__":
    main()
