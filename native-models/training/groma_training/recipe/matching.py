"""Detection loss of stage 1: Hungarian matching, focal + L1 + GIoU, on every decoder layer and the encoder's proposals."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

from ..boxes import giou_xyxy, to_xyxy
from ..proposer import Proposals

# Deformable DETR's weights
CLASS, L1, GIOU = 2.0, 5.0, 2.0
ALPHA, GAMMA = 0.25, 2.0


def focal(logit: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Sigmoid focal loss, elementwise."""
    p = logit.sigmoid()
    miss = torch.where(target > 0.5, 1 - p, p)
    weight = torch.where(target > 0.5, ALPHA, 1 - ALPHA)
    return weight * miss**GAMMA * F.binary_cross_entropy_with_logits(logit, target, reduction="none")


@torch.no_grad()
def match(boxes: torch.Tensor, logit: torch.Tensor, true: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One prediction for each true box at the least cost: (predictions, things), both [min(Q,N)].

    boxes [Q,4] and true [N,4] cxcywh in 0..1, logit [Q].
    """
    one, zero = torch.ones_like(logit), torch.zeros_like(logit)
    p = logit.sigmoid()
    gain = ALPHA * (1 - p) ** GAMMA * F.binary_cross_entropy_with_logits(logit, one, reduction="none")
    loss = (1 - ALPHA) * p**GAMMA * F.binary_cross_entropy_with_logits(logit, zero, reduction="none")
    q, n = len(boxes), len(true)
    pairs = boxes[:, None].expand(q, n, 4), true[None].expand(q, n, 4)
    cost = CLASS * (gain - loss)[:, None] + L1 * (pairs[0] - pairs[1]).abs().sum(-1)
    cost = cost - GIOU * giou_xyxy(to_xyxy(pairs[0]), to_xyxy(pairs[1]))
    rows, cols = linear_sum_assignment(cost.float().cpu().numpy())
    return torch.as_tensor(rows, device=boxes.device), torch.as_tensor(cols, device=boxes.device)


def set_loss(boxes: torch.Tensor, logit: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """[class, l1, giou] of one picture, sums over its things."""
    target = torch.zeros_like(logit)
    if len(true) == 0:
        return torch.stack([focal(logit, target).sum(), boxes.sum() * 0, boxes.sum() * 0])
    rows, cols = match(boxes, logit, true)
    target[rows] = 1.0
    mine, theirs = boxes[rows], true[cols]
    giou = 1 - giou_xyxy(to_xyxy(mine), to_xyxy(theirs))
    return torch.stack([focal(logit, target).sum(), (mine - theirs).abs().sum(), giou.sum()])


def detection_loss(out: Proposals, truths: list[torch.Tensor], heads: list[str]) -> tuple[torch.Tensor, dict[str, float]]:
    """truths: per picture [N,4] cxcywh; heads: the objectness head that the picture's data set teaches."""
    things = max(1, sum(len(t) for t in truths))
    parts: dict[str, torch.Tensor] = {}
    for b, (true, head) in enumerate(zip(truths, heads, strict=True)):
        told = {
            f"layer{i}": (boxes[b], (coco if head == "coco" else sa1b)[b])
            for i, (boxes, coco, sa1b) in enumerate(out.layers)
        }
        seen = torch.isfinite(out.enc_box[b]).all(-1)  # tokens at the rim propose nothing
        told["encoder"] = (out.enc_box[b][seen].sigmoid(), out.enc_logit[b][seen])
        for name, (boxes, logit) in told.items():
            parts[name] = parts.get(name, 0) + set_loss(boxes.float(), logit.float(), true) / things
    weights = torch.tensor([CLASS, L1, GIOU], device=out.boxes.device)
    loss = sum((weights * p).sum() for p in parts.values())
    last = parts[f"layer{len(out.layers) - 1}"]
    told = {"class": last[0].item(), "l1": last[1].item(), "giou": last[2].item(), "encoder": (weights * parts["encoder"]).sum().item()}
    return loss, told
