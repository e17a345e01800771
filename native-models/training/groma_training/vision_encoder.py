"""DINOv2 vision encoder, as Groma uses it (names follow the released checkpoint).

Input pixels are [B, 3, S, S] floats, normalised with ImageNet's mean and std.
The output is the list of hidden states: 0 = embeddings, k = output of layer k.
The final LayerNorm is stored in a checkpoint but never applied.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class VisionConfig:
    """Defaults are those of transformers 4.32's Dinov2Config."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    mlp_ratio: int = 4
    image_size: int = 224
    patch_size: int = 14
    layer_norm_eps: float = 1e-6
    layerscale_value: float = 1.0

    @property
    def grid(self) -> int:
        return self.image_size // self.patch_size


class SelfAttention(nn.Module):
    def __init__(self, cfg: VisionConfig):
        super().__init__()
        c = cfg.hidden_size
        self.heads = cfg.num_attention_heads
        self.attention = nn.Module()
        self.attention.query = nn.Linear(c, c)
        self.attention.key = nn.Linear(c, c)
        self.attention.value = nn.Linear(c, c)
        self.output = nn.Module()
        self.output.dense = nn.Linear(c, c)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, c = x.shape

        def split(t: torch.Tensor) -> torch.Tensor:
            return t.view(b, n, self.heads, c // self.heads).transpose(1, 2)

        a = self.attention
        y = F.scaled_dot_product_attention(split(a.query(x)), split(a.key(x)), split(a.value(x)))
        return self.output.dense(y.transpose(1, 2).reshape(b, n, c))


class LayerScale(nn.Module):
    def __init__(self, cfg: VisionConfig):
        super().__init__()
        self.lambda1 = nn.Parameter(cfg.layerscale_value * torch.ones(cfg.hidden_size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.lambda1


class Mlp(nn.Module):
    def __init__(self, cfg: VisionConfig):
        super().__init__()
        c = cfg.hidden_size
        self.fc1 = nn.Linear(c, c * cfg.mlp_ratio)
        self.fc2 = nn.Linear(c * cfg.mlp_ratio, c)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Layer(nn.Module):
    def __init__(self, cfg: VisionConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(cfg.hidden_size, eps=cfg.layer_norm_eps)
        self.attention = SelfAttention(cfg)
        self.layer_scale1 = LayerScale(cfg)
        self.norm2 = nn.LayerNorm(cfg.hidden_size, eps=cfg.layer_norm_eps)
        self.mlp = Mlp(cfg)
        self.layer_scale2 = LayerScale(cfg)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.layer_scale1(self.attention(self.norm1(x)))
        return x + self.layer_scale2(self.mlp(self.norm2(x)))


class VisionEncoder(nn.Module):
    def __init__(self, cfg: VisionConfig):
        super().__init__()
        self.cfg = cfg
        c, g = cfg.hidden_size, cfg.grid
        e = nn.Module()
        e.cls_token = nn.Parameter(torch.zeros(1, 1, c))
        e.mask_token = nn.Parameter(torch.zeros(1, c))
        e.position_embeddings = nn.Parameter(torch.zeros(1, g * g + 1, c))
        e.patch_embeddings = nn.Module()
        e.patch_embeddings.projection = nn.Conv2d(3, c, cfg.patch_size, cfg.patch_size)
        self.embeddings = e
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(Layer(cfg) for _ in range(cfg.num_hidden_layers))
        self.layernorm = nn.LayerNorm(c, eps=cfg.layer_norm_eps)  # stored, unused

    def positions(self, rows: int, cols: int, row0: int | None, col0: int | None) -> torch.Tensor:
        """Position embeddings [1, 1 + rows*cols, C] of a window of patches.

        With row0/col0 given, the stored grid is sliced there (training on windows).
        Otherwise the stored grid is resized to rows x cols when it differs
        (bicubic, scale factor (rows + 0.1) / grid, as DINOv2 does).
        """
        pos, g = self.embeddings.position_embeddings, self.cfg.grid
        grid = pos[:, 1:].view(1, g, g, -1)
        if row0 is not None:
            grid = grid[:, row0 : row0 + rows, col0 : col0 + cols]
        elif (rows, cols) != (g, g):
            grid = F.interpolate(
                grid.permute(0, 3, 1, 2),
                scale_factor=((rows + 0.1) / g, (cols + 0.1) / g),
                mode="bicubic",
                align_corners=False,
            ).permute(0, 2, 3, 1)
        return torch.cat([pos[:, :1], grid.reshape(1, rows * cols, -1)], 1)

    def forward(
        self, pixels: torch.Tensor, windows: list[tuple[int, int]] | None = None
    ) -> list[torch.Tensor]:
        """pixels [B,3,H,W] -> hidden states, each [B, 1 + H/p * W/p, C].

        windows: per image the (row, column) of its first patch in the stored
        position grid; None for whole images.
        """
        e = self.embeddings
        x = e.patch_embeddings.projection(pixels)
        rows, cols = x.shape[-2:]
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([e.cls_token.expand(x.shape[0], -1, -1), x], 1)
        if windows is None:
            x = x + self.positions(rows, cols, None, None)
        else:
            x = x + torch.cat([self.positions(rows, cols, r, c) for r, c in windows])
        states = [x]
        for layer in self.encoder.layer:
            x = layer(x)
            states.append(x)
        return states


# Where each head first looks, in patches (row, column), by layer; later layers repeat the last row.
LOOKS = (
    ((-1, 0), (1, 0), (0, -1), (0, 1)),
    ((-1, -1), (-1, 1), (1, -1), (1, 1)),
    ((-2, 0), (2, 0), (0, -2), (0, 2)),
    ((-2, -2), (-2, 2), (2, -2), (2, 2)),
    ((0, 0), (0, 0), (0, 0), (0, 0)),
)


def initialise(encoder: VisionEncoder) -> None:
    """Start values: a 2-D sine-cosine position code and query/key weights that make heads look near by.

    The code has the first half of the channels to itself: nothing else writes there at the start.
    The code of a place shifted by some patches is a rotation of the code of the place, so a query
    that reads the rotated code and a key that reads the plain one attend at that shift.
    """
    cfg, c, g = encoder.cfg, encoder.cfg.hidden_size, encoder.cfg.grid
    own = c // 2  # channels of the position code
    for m in encoder.modules():
        if isinstance(m, nn.Linear):
            nn.init.trunc_normal_(m.weight, std=0.7 * m.in_features**-0.5)
            nn.init.zeros_(m.bias)
    patch = encoder.embeddings.patch_embeddings.projection
    nn.init.trunc_normal_(patch.weight, std=0.02)
    nn.init.zeros_(patch.bias)
    nn.init.normal_(encoder.embeddings.cls_token, std=0.02)
    k = own // 4
    wave = 2.0 * 0.05 ** (torch.arange(k) / (k - 1))  # radians a patch: 2.0 .. 0.1
    yy, xx = torch.meshgrid(torch.arange(g).float(), torch.arange(g).float(), indexing="ij")
    code = torch.cat(
        [f(v.reshape(-1, 1) * wave) for v in (yy, xx) for f in (torch.sin, torch.cos)], 1
    )  # [g*g, own]: sin y, cos y, sin x, cos x

    def shift(dy: float, dx: float) -> torch.Tensor:
        """Matrix [own,own] that takes the code of a place to the code of the place moved by dy, dx."""
        blocks = []
        for d in (dy, dx):
            co, si = torch.diag((wave * d).cos()), torch.diag((wave * d).sin())
            blocks.append(torch.cat([torch.cat([co, si], 1), torch.cat([-si, co], 1)]))
        return torch.block_diag(*blocks)

    d = c // cfg.num_attention_heads
    sharp = (1.6, 1.6, 1.4, 1.4, 0.9)
    with torch.no_grad():
        encoder.embeddings.position_embeddings[0, 1:, :own] = 1.4 * code
        patch.weight[:own] = 0
        for i, layer in enumerate(encoder.encoder.layer):
            layer.attention.output.dense.weight[:own] = 0
            layer.mlp.fc2.weight[:own] = 0
            att, look = layer.attention.attention, LOOKS[min(i, len(LOOKS) - 1)]
            att.query.weight *= 0.2
            att.key.weight *= 0.2
            for h in range(cfg.num_attention_heads):
                q = sharp[min(i, 4)] * torch.linalg.qr(torch.randn(own, d))[0].t()
                rows = slice(h * d, (h + 1) * d)
                att.query.weight[rows, :own] += q @ shift(*look[h % len(look)])
                att.key.weight[rows, :own] += q
