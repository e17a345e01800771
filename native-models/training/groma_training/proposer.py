"""Region proposer: two-stage Deformable DETR on the vision encoder's features.

Names follow the released checkpoint; boxes are cxcywh in 0..1. The oddities (reference
points never refined between decoder layers, learned content by rank) are the authors'.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class ProposerConfig:
    """Defaults are those of transformers 4.32's DeformableDetrConfig."""

    d_model: int = 256
    encoder_layers: int = 6
    encoder_ffn_dim: int = 1024
    encoder_attention_heads: int = 8
    encoder_n_points: int = 4
    decoder_layers: int = 6
    decoder_ffn_dim: int = 1024
    decoder_attention_heads: int = 8
    decoder_n_points: int = 4
    num_feature_levels: int = 4
    two_stage_num_proposals: int = 300


def inverse_sigmoid(x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


def sine(x: torch.Tensor, feats: int) -> torch.Tensor:
    """Interleaved sine/cosine code of values [...] (already scaled to radians) -> [..., feats]."""
    k = torch.arange(feats, dtype=torch.float32)
    t = 10000 ** (2 * torch.div(k, 2, rounding_mode="floor") / feats)
    p = x[..., None] / t
    return torch.stack([p[..., 0::2].sin(), p[..., 1::2].cos()], -1).flatten(-2)


def sine_position(h: int, w: int, d: int) -> torch.Tensor:
    """[h*w, d], y half then x half, pixel centres normalised to 0..2 pi."""
    eps = 1e-6
    y = (torch.arange(1, h + 1, dtype=torch.float32) - 0.5) / (h + eps) * 2 * math.pi
    x = (torch.arange(1, w + 1, dtype=torch.float32) - 0.5) / (w + eps) * 2 * math.pi
    py = sine(y, d // 2)[:, None].expand(h, w, -1)
    px = sine(x, d // 2)[None].expand(h, w, -1)
    return torch.cat([py, px], -1).reshape(h * w, d)


class DeformableAttention(nn.Module):
    def __init__(self, d: int, heads: int, levels: int, points: int):
        super().__init__()
        self.d, self.heads, self.levels, self.points = d, heads, levels, points
        self.sampling_offsets = nn.Linear(d, heads * levels * points * 2)
        self.attention_weights = nn.Linear(d, heads * levels * points)
        self.value_proj = nn.Linear(d, d)
        self.output_proj = nn.Linear(d, d)

    def reset(self) -> None:
        """Deformable DETR's start: heads look in different directions, points step outwards."""
        nn.init.zeros_(self.sampling_offsets.weight)
        a = torch.arange(self.heads) * (2 * math.pi / self.heads)
        grid = torch.stack([a.cos(), a.sin()], -1)
        grid = (grid / grid.abs().max(-1, keepdim=True)[0]).view(self.heads, 1, 1, 2)
        grid = grid.repeat(1, self.levels, self.points, 1)
        for i in range(self.points):
            grid[:, :, i] *= i + 1
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(grid.reshape(-1))
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)

    def forward(self, query, values, ref, shapes):
        """query [B,Q,d]; values [B,sum(h*w),d]; ref [B or 1,Q,levels,2 or 4]; -> [B,Q,d]."""
        b, q, d = query.shape
        hd = d // self.heads
        v = self.value_proj(values).view(b, -1, self.heads, hd)
        off = self.sampling_offsets(query).view(b, q, self.heads, self.levels, self.points, 2)
        wts = self.attention_weights(query).view(b, q, self.heads, self.levels * self.points)
        wts = wts.softmax(-1).view(b, q, self.heads, self.levels, self.points)
        if ref.shape[-1] == 2:
            sides = [torch.full((), float(side)) for h, w in shapes for side in (w, h)]  # no copy from the host
            norm = torch.stack(sides).view(len(shapes), 2)
            loc = ref[:, :, None, :, None] + off / norm[None, None, None, :, None]
        else:
            loc = ref[:, :, None, :, None, :2] + off / self.points * ref[:, :, None, :, None, 2:] * 0.5
        grid = 2 * loc - 1
        out, start = [], 0
        for level, (h, w) in enumerate(shapes):
            m = v[:, start : start + h * w].permute(0, 2, 3, 1).reshape(b * self.heads, hd, h, w)
            start += h * w
            g = grid[:, :, :, level].transpose(1, 2).flatten(0, 1)  # [B*heads,Q,points,2]
            out.append(F.grid_sample(m, g, mode="bilinear", padding_mode="zeros", align_corners=False))
        s = torch.cat(out, -1) if len(out) > 1 else out[0]  # [B*heads,hd,Q,levels*points]
        wts = wts.transpose(1, 2).reshape(b * self.heads, 1, q, -1)
        y = (s * wts).sum(-1).view(b, d, q).transpose(1, 2)
        return self.output_proj(y)


class EncoderLayer(nn.Module):
    def __init__(self, c: ProposerConfig):
        super().__init__()
        d = c.d_model
        self.self_attn = DeformableAttention(
            d, c.encoder_attention_heads, c.num_feature_levels, c.encoder_n_points
        )
        self.self_attn_layer_norm = nn.LayerNorm(d)
        self.fc1 = nn.Linear(d, c.encoder_ffn_dim)
        self.fc2 = nn.Linear(c.encoder_ffn_dim, d)
        self.final_layer_norm = nn.LayerNorm(d)

    def forward(self, x, pos, ref, shapes):
        x = self.self_attn_layer_norm(x + self.self_attn(x + pos, x, ref, shapes))
        return self.final_layer_norm(x + self.fc2(F.relu(self.fc1(x))))


class QueryAttention(nn.Module):
    def __init__(self, d: int, heads: int):
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj = nn.Linear(d, d), nn.Linear(d, d)
        self.q_proj, self.out_proj = nn.Linear(d, d), nn.Linear(d, d)

    def forward(self, x, pos):
        b, n, d = x.shape

        def split(t):
            return t.view(b, n, self.heads, d // self.heads).transpose(1, 2)

        y = F.scaled_dot_product_attention(
            split(self.q_proj(x + pos)), split(self.k_proj(x + pos)), split(self.v_proj(x))
        )
        return self.out_proj(y.transpose(1, 2).reshape(b, n, d))


class DecoderLayer(nn.Module):
    def __init__(self, c: ProposerConfig):
        super().__init__()
        d = c.d_model
        self.self_attn = QueryAttention(d, c.decoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(d)
        self.encoder_attn = DeformableAttention(
            d, c.decoder_attention_heads, c.num_feature_levels, c.decoder_n_points
        )
        self.encoder_attn_layer_norm = nn.LayerNorm(d)
        self.fc1 = nn.Linear(d, c.decoder_ffn_dim)
        self.fc2 = nn.Linear(c.decoder_ffn_dim, d)
        self.final_layer_norm = nn.LayerNorm(d)

    def forward(self, x, pos, ref, memory, shapes):
        x = self.self_attn_layer_norm(x + self.self_attn(x, pos))
        x = self.encoder_attn_layer_norm(x + self.encoder_attn(x + pos, memory, ref, shapes))
        return self.final_layer_norm(x + self.fc2(F.relu(self.fc1(x))))


class BoxHead(nn.Module):
    def __init__(self, d: int, hidden: int = 256):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(d, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 4)])

    def forward(self, x):
        x = F.relu(self.layers[0](x))
        return self.layers[2](F.relu(self.layers[1](x)))


@dataclass
class Proposals:
    boxes: torch.Tensor  # [B,Q,4] cxcywh 0..1
    logit_coco: torch.Tensor  # [B,Q]
    logit_sa1b: torch.Tensor  # [B,Q]
    layers: list  # per decoder layer: (boxes, logit_coco, logit_sa1b)
    enc_logit: torch.Tensor  # [B,T] of every feature token
    enc_box: torch.Tensor  # [B,T,4] box logits of every feature token

    @property
    def score(self) -> torch.Tensor:
        return self.logit_coco.sigmoid() ** 0.4 * self.logit_sa1b.sigmoid() ** 0.6


class ProposerTransformer(nn.Module):
    def __init__(self, c: ProposerConfig):
        super().__init__()
        self.cfg, d = c, c.d_model
        self.level_embed = nn.Parameter(torch.zeros(c.num_feature_levels, d))
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.layers = nn.ModuleList(EncoderLayer(c) for _ in range(c.encoder_layers))
        self.decoder.layers = nn.ModuleList(DecoderLayer(c) for _ in range(c.decoder_layers))
        self.query_position_embeddings = nn.Embedding(c.two_stage_num_proposals, d)
        self.enc_output, self.enc_output_norm = nn.Linear(d, d), nn.LayerNorm(d)
        self.pos_trans, self.pos_trans_norm = nn.Linear(2 * d, 2 * d), nn.LayerNorm(2 * d)
        self.class_embed_enc = nn.Linear(d, 1)
        self.class_embed_coco = nn.ModuleList(nn.Linear(d, 1) for _ in range(c.decoder_layers))
        self.class_embed_sa1b = nn.ModuleList(nn.Linear(d, 1) for _ in range(c.decoder_layers))
        self.bbox_embed = nn.ModuleList(BoxHead(d) for _ in range(c.decoder_layers + 1))

    def forward(self, maps: list[torch.Tensor]) -> Proposals:
        c, d = self.cfg, self.cfg.d_model
        shapes = [tuple(m.shape[-2:]) for m in maps]
        x = torch.cat([m.flatten(2).transpose(1, 2) for m in maps], 1)
        b = x.shape[0]
        pos = torch.cat([sine_position(h, w, d) + self.level_embed[i] for i, (h, w) in enumerate(shapes)])
        ref, wh = [], []
        for i, (h, w) in enumerate(shapes):
            y, xx = torch.meshgrid(
                (torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij"
            )
            ref.append(torch.stack([xx.flatten(), y.flatten()], -1))
            wh.append(torch.full((h * w, 2), 0.05 * 2.0**i))
        ref, wh = torch.cat(ref), torch.cat(wh)
        ref_levels = ref[None, :, None].expand(1, -1, len(shapes), 2)
        for layer in self.encoder.layers:
            x = layer(x, pos, ref_levels, shapes)
        # proposals, one per token
        prior = torch.cat([ref, wh], -1)
        valid = ((prior > 0.01) & (prior < 0.99)).all(-1, keepdim=True)
        logit = torch.log(prior / (1 - prior)).masked_fill(~valid, float("inf"))
        f = self.enc_output_norm(self.enc_output(x.masked_fill(~valid, 0.0)))
        enc_logit = self.class_embed_enc(f)[..., 0]
        enc_box = self.bbox_embed[-1](f) + logit
        top = torch.sort(enc_logit, dim=1, descending=True, stable=True).indices
        top = top[:, : c.two_stage_num_proposals]
        ref0_logit = torch.gather(enc_box, 1, top[..., None].expand(-1, -1, 4)).detach()
        ref0 = ref0_logit.sigmoid()
        code = sine(ref0 * 2 * math.pi, d // 2).flatten(2)
        query_pos = self.pos_trans_norm(self.pos_trans(code))[..., :d]
        h = self.query_position_embeddings.weight[None].expand(b, -1, -1)
        ref_levels = ref0[:, :, None].expand(-1, -1, len(shapes), -1)
        start = inverse_sigmoid(ref0)
        outs, before = [], start
        for i, layer in enumerate(self.decoder.layers):
            h = layer(h, query_pos, ref_levels, x, shapes)
            delta = self.bbox_embed[i](h)
            # every layer's box is told from the box before it, which itself is told from ref0
            boxes = (delta + before).sigmoid()
            outs.append((boxes, self.class_embed_coco[i](h)[..., 0], self.class_embed_sa1b[i](h)[..., 0]))
            before = inverse_sigmoid((delta + start).sigmoid())
        return Proposals(*outs[-1], layers=outs, enc_logit=enc_logit, enc_box=enc_box)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of [B,C,H,W], per pixel."""

    def __init__(self, c: int):
        super().__init__(c, eps=1e-6)

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def input_projection(kind: int, c: int, d: int) -> nn.Sequential:
    if kind == 0:
        return nn.Sequential(nn.Conv2d(c, d, 3, 2, 1), ChannelNorm(d))
    if kind == 1:
        return nn.Sequential(nn.Conv2d(c, d, 1), ChannelNorm(d))
    if kind == 2:
        return nn.Sequential(
            nn.ConvTranspose2d(c, d // 2, 2, 2), nn.Conv2d(d // 2, d, 1), ChannelNorm(d), nn.Conv2d(d, d, 3, 1, 1)
        )
    return nn.Sequential(
        nn.ConvTranspose2d(c, d // 2, 2, 2), ChannelNorm(d // 2), nn.GELU(),
        nn.ConvTranspose2d(d // 2, d // 4, 2, 2), nn.Conv2d(d // 4, d, 1), ChannelNorm(d),
        nn.Conv2d(d, d, 3, 1, 1),
    )  # fmt: skip


def input_projections(levels: int, c: int, d: int) -> nn.ModuleList:
    kinds = [1] if levels == 1 else list(reversed(range(levels)))  # stored finest first
    return nn.ModuleList(input_projection(k, c, d) for k in kinds)
