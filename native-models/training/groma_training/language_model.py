"""LLaMA, with the extra vocabulary Groma adds beside the base one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint


@dataclass
class LanguageConfig:
    """Defaults are those of transformers 4.32's LlamaConfig."""

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    rms_norm_eps: float = 1e-6
    max_position_embeddings: int = 2048


class RMSNorm(nn.Module):
    def __init__(self, c: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(c)), eps

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


def rotary(positions: torch.Tensor, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    """cos, sin [..., 1, T, d] of positions [..., T]; half-split layout, theta 10000."""
    inv = 1.0 / (10000 ** (torch.arange(0, d, 2).float() / d))
    f = positions[..., None].float() * inv
    f = torch.cat([f, f], -1).unsqueeze(-3)
    return f.cos(), f.sin()


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


class Attention(nn.Module):
    def __init__(self, c: LanguageConfig):
        super().__init__()
        h = c.hidden_size
        self.heads = c.num_attention_heads
        for n in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, n, nn.Linear(h, h, bias=False))

    def forward(self, x, cos, sin, mask, past=None, want: int | None = None):
        b, t, c = x.shape

        def split(y):
            return y.view(b, t, self.heads, c // self.heads).transpose(1, 2)

        q, k = rotate(split(self.q_proj(x)), cos, sin), rotate(split(self.k_proj(x)), cos, sin)
        v = split(self.v_proj(x))
        if past is not None:
            k = torch.cat([past[0].expand(b, -1, -1, -1), k], 2)
            v = torch.cat([past[1].expand(b, -1, -1, -1), v], 2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        probe = None
        if want is not None:  # raw attention scores of one head, for supervision
            probe = q[:, want] @ k[:, want].transpose(1, 2) * (c // self.heads) ** -0.5
        return self.o_proj(y.transpose(1, 2).reshape(b, t, c)), (k, v), probe


class SwiGlu(nn.Module):
    def __init__(self, c: LanguageConfig):
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.up_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, c: LanguageConfig):
        super().__init__()
        self.self_attn, self.mlp = Attention(c), SwiGlu(c)
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)

    def forward(self, x, cos, sin, mask, past=None, want=None):
        y, kv, probe = self.self_attn(self.input_layernorm(x), cos, sin, mask, past, want)
        x = x + y
        return x + self.mlp(self.post_attention_layernorm(x)), kv, probe


class Llama(nn.Module):
    def __init__(self, c: LanguageConfig):
        super().__init__()
        self.cfg, self.checkpointing = c, False  # checkpointing: layers are recomputed in the backward pass
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.model.layers = nn.ModuleList(Block(c) for _ in range(c.num_hidden_layers))
        self.model.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.lm_head = nn.Linear(c.hidden_size, c.vocab_size, bias=False)

    def forward(self, x, positions, mask, past=None, probes: dict[int, int] | None = None):
        """x [B,T,H] embeddings; positions [B,T]; mask bool [B or 1,1,T,past+T], True = may look.

        Returns the normed output, the key/value cache per layer, hidden states after every
        layer, and the raw attention scores of one head in each layer named by probes (layer -> head).
        """
        cos, sin = rotary(positions, x.shape[-1] // self.cfg.num_attention_heads)
        cache, states, seen = [], [], {}
        for i, layer in enumerate(self.model.layers):
            given = (x, cos, sin, mask, None if past is None else past[i], (probes or {}).get(i))
            if self.checkpointing and torch.is_grad_enabled():
                x, kv, probe = checkpoint(layer, *given, use_reentrant=False)
            else:
                x, kv, probe = layer(*given)
            cache.append(kv)
            states.append(x)
            if probe is not None:
                seen[i] = probe
        return self.model.norm(x), cache, states, seen
