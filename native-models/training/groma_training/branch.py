"""Aids for the convolution branch of the region encoder.

RoIAlign reads cxcywh as corners at twice the scale, so the sampled rectangle runs from (2 cx, 2 cy) to (2 w, 2 h): a thing
lies at a different bin for every box, and others lie in the rectangle too. A point x of a thing with its own box is sampled
at t = (2 cx - x) / (2 cx - 2 w) of the way; dense heads on the fused maps teach every cell the colour, shape and t of its
owner, so that a bin can tell who is meant. flatten_linear has 25088 inputs, far too many to find the few that matter soon:
a sum over 25 fixed bumps on the bins (t is never under 0.5 at a thing's centre) of a matrix each is learnt beside it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .patches import GRID
from .region_encoder import BINS, LEVELS, RegionEncoder

BUMPS = ((6.9, 0.7), (8.0, 0.8), (9.4, 1.0), (11.2, 1.2), (13.3, 1.0))  # middle and width, in bins


def bumps() -> torch.Tensor:
    """[K, BINS, BINS]: products of bumps along x and y, each summing to 1."""
    at = torch.arange(BINS) + 0.5
    line = torch.stack([torch.exp(-(((at - m) / w) ** 2) / 2) for m, w in BUMPS])
    line = line / line.sum(1, keepdim=True)
    return (line[:, None, :, None] * line[None, :, None, :]).flatten(0, 1)


class Readout(nn.Module):
    """A flatten_linear with weight[d, c, i, j] = sum_k matrix[d, k, c] * bump[k, i, j]."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.matrix = nn.Linear(len(BUMPS) ** 2 * channels, width)
        nn.init.normal_(self.matrix.weight, std=0.3 * self.matrix.in_features**-0.5)
        nn.init.zeros_(self.matrix.bias)
        self.register_buffer("bump", bumps(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [R,C,BINS,BINS] -> [R,width]."""
        return self.matrix((self.bump.flatten(1).to(x.dtype) @ x.flatten(2).transpose(1, 2)).flatten(1))

    @torch.no_grad()
    def weight(self) -> torch.Tensor:
        """The same as a weight of flatten_linear [width, C*BINS*BINS]."""
        matrix = self.matrix.weight.view(self.matrix.out_features, len(self.bump), -1)
        return torch.einsum("dkc,kij->dcij", matrix, self.bump).flatten(1)


class BranchHeads(nn.Module):
    """Read-outs that are thrown away: attributes of a region from its finished token, of a cell from the fused maps."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.token = nn.Linear(hidden, 9 + 9 + 3)
        self.cells = nn.ModuleList(nn.Linear(channels, 9 + 9 + 2 * (BINS + 1)) for _ in range(LEVELS))


@torch.no_grad()
def start_branch(encoder: RegionEncoder) -> None:
    """Start values: rotations of the hidden states, fusion near the identity, nothing told yet by flatten_linear itself."""
    fuse, head = encoder.mlvl_fuse, encoder.roi_align
    for conv in fuse.input_conv:
        nn.init.zeros_(conv.bias)
        nn.init.zeros_(conv.weight)
        out, feats = conv.out_channels, conv.in_channels - 2
        conv.weight[:, :feats, 0, 0] = nn.init.orthogonal_(torch.empty(out, feats))
        conv.weight[:, feats:] = 0.3 * torch.randn(out, 2, 1, 1)
    for conv, centre in [(c.conv, 1.0) for c in fuse.fuse_convs] + [(p, 0.5) for p in head.pconvs]:
        nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
        conv.weight *= 0.4
        conv.weight[:, :, 1, 1] += centre * torch.eye(conv.out_channels)
    for c in fuse.fuse_convs:
        nn.init.constant_(c.gn.bias, 0.5)
    nn.init.zeros_(head.flatten_linear.weight)


def sampled_bins(boxes: torch.Tensor) -> torch.Tensor:
    """At which bin, across and down, a cell would be sampled for its owner's box [B,cells,4]: [B,cells,2], BINS = never."""
    line = (torch.arange(GRID) + 0.5) / GRID
    x, y = line.repeat(GRID), line.repeat_interleave(GRID)
    centre, extent = boxes[..., :2], boxes[..., 2:]
    way = centre - extent
    way = way.masked_fill(way.abs() < 1e-3, 1e-3)
    t = (2 * centre - torch.stack([x, y], -1)) / (2 * way)
    return (t * BINS).long().clamp(0, BINS - 1).masked_fill((t < 0) | (t >= 1), BINS)


def cell_loss(heads: BranchHeads, maps: list[torch.Tensor], batch: dict) -> torch.Tensor:
    """Colour, shape and bins of every cell's owner, from the fused levels [B,C,.,.]; the finer ones at some of their pixels."""
    owner, most = batch["owners"]["owner"], batch["owners"]["most"]
    owned = most >= 0.25
    area = torch.zeros_like(batch["boxes"][..., 0]).scatter_add(1, owner, owned.float())
    weight = area.clamp(min=1).rsqrt().gather(1, owner).masked_fill(~owned, 0.05)
    weight = weight * (owned | (most < 0.06))
    weight = weight / weight.sum(1, keepdim=True)
    there = weight * owned
    there = there / there.sum(1, keepdim=True).clamp(min=1e-6)
    truth = [batch[k].gather(1, owner).masked_fill(~owned, 8) for k in ("colours", "shapes")]
    bins = sampled_bins(batch["boxes"].gather(1, owner[..., None].expand(-1, -1, 4)))
    loss = 0.0
    for head, m, k in zip(heads.cells, maps, (4, 2, 1), strict=True):
        read = head(m[:, :, k // 2 :: k, k // 2 :: k].flatten(2).transpose(1, 2)).float()
        for lo, hi, t, w in (
            (0, 9, truth[0], weight), (9, 18, truth[1], weight),
            (18, 19 + BINS, bins[..., 0], 0.5 * there), (19 + BINS, 20 + 2 * BINS, bins[..., 1], 0.5 * there),
        ):  # fmt: skip
            ce = F.cross_entropy(read[..., lo:hi].flatten(0, 1), t.flatten(), reduction="none").view(t.shape)
            loss = loss + (ce * w).sum() / len(t)
    return loss / LEVELS
