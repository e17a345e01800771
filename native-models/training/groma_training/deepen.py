"""More layers for a trained model, without a change of what it computes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from .groma import Groma


@torch.no_grad()
def deepen(model: Groma, vision_layers: int, llm_layers: int) -> Groma:
    """The same function with more layers: new ones of the encoder come first, those of the language model last.

    A new layer adds nothing until it is trained: what it would write is zero. The order of the encoder keeps the last
    hidden states, which everything else reads, where they were.
    """
    cfg = model.cfg
    seen, spoken = vision_layers - cfg.vision.num_hidden_layers, llm_layers - cfg.llm.num_hidden_layers
    grown = Groma(
        replace(
            cfg,
            vision=replace(cfg.vision, num_hidden_layers=vision_layers),
            llm=replace(cfg.llm, num_hidden_layers=llm_layers),
        )
    )
    old, new = model.state_dict(), grown.state_dict()
    first = "perceiver.vis_encoder.encoder.layer."
    for name, value in old.items():
        if name.startswith(first):
            number, rest = name[len(first) :].split(".", 1)
            name = f"{first}{int(number) + seen}.{rest}"
        new[name] = value
    grown.load_state_dict(new)
    for layer in grown.perceiver.vis_encoder.encoder.layer[:seen]:
        silence(layer.attention.output.dense, layer.mlp.fc2)
    for layer in grown.llm.model.layers[llm_layers - spoken :]:
        silence(layer.self_attn.o_proj, layer.mlp.down_proj)
        for part in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj, layer.mlp.gate_proj, layer.mlp.up_proj):
            nn.init.normal_(part.weight, std=0.05)
    return grown


def silence(*layers: nn.Linear) -> None:
    for layer in layers:
        nn.init.zeros_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
