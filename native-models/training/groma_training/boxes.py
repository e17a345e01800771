"""Box arithmetic. cxcywh = centre and size, xyxy = corners; any unit."""

from __future__ import annotations

import torch


def to_xyxy(b: torch.Tensor) -> torch.Tensor:
    c, s = b[..., :2], b[..., 2:]
    return torch.cat([c - s / 2, c + s / 2], -1)


def iou_matrix(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """IoU [N,M] of corner boxes [N,4] and [M,4]."""
    lt = torch.maximum(a[:, None, :2], b[None, :, :2])
    rb = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = (rb - lt).clamp(min=0).prod(-1)
    area = (a[:, 2:] - a[:, :2]).prod(-1)[:, None] + (b[:, 2:] - b[:, :2]).prod(-1)[None]
    return inter / (area - inter).clamp(min=1e-9)


def area(size: torch.Tensor) -> torch.Tensor:
    """Width times height of sizes [...,2]; unlike prod(), its gradient does not wait for a GPU."""
    return size[..., 0] * size[..., 1]


def giou_xyxy(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Generalised IoU of pairs of corner boxes [...,4]."""
    inter = area((torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0))
    union = area(a[..., 2:] - a[..., :2]) + area(b[..., 2:] - b[..., :2]) - inter
    hull = area(torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2]))
    return inter / union.clamp(min=1e-9) - (hull - union) / hull.clamp(min=1e-9)


def nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Indices kept by class-agnostic NMS on corner boxes, score descending (suppress IoU > threshold)."""
    order = torch.sort(scores, descending=True, stable=True).indices
    iou = iou_matrix(boxes[order], boxes[order])
    keep: list[int] = []
    dead = torch.zeros(len(order), dtype=torch.bool)
    for i in range(len(order)):
        if not dead[i]:
            keep.append(i)
            dead |= iou[i] > threshold
    return order[torch.tensor(keep, dtype=torch.long)]
