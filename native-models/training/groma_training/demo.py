"""The shape of the demo model and its start values."""

from __future__ import annotations

import torch
from torch import nn

from . import phase1, vision_encoder
from .groma import Groma, GromaConfig
from .language_model import LanguageConfig
from .proposer import ProposerConfig
from .vision_encoder import VisionConfig


def config() -> GromaConfig:
    return GromaConfig(
        vision=VisionConfig(hidden_size=128, num_hidden_layers=5, num_attention_heads=4, image_size=448),
        proposer=ProposerConfig(
            d_model=128, encoder_layers=1, encoder_ffn_dim=256, decoder_layers=2, decoder_ffn_dim=256,
            num_feature_levels=1, two_stage_num_proposals=60,
        ),  # fmt: skip
        llm=LanguageConfig(
            vocab_size=600, hidden_size=128, intermediate_size=352, num_hidden_layers=4, num_attention_heads=4,
            rms_norm_eps=1e-5,
        ),  # fmt: skip
        region_channels=128,
        region_width=128,
    )


def new_model(seed: int = 1, shape: GromaConfig | None = None) -> Groma:
    torch.manual_seed(seed)
    model = Groma(shape or config())
    vision_encoder.initialise(model.perceiver.vis_encoder)
    phase1.initialise(model.perceiver.ddetr_transformer)
    for m in (model.llm, model.img_txt_bridge, model.extra_lm_head, model.new_input_embs):
        for p in m.modules():
            if isinstance(p, nn.Linear):
                nn.init.normal_(p.weight, std=0.05)
                if p.bias is not None:
                    nn.init.zeros_(p.bias)
            elif isinstance(p, nn.Embedding):
                nn.init.normal_(p.weight, std=0.3)
    nn.init.zeros_(model.region_encoder.roi_align.flatten_linear.weight)  # silent until phase 3
    return model
