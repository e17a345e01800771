"""The language side of the joint phase: batches of talks, the losses of their answers and of the aids (phase 2 says which)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .groma import Groma
from .joint_records import KINDS, REGIONS, TOKENS
from .packing import IMAGE_TOKENS
from .phase2 import LOOK_IMAGE, LOOK_REGION, Aids


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
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)


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
