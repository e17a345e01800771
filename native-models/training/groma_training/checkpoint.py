"""Reading and writing checkpoints in the authors' layout (config.json leaves class defaults out)."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from .groma import Groma, GromaConfig
from .language_model import LanguageConfig
from .proposer import ProposerConfig
from .vision_encoder import VisionConfig

ALIASES = ("bbox_embed.", "class_embed_coco.", "class_embed_sa1b.", "class_embed_enc.")
DETR = "perceiver.ddetr_transformer."


def _pick(cls, given: dict):
    return cls(**{f.name: given[f.name] for f in fields(cls) if f.name in given})


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors as float32, each under its name without the `decoder.` alias."""
    out: dict[str, torch.Tensor] = {}
    for f in sorted(folder.glob("*.safetensors")):
        with safe_open(f, "pt") as s:
            out.update({k: s.get_tensor(k).float() for k in s.keys()})  # noqa: SIM118
    for f in sorted(folder.glob("pytorch_model*.bin")):
        out.update({k: v.float() for k, v in torch.load(f, map_location="cpu", weights_only=True).items()})
    for k in list(out):
        for a in ALIASES:
            if k.startswith(f"{DETR}decoder.{a}"):
                out[k.replace(f"{DETR}decoder.", DETR)] = out.pop(k)
                break
    return out


def read_config(folder: Path, tensors: dict[str, torch.Tensor]) -> GromaConfig:
    return parse_config(
        json.loads((folder / "config.json").read_text()),
        tensors["region_encoder.mlvl_fuse.fuse_convs.0.conv.weight"].shape[0],
        tensors["region_encoder.roi_align.flatten_linear.weight"].shape[0],
    )


def parse_config(c: dict, region_channels: int = 1024, region_width: int = 1024) -> GromaConfig:
    """A config.json as the authors' tools write it; the region encoder's widths are not in it."""
    p = c["perceiver_cfg"]
    extra = {k: c[k] for k in ("nms_thres", "box_score_thres", "max_region_num", "num_new_token") if k in c}
    return GromaConfig(
        vision=_pick(VisionConfig, p["vis_encoder_cfg"]),
        proposer=_pick(ProposerConfig, p["ddetr_cfg"]),
        llm=_pick(LanguageConfig, c["llm_cfg"]),
        vis_output_layer=p.get("vis_output_layer", -1),
        region_channels=region_channels,
        region_width=region_width,
        source=c,
        **extra,
    )


def read(folder: Path | str) -> Groma:
    folder = Path(folder)
    tensors = read_tensors(folder)
    model = Groma(read_config(folder, tensors))
    model.load_state_dict(tensors)
    return model.eval()


def config_json(cfg: GromaConfig) -> dict:
    """config.json as the authors' tools write it: values equal to a class default are left out."""

    def changed(part, names) -> dict:
        base = type(part)()
        return {n: getattr(part, n) for n in names if getattr(part, n) != getattr(base, n)}

    ddetr = changed(cfg.proposer, [f.name for f in fields(ProposerConfig)])
    ddetr |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "model_type": "deformable_detr"}
    ddetr |= {"num_queries": cfg.proposer.two_stage_num_proposals, "two_stage": True, "with_box_refine": True}
    vision = changed(cfg.vision, [f.name for f in fields(VisionConfig)]) | {"model_type": "dinov2"}
    vision["patch_size"] = cfg.vision.patch_size
    llm = {
        "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": cfg.llm.hidden_size,
        "initializer_range": 0.02, "intermediate_size": cfg.llm.intermediate_size,
        "max_position_embeddings": cfg.llm.max_position_embeddings, "model_type": "llama",
        "num_attention_heads": cfg.llm.num_attention_heads, "num_hidden_layers": cfg.llm.num_hidden_layers,
        "num_key_value_heads": cfg.llm.num_attention_heads, "pretraining_tp": 1,
        "rms_norm_eps": cfg.llm.rms_norm_eps, "rope_scaling": None, "tie_word_embeddings": False,
        "transformers_version": "4.32.0", "use_cache": True, "vocab_size": cfg.llm.vocab_size,
    }  # fmt: skip
    return {
        "architectures": ["GromaModel"],
        "box_score_thres": cfg.box_score_thres,
        "llm_cfg": llm,
        "max_region_num": cfg.max_region_num,
        "model_type": "groma",
        "nms_thres": cfg.nms_thres,
        "num_new_token": cfg.num_new_token,
        "perceiver_cfg": {
            "ddetr_cfg": dict(sorted(ddetr.items())),
            "model_type": "ddetr",
            "transformers_version": "4.32.0",
            "vis_encoder_cfg": dict(sorted(vision.items())),
            "vis_output_layer": cfg.vis_output_layer,
            "zs_weight_path": None,
        },
        "torch_dtype": "float16",
        "transformers_version": "4.32.0",
        "vocab_size": cfg.llm.vocab_size + cfg.num_new_token,
    }


TOKENIZER_FILES = ("tokenizer.model", "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json",
                   "preprocessor_config.json", "generation_config.json")  # fmt: skip


def write(model: Groma, folder: Path | str, tokenizer_files: Path | str, weights: dict | None = None) -> None:
    """float16 safetensors, config.json and the tokenizer's files.

    weights: the model's tensors where it does not hold them whole itself (sharded training).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for k, v in (weights or model.state_dict()).items():
        for a in ALIASES:
            if k.startswith(DETR + a):
                k = k.replace(DETR, f"{DETR}decoder.")
        tensors[k] = v.detach().half().contiguous()
        assert torch.isfinite(tensors[k]).all(), k
    temp = folder / "model.safetensors.tmp"
    save_file(tensors, temp, metadata={"format": "pt"})
    temp.chmod(0o644)
    temp.replace(folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config_json(model.cfg), indent=2, sort_keys=True) + "\n")
    for name in TOKENIZER_FILES:
        if (f := Path(tokenizer_files) / name).exists():
            (folder / name).write_bytes(f.read_bytes())
