"""Region encoder: three-level feature fusion, RoIAlign with the authors' oddities, one token a box.

Oddity 1: RoIAlign reads cxcywh boxes as x1,y1,x2,y2. Oddity 2: its scales fit maps of twice the
size, so samples fall outside; there they count as 0. Everything before RoIAlign is box-free.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .group_norm import GroupNormRelu

ROUNDS, LEVELS, BINS, RATIO = 5, 3, 14, 2


class ConvNorm(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, 1, 1, bias=False)
        self.gn = nn.GroupNorm(64, c)

    def forward(self, x):
        x = self.conv(x)
        if x.is_cuda and x.is_contiguous(memory_format=torch.channels_last):
            return GroupNormRelu.apply(x, self.gn.weight, self.gn.bias, self.gn.num_groups, self.gn.eps)
        return F.relu(self.gn(x))


def resize(x: torch.Tensor, side: tuple[int, int]) -> torch.Tensor:
    if tuple(x.shape[-2:]) == tuple(side):
        return x
    return F.interpolate(x, size=side, mode="bilinear", align_corners=True)


class Fusion(nn.Module):
    def __init__(self, c_in: int, c: int):
        super().__init__()
        self.input_conv = nn.ModuleList(nn.Conv2d(c_in + 2, c, 1) for _ in range(LEVELS))
        self.fuse_convs = nn.ModuleList(ConvNorm(c) for _ in range(ROUNDS))

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """Three [B,C,g,g] maps (hidden states -3, -2, -1) -> fused maps of 4g, 2g and g."""
        g = maps[0].shape[-1]
        levels = []
        for i, m in enumerate(maps):
            n = g * (4, 2, 1)[i]
            m = resize(m, (n, n))
            line = torch.linspace(-1, 1, n).to(m.dtype)
            xy = torch.stack([line.expand(n, n), line[:, None].expand(n, n)])
            m = torch.cat([m, xy.expand(m.shape[0], -1, -1, -1)], 1)
            levels.append(self.input_conv[i](m))
        half, quarter = levels[-1].shape[1] // 2, levels[-1].shape[1] // 4
        for conv in self.fuse_convs:
            mixed = list(levels)
            for i in range(LEVELS):
                x, size = levels[i], levels[i].shape[-2:]
                top = resize(levels[min(i + 1, 2)][:, half + quarter :], size)
                down = resize(levels[max(i - 1, 0)][:, half : half + quarter], size)
                mixed[i] = torch.cat([x[:, :half], top, down], 1)
            levels = [conv(x) for x in mixed]
        return levels


def axis_weights(start: torch.Tensor, length: torch.Tensor, size: int) -> torch.Tensor:
    """Bilinear sampling weights [R, BINS, size] of one axis; outside (< -1, > size) is 0."""
    k = torch.arange(BINS * RATIO, dtype=torch.float32)
    at = start[:, None] + (k + 0.5) * (length[:, None] / BINS / RATIO)  # [R, 28]
    inside = (at >= -1.0) & (at <= size)
    at = at.clamp(0, size - 1)
    low = at.floor().clamp(max=size - 1)
    high = (low + 1).clamp(max=size - 1)
    frac = at - low
    w = torch.zeros(*at.shape, size)
    w.scatter_add_(2, low.long()[..., None], ((1 - frac) * inside)[..., None])
    w.scatter_add_(2, high.long()[..., None], (frac * inside)[..., None])
    return w.view(len(at), BINS, RATIO, size).mean(2)


def roi_align(x: torch.Tensor, rois: torch.Tensor, scale: float) -> torch.Tensor:
    """x [C,H,W], rois [R,4] in pixels read as x1,y1,x2,y2 -> [R,C,14,14] (separable, so two products)."""
    c, h, w = x.shape
    r = len(rois)
    a = rois * scale
    ay = axis_weights(a[:, 1] - 0.5, a[:, 3] - a[:, 1], h)
    ax = axis_weights(a[:, 0] - 0.5, a[:, 2] - a[:, 0], w)
    rows = torch.matmul(ay.reshape(r * BINS, h), x.permute(1, 0, 2).reshape(h, c * w))
    rows = rows.view(r, BINS * c, w) @ ax.transpose(1, 2)  # [R, 14*C, 14]
    return rows.view(r, BINS, c, BINS).transpose(1, 2)


class RegionHead(nn.Module):
    def __init__(self, c: int, width: int, hidden: int):
        super().__init__()
        self.pconvs = nn.ModuleList(nn.Conv2d(c, c, 3, 1, 1) for _ in range(LEVELS))
        self.pos_embedd = nn.Sequential(
            nn.Linear(4, 256), nn.ReLU(), nn.LayerNorm(256), nn.Linear(256, width), nn.ReLU(), nn.LayerNorm(width)
        )
        self.updims = nn.Linear(width, hidden)
        self.flatten_linear = nn.Linear(c * BINS * BINS, width)

    def forward(self, maps: list[torch.Tensor], boxes: list[torch.Tensor], conv: bool = True):
        """maps: fused levels [B,C,.,.]; boxes: per image [R,4] cxcywh 0..1 -> per image [R, hidden].

        conv=False leaves the convolution branch out (training of the position branch; ablation).
        """
        told = self.branch(maps, boxes) if conv else [self.flatten_linear.bias] * len(boxes)
        return [self.updims(t + self.pos_embedd(box)) for t, box in zip(told, boxes, strict=True)]

    def branch(self, maps: list[torch.Tensor], boxes: list[torch.Tensor]) -> list[torch.Tensor]:
        """What the convolutions alone say of each box: per image [R, width]."""
        out = []
        for b, box in enumerate(boxes):
            x = sum(
                p(roi_align(m[b], box * 448, (8, 4, 2)[i] / 14))
                for i, (p, m) in enumerate(zip(self.pconvs, maps, strict=True))
            )
            out.append(self.flatten_linear(F.relu(x).flatten(1)))
        return out


class RegionEncoder(nn.Module):
    def __init__(self, c_in: int, c: int, width: int, hidden: int):
        super().__init__()
        self.mlvl_fuse = Fusion(c_in, c)
        self.roi_align = RegionHead(c, width, hidden)

    def forward(self, states: list[torch.Tensor], boxes: list[torch.Tensor], conv: bool = True):
        """states: the encoder's hidden states [B, 1+g*g, C]."""
        return self.roi_align(self.fuse(states) if conv else [], boxes, conv)

    def fuse(self, states: list[torch.Tensor]) -> list[torch.Tensor]:
        g = int((states[-1].shape[1] - 1) ** 0.5)
        maps = [s[:, 1:].transpose(1, 2).reshape(s.shape[0], -1, g, g) for s in states[-3:]]
        return self.mlvl_fuse(maps)
