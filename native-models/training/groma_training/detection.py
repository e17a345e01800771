"""The proposer's losses, for a batch of pictures at once.

Heat-map focal loss on the encoder's class logit and a box loss on the four tokens nearest to each centre; in the decoder
every query with a good IoU is a positive, its IoU the target. With steep = 1 the target is nothing under IoU 0.55, so that
only well-fitting boxes score above 0.15.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .boxes import area, giou_xyxy, to_xyxy

GRID = 32


def centres_of_tokens() -> torch.Tensor:
    """[1024,2] x, y of the tokens, 0..1."""
    at = (torch.arange(GRID) + 0.5) / GRID
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], -1)


def heat_map(boxes: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """[B,1024] CenterNet-like truth of boxes [B,N,4]: 1 at the token nearest to each centre, Gaussian around."""
    spread = (boxes[..., 2:] / 6).clamp(min=0.4 / GRID)
    far = (centres_of_tokens() - boxes[:, :, None, :2]) / spread[:, :, None]
    heat = (torch.exp(-far.square().sum(-1) / 2) * there[..., None]).amax(1)
    column, row = (boxes[..., :2] * GRID).long().clamp(0, GRID - 1).unbind(-1)
    return heat.scatter_reduce(1, row * GRID + column, there.float(), "amax")


def pair_loss(pred: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """L1 (relative to the true size) and GIoU of cxcywh pairs [...,4]."""
    scale = true[..., 2:].tile(2).clamp(min=0.02)
    l1 = ((pred - true).abs() / scale).mean(-1)
    return l1 * 1.5 + 2 * (1 - giou_xyxy(to_xyxy(pred), to_xyxy(true)))


def quality_loss(logit: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Focal-weighted cross-entropy towards a quality in 0..1."""
    p = logit.sigmoid().detach()
    return ((p - target).abs() ** 1.5 * F.binary_cross_entropy_with_logits(logit, target, reduction="none")).sum()


def iou_batch(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """IoU [B,N,M] of corner boxes [B,N,4] and [B,M,4]."""
    a, b = a[:, :, None], b[:, None]
    inter = area((torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0))
    return inter / (area(a[..., 2:] - a[..., :2]) + area(b[..., 2:] - b[..., :2]) - inter).clamp(min=1e-9)


def detection_loss(out, boxes: torch.Tensor, there: torch.Tensor, steep: float):
    """out: Proposals; boxes [B,N,4] cxcywh, of which those with `there` [B,N] are real."""
    n = there.sum().clamp(min=1)
    heat = heat_map(boxes, there)
    logit, p = out.enc_logit, out.enc_logit.sigmoid()
    centre = heat > 0.999
    enc_c = -torch.where(centre, F.logsigmoid(logit) * (1 - p) ** 2, F.logsigmoid(-logit) * p**2 * (1 - heat) ** 4).sum()
    far = (centres_of_tokens() - boxes[:, :, None, :2]).square().sum(-1)
    tokens = far.topk(4, -1, largest=False).indices  # [B,N,4]
    told = out.enc_box.gather(1, tokens.flatten(1)[..., None].expand(-1, -1, 4)).view(*tokens.shape, 4).sigmoid()
    enc_b = (pair_loss(told, boxes[:, :, None].expand_as(told)) * there[..., None]).sum() / 4
    dec_c = dec_b = 0.0
    for box, coco, sa1b in out.layers:
        with torch.no_grad():
            iou = iou_batch(to_xyxy(box), to_xyxy(boxes)) * there[:, None]
            best, owner = iou.max(2)
            sharp = ((best - 0.55) / 0.35).clamp(0, 1)
            target = (1 - steep) * best * (best > 0.4) + steep * sharp
            top_iou, top = iou.max(1)
            target = target.scatter_reduce(1, top, (0.25 + 0.75 * top_iou) * there, "amax")
            chosen = (best > 0.4).float().scatter_reduce(1, top, ((top_iou > 0.1) & there).float(), "amax")
        dec_c = dec_c + quality_loss(coco, target) + quality_loss(sa1b, target)
        pairs = pair_loss(box, boxes.gather(1, owner[..., None].expand(-1, -1, 4))) * chosen
        dec_b = dec_b + (pairs.sum(1) / chosen.sum(1).clamp(min=1) * there.sum(1)).sum()
    parts = {"enc_c": enc_c / n, "enc_b": enc_b / n, "dec_c": dec_c / n, "dec_b": dec_b / n}
    loss = parts["enc_c"] + parts["enc_b"] + 0.7 * parts["dec_c"] + parts["dec_b"]
    found = {"hit": ((top_iou > 0.5) & there).sum() / n, "iou": (top_iou * there).sum() / n}
    return loss, parts | found
