"""The joint phase: everything together on a GPU, in batches of fixed shapes.

`python -m groma_training.joint --start CHECKPOINT --out DIR --steps N` goes on from the checkpoint of the phases before:
encoder, proposer, region encoder with its convolutions, and language, all losses at once. With `--see SHARE` instead of a
checkpoint it begins with nothing: for that share of the run encoder and proposer learn to see, small things first. So that what a region is gets
read from its own token, as the released model does, a part of the scenes hide their image tokens and a few have another
scene's. Everything beside the model (heads, aids) is thrown away.
"""

from __future__ import annotations

import argparse
import math
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
from .deepen import deepen
from .detection import detection_loss
from .groma import Groma
from .joint_records import KINDS, PACKS, PER_PACK, REGIONS, TOKENS, Records
from .optimisers import Optimisers, named
from .packing import IMAGE_TOKENS, Packer
from .patches import flipped, near_loss, owners, patch_loss
from .phase0 import DenseHeads
from .phase2 import LOOK_IMAGE, LOOK_REGION, Aids
from .pool import Pool
from .region_encoder import BINS, axis_weights
from .schedule import MEAN, STD, Running
from .tokenizer import Tokenizer
from .vocabulary import HELD_OUT

ROUNDING = 1e-6
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


class Talks:
    """The language side of a batch: embeddings in place, who may look where."""

    def __init__(self, model: Groma, batch: dict, image_at: int):
        self.model, self.batch, self.image_at = model, batch, image_at

    def embed(self, image: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
        """Tokens [B,T] with image [B,256,H] and regions [B,R,H] in their places -> [B,T,H]."""
        m = self.model  # a product, not a look-up: its gradient needs no sorting of a hundred thousand tokens
        table = torch.cat([m.llm.model.embed_tokens.weight, m.new_input_embs.weight])
        x = (self.batch["tokens"][..., None] == torch.arange(len(table))).to(torch.bfloat16) @ table.bfloat16()
        b, t, h = x.shape
        x = torch.cat([x, x.new_zeros(b, 1, h)], 1)  # the last place takes what has none
        x[:, self.image_at : self.image_at + IMAGE_TOKENS] = image.to(x.dtype)
        talk_at, talk_region = self.batch["talk_feats"].unbind(-1)
        at = torch.cat([self.batch["region_at"], talk_at], 1)
        which = torch.cat([torch.arange(REGIONS).expand(b, -1), talk_region.clamp(min=0)], 1)
        at = at.masked_fill(at < 0, t)
        values = regions.gather(1, which[..., None].expand(-1, -1, h)).to(x.dtype)
        return x.scatter(1, at[..., None].expand(-1, -1, h), values)[:, :t]

    def mask(self, hidden: torch.Tensor) -> torch.Tensor:
        """[B,1,T,T], True = may look; hidden [B]: without the image tokens."""
        at = torch.arange(TOKENS)
        prefix, start = self.batch["prefix"][:, None, None], self.batch["start"][:, :, None]
        mask = (at[None, None] <= at[None, :, None]) & ((at[None, None] < prefix) | (at[None, None] >= start))
        image = (at >= self.image_at) & (at < self.image_at + IMAGE_TOKENS)
        mask &= ~(hidden[:, None, None] & image[None, None]) | (at[:, None] == at[None])
        return mask[:, None]


def pick(x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Rows x[b, at[b, k]] -> [B,K,...]; negative places give the first row."""
    index = at.clamp(min=0)
    return x.gather(1, index.view(*index.shape, *[1] * (x.ndim - 2)).expand(*index.shape, *x.shape[2:]))


def mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=ROUNDING)


def entropy(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of [...,C] against [...], one by one."""
    return F.cross_entropy(logits.float().flatten(0, -2), truth.flatten(), reduction="none").view(truth.shape)


def thing_attributes(batch: dict, owner: torch.Tensor):
    """Colour, shape, size of owners [B,K]; where there is none (negative) the class after the last."""
    at = owner.clamp(min=0)
    none = {"colours": 8, "shapes": 8, "sizes": 2}
    return tuple(batch[k].gather(1, at).masked_fill(owner < 0, n) for k, n in none.items())


def attribute_loss(read: torch.Tensor, truth, weight: torch.Tensor) -> torch.Tensor:
    colour, shape, size = truth
    return mean(
        entropy(read[..., :9], colour) + 1.5 * entropy(read[..., 9:18], shape) + entropy(read[..., 18:21], size), weight
    )


def language_loss(model: Groma, aids: Aids, batch: dict, image, regions, hidden_image: torch.Tensor, image_at: int):
    """Losses of the answers and of the aids (phase 2 says which), and which turns came out whole [B,turns] by kind."""
    talks = Talks(model, batch, image_at)
    mask = talks.mask(hidden_image)
    x = talks.embed(image, regions)
    bias = torch.zeros(mask.shape, dtype=torch.bfloat16).masked_fill(~mask, float("-inf"))
    out, _, states, seen = model.llm(x, batch["positions"], bias, probes=LOOK_IMAGE | LOOK_REGION)
    logits = model.logits(out)[:, :-1].float()
    truth, weight = batch["labels"][:, 1:], batch["weights"][:, 1:]
    parts = {"lm": mean(entropy(logits, truth.clamp(min=0)), weight)}
    with torch.no_grad():
        told = truth >= 0
        wrong = ((logits.argmax(-1) != truth) & told).float()
        turn = batch["turn"][:, 1:].masked_fill(~told, 63)
        missed = torch.zeros(len(truth), 64).scatter_add(1, turn, wrong)
        kind = torch.full((len(truth), 64), -1).scatter(1, turn, batch["kind"][:, 1:])
        whole = {name: mean((missed == 0).float(), ((kind == k) & (torch.arange(64) < 63)).float()) for k, name in enumerate(KINDS)}
    mid = states[1]
    at, owner = batch["reads"].unbind(-1)
    read = aids.attributes(pick(mid, at))
    parts["attr"] = attribute_loss(read, thing_attributes(batch, owner), (owner > -2).float())
    region_at = batch["region_at"]
    number = batch["region_first"][:, None] + torch.arange(REGIONS)
    parts["num"] = mean(entropy(aids.number(pick(mid, region_at)), number.clamp(max=99)), (region_at >= 0).float())
    centre = batch["region_boxes"][..., :2]
    place, thirds = aids.attributes_place(pick(mid, region_at)).float(), (centre * 3).long().clamp(0, 2)
    spots = entropy(place[..., :3], thirds[..., 0]) + entropy(place[..., 3:6], thirds[..., 1])
    parts["place"] = mean(spots + 8 * (place[..., 6:] - centre).abs().mean(-1), (region_at >= 0).float())
    look_at, look_region = batch["looks"].unbind(-1)
    goal = region_at.gather(1, look_region.clamp(min=0))
    look = 0.0
    for layer in LOOK_REGION:
        rows = pick(seen[layer], look_at).float().masked_fill(~pick(mask[:, 0], look_at), -1e4)
        look = look + mean(entropy(rows, goal.clamp(min=0)), (look_at >= 0).float())
    parts["look"] = look / 2
    # a region token looks at the image tokens its thing covers
    cover = batch["cover"]  # [B,things,256]
    wanted = pick(cover, batch["region_owner"])
    wanted = wanted >= (wanted.amax(-1, keepdim=True) * 0.6).clamp(min=1e-3, max=0.5)
    counted = ((batch["region_owner"] >= 0) & ~hidden_image[:, None]).float()
    ground = 0.0
    for layer in LOOK_IMAGE:
        rows = pick(seen[layer], region_at).float().masked_fill(~pick(mask[:, 0], region_at), -1e4).log_softmax(-1)
        rows = rows[..., image_at : image_at + IMAGE_TOKENS]
        ground = ground - mean(torch.logsumexp(rows.masked_fill(~wanted, -1e4), -1), counted)
    parts["ground"] = ground / 2
    loss = (
        parts["lm"] + 0.5 * parts["attr"] + 0.5 * parts["look"] + 0.2 * parts["num"] + 0.3 * parts["place"]
        + 0.2 * parts["ground"]
    )  # fmt: skip
    return loss, parts, whole


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


class Recorded:
    """A step of fixed shapes, recorded once as a CUDA graph and replayed: launching it takes no time of the processor.

    step(batch) -> tensors; the first three steps run as they are.
    """

    def __init__(self, step, batch: dict[str, torch.Tensor]):
        self.inputs = {k: v.clone() for k, v in batch.items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step(self.inputs)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.outputs = step(self.inputs)

    def __call__(self, batch: dict[str, torch.Tensor]):
        for k, v in batch.items():
            self.inputs[k].copy_(v, non_blocking=True)
        self.graph.replay()
        return self.outputs


class Budget:
    """Steps or seconds, whichever end first; learning rate: warm-up, then cosine to 2 %."""

    def __init__(self, steps: int, seconds: float | None, warm: int):
        self.total, self.seconds, self.warm, self.steps, self.began = steps, seconds, warm, 0, time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    @property
    def progress(self) -> float:
        return min(1.0, max(self.steps / self.total, self.elapsed / self.seconds if self.seconds else 0.0))

    def rate(self, lr: float, warm: int) -> float:
        return lr * (0.02 + 0.49 * (1 + math.cos(math.pi * self.progress))) * min(1.0, (self.steps + 1) / warm)

    def __str__(self) -> str:
        return f"step {self.steps}, {self.progress:.0%}, {self.elapsed:.0f} s"


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
    p.add_argument("--seed", type=int, default=31, help="under 100000: evaluation draws from above")
    p.add_argument("--workers", type=int, default=14)
    p.add_argument("--vision-layers", type=int, default=6)
    p.add_argument("--llm-layers", type=int, default=6)
    p.add_argument("--say", type=int, default=100)
    p.add_argument("--save", type=int, default=1000)
    run(p.parse_args())


if __name__ == "__main__":
    main()
