"""What lies on each of the encoder's patches, and the losses that teach the encoder to say it (whole pictures)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .phase0 import DenseHeads

GRID, PATCH = 32, 14


def owners(ids: torch.Tensor, things: int) -> dict[str, torch.Tensor]:
    """From instance maps [B,448,448] (0 = background, else 1 + thing), for every patch, row by row:

    `share` [B,things,32,32] of the patch that a thing covers, `owner` [B,1024] the thing that covers most, `most` its share.
    """
    cells = ids.view(len(ids), GRID, PATCH, GRID, PATCH)
    share = torch.stack([(cells == k + 1).float().mean((2, 4)) for k in range(things)], 1)
    most, owner = share.flatten(2).max(1)
    return {"share": share, "owner": owner, "most": most}


def flipped(batch: dict, draw: torch.Tensor) -> dict:
    """Pictures, instance maps and boxes mirrored along each axis or the diagonal, as draw [B,3] < 0.5 says; nothing else."""
    pixels, ids, boxes = batch["pixels"], batch["ids"], batch["boxes"]
    across, down, swap = (draw < 0.5).unbind(1)
    for which, axis in ((across, 2), (down, 1)):
        pixels = torch.where(which[:, None, None, None], pixels.flip(axis), pixels)
        ids = torch.where(which[:, None, None], ids.flip(axis), ids)
    cx, cy, w, h = boxes.unbind(-1)
    cx, cy = torch.where(across[:, None], 1 - cx, cx), torch.where(down[:, None], 1 - cy, cy)
    straight, turned = torch.stack([cx, cy, w, h], -1), torch.stack([cy, cx, h, w], -1)
    return {
        "pixels": torch.where(swap[:, None, None, None], pixels.transpose(1, 2), pixels),
        "ids": torch.where(swap[:, None, None], ids.transpose(1, 2), ids).contiguous(),
        "boxes": torch.where(swap[:, None, None], turned, straight),
    }


def near_loss(heads: DenseHeads, states: list[torch.Tensor], batch: dict) -> torch.Tensor:
    """For an encoder that starts from nothing: early layers tell easier things that lead to shapes.

    Which of the patch's own 2 px cells its thing covers (layer 1), how much of each of the 9x9 patches around (2 and 3).
    """
    seen, b = batch["owners"], len(batch["ids"])
    owner = seen["owner"]
    owned = seen["most"] >= 0.2
    pixels = batch["ids"].view(b, GRID, 7, 2, GRID, 7, 2).permute(0, 1, 4, 2, 5, 3, 6).reshape(b, GRID * GRID, 49, 4)
    own = (pixels == (owner + 1)[..., None, None]).float().mean(-1)
    things = seen["share"].shape[1]
    around = F.unfold(seen["share"].reshape(b * things, 1, GRID, GRID), 9, padding=4).view(b, things, 81, -1)
    around = around.permute(0, 3, 2, 1).gather(3, owner[..., None, None].expand(-1, -1, 81, 1))[..., 0]
    _, _, _, told, near = heads(states)
    loss = 0.0
    for logits, truth, factor in ((told, own, 1.0), (near[0], around, 1.5), (near[1], around, 1.5)):
        bce = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(-1)
        loss = loss + factor * (bce * owned).sum() / owned.sum()
    return loss


def patch_loss(heads: DenseHeads, states: list[torch.Tensor], batch: dict):
    """Colour and shape of each patch's thing (class 8 = background) and the thing's coverage of its own box."""
    seen = batch["owners"]
    owner, most = seen["owner"], seen["most"]
    owned = most >= 0.2
    sure = owned | (most < 0.06)
    # a thing counts as a thing, not as its area: small ones are the hard ones
    area = torch.zeros_like(batch["boxes"][..., 0]).scatter_add(1, owner, owned.float())
    rare = (0.3 + 0.7 * (20 / area.clamp(min=1)).clamp(max=4)).gather(1, owner)
    weight = rare.masked_fill(~owned, 0.15) * sure
    kind, _, mask, _, _ = heads(states)
    loss, right = 0.0, []
    for logits, name, factor in ((kind[..., :9], "colours", 1.0), (kind[..., 9:], "shapes", 1.5)):
        truth = batch[name].gather(1, owner).masked_fill(~owned, 8)
        ce = F.cross_entropy(logits.flatten(0, 1), truth.flatten(), reduction="none")
        loss = loss + factor * (ce * weight.flatten()).sum() / weight.sum()
        right.append(((logits.argmax(-1) == truth) & owned).float().sum() / owned.float().sum())
    masks = batch["masks"].float().gather(1, owner[..., None].expand(-1, -1, 49))
    covered = F.binary_cross_entropy_with_logits(mask, masks, reduction="none").mean(-1)
    loss = loss + 0.5 * (covered * owned).sum() / owned.sum()
    return loss, {"patch_colour": right[0], "patch_shape": right[1]}
