"""A stage's model: its shape, its start values, what of it moves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from .. import checkpoint, demo, phase1
from ..groma import Groma, GromaConfig
from .config import StageConfig

LARGE = ("perceiver.vis_encoder.", "llm.")


def shape_of(config: StageConfig) -> GromaConfig:
    if config.shape == "demo":
        shape = demo.config()
    else:
        path = Path(config.shape)
        shape = checkpoint.parse_config(json.loads((path / "config.json" if path.is_dir() else path).read_text()))
    layers = config.layers
    vision = replace(shape.vision, num_hidden_layers=layers.get("vision", shape.vision.num_hidden_layers))
    llm = replace(shape.llm, num_hidden_layers=layers.get("llm", shape.llm.num_hidden_layers))
    return replace(shape, vision=vision, llm=llm)


def build(config: StageConfig) -> Groma:
    """The model at the stage's start; with bf16 the encoder and the language model are kept in bfloat16 where frozen."""
    torch.manual_seed(config.seed)
    if config.start:
        model = checkpoint.read(config.start)
    elif config.shape == "demo":
        model = demo.new_model(config.seed, shape_of(config))
    else:
        model = Groma(shape_of(config))
        phase1.initialise(model.perceiver.ddetr_transformer)
    for prefix, folder in config.weights.items():
        tensors = {
            f"{prefix}.{k}": v for k, v in checkpoint.read_tensors(folder).items() if not k.endswith("rotary_emb.inv_freq")
        }  # which older LLaMA files hold and the model computes
        missing, unknown = model.load_state_dict(tensors, strict=False)
        missing = [k for k in missing if k.startswith(f"{prefix}.") and not k.endswith("mask_token")]
        if missing or unknown:
            raise ValueError(f"{folder} is not {prefix}: missing {missing[:3]}, unknown {unknown[:3]}")
    model.llm.checkpointing = config.checkpointing
    for name, p in model.named_parameters():
        p.requires_grad_(not any(name.startswith(f) for f in config.freeze))
        if config.precision == "bf16" and not p.requires_grad and name.startswith(LARGE):
            p.data = p.data.bfloat16()
    return model.train()


def groups(config: StageConfig, model: Groma) -> list[dict]:
    """AdamW's parameter groups by learning rate and decay; norms and biases do not decay."""
    found: dict[tuple[float, float], list] = {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            factor = next((f for prefix, f in config.lr_factors.items() if name.startswith(prefix)), 1.0)
            found.setdefault((config.lr * factor, config.weight_decay if p.ndim > 1 else 0.0), []).append(p)
    if not found:
        raise ValueError("everything is frozen: nothing to train")
    return [{"params": ps, "lr": lr, "weight_decay": decay} for (lr, decay), ps in found.items()]
