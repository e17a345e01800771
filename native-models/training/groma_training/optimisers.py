"""AdamW, and Muon for the hidden layers' matrices (about twice the progress a step here)."""

from __future__ import annotations

import torch
from torch import nn

from .schedule import Clock

# matrices that are not a hidden layer's: tables, read-outs, and what must start slowly
NOT_HIDDEN = ("embed", "class_", "sampling_offsets", "attention_weights", "flatten", "lm_head", "new_input",
              "position", "attributes", "number", "level_", "pconvs", "conv")  # fmt: skip


class Optimisers:
    """named: (name, parameter, factor of the learning rates) of everything to train.

    Query and key matrices of the vision encoder move slowly with AdamW, or their near-looking start
    is lost; so does the patch projection (588 inputs that mostly agree would drown the position code).
    """

    def __init__(self, named, lr: float, muon: float, decay: float = 0.02):
        matrices: dict[float, list] = {}
        adam: dict[tuple[float, float], list] = {}
        for name, p, factor in named:
            if "mask_token" in name or not p.requires_grad:
                continue
            vision = "attention.attention." in name and ("query" in name or ".key" in name)
            slow = factor * (0.2 if "patch_embeddings" in name else 0.3 if vision else 1.0)
            slow *= 0.03 if "flatten" in name else 1.0  # 25088 inputs: a full step is far too long
            if p.ndim == 2 and not vision and not any(k in name for k in NOT_HIDDEN) and "bbox_embed" not in name:
                matrices.setdefault(factor, []).append(p)
            else:
                adam.setdefault((slow, decay if p.ndim > 1 else 0.0), []).append(p)
        self.parts = [
            torch.optim.AdamW(
                [{"params": ps, "weight_decay": d, "base": lr * k} for (k, d), ps in adam.items()],
                lr=lr, betas=(0.9, 0.98),
            ),
        ]  # fmt: skip
        if matrices:
            groups = [{"params": ps, "base": muon * k} for k, ps in matrices.items()]
            self.parts.append(torch.optim.Muon(groups, lr=muon, weight_decay=decay))
        self.params = [p for part in self.parts for g in part.param_groups for p in g["params"]]

    def step(self, loss: torch.Tensor, clock: Clock, warm: int) -> None:
        for part in self.parts:
            for g in part.param_groups:
                g["lr"] = clock.rate(g["base"], warm=warm)
            part.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.params, 1.0)
        for part in self.parts:
            part.step()

    def state_dict(self):
        return {str(i): p.state_dict() for i, p in enumerate(self.parts)}

    def load_state_dict(self, d) -> None:
        for i, p in enumerate(self.parts):
            p.load_state_dict(d[str(i)])


def named(module: nn.Module, factor: float = 1.0):
    return [(n, p, factor) for n, p in module.named_parameters()]
