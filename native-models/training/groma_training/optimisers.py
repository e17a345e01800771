"""AdamW, and Muon for the hidden layers' matrices (about twice the progress a step here)."""

from __future__ import annotations

import torch
from torch import nn

from .schedule import Clock

# matrices that are not a hidden layer's: tables, read-outs, and what must start slowly
NOT_HIDDEN = ("embed", "class_", "sampling_offsets", "attention_weights", "flatten", "lm_head", "new_input",
              "position", "attributes", "number", "level_", "pconvs", "conv")  # fmt: skip


class StackedMuon(torch.optim.Optimizer):
    """torch.optim.Muon's update (Nesterov momentum, five Newton-Schulz steps in bfloat16) for all matrices of a shape at once.

    On a GPU one matrix after the other costs more time in launching than the rest of a step.
    """

    def __init__(self, groups, lr: float, weight_decay: float, momentum: float = 0.95):
        super().__init__(groups, dict(lr=lr, weight_decay=weight_decay, momentum=momentum))

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            momentum, rate = group["momentum"], group["lr"]
            shapes: dict[torch.Size, list] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(p.shape, []).append(p)
            for (rows, columns), ps in shapes.items():
                grads = [p.grad for p in ps]
                for p in ps:
                    if not self.state[p]:
                        self.state[p]["momentum"] = torch.zeros_like(p)
                seen = [self.state[p]["momentum"] for p in ps]
                torch._foreach_lerp_(seen, grads, 1 - momentum)
                x = torch.stack(torch._foreach_lerp(grads, seen, momentum)).bfloat16()
                x = x.mT if rows > columns else x
                x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
                for _ in range(5):
                    gram = x @ x.mT
                    x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.775, alpha=2.0315), x, beta=3.4445)
                x = (x.mT if rows > columns else x).float() * (-max(1.0, rows / columns) ** 0.5 * rate)
                torch._foreach_mul_(ps, 1 - rate * group["weight_decay"])
                torch._foreach_add_(ps, list(x.unbind()))


class Optimisers:
    """named: (name, parameter, factor of the learning rates) of everything to train.

    gpu: rates are tensors, so that a step can be recorded as a CUDA graph and replayed with other ones.

    Query and key matrices of the vision encoder move slowly with AdamW, or their near-looking start
    is lost; so does the patch projection (588 inputs that mostly agree would drown the position code).
    """

    def __init__(self, named, lr: float, muon: float, decay: float = 0.02, gpu: bool = False):
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
                lr=torch.tensor(lr) if gpu else lr, betas=(0.9, 0.98), fused=gpu or None, capturable=gpu,
            ),
        ]  # fmt: skip
        if matrices:
            groups = [{"params": ps, "base": muon * k} for k, ps in matrices.items()]
            kind = StackedMuon if gpu else torch.optim.Muon
            self.parts.append(kind(groups, lr=muon, weight_decay=decay))
        if gpu:
            for part in self.parts:
                for group in part.param_groups:
                    group["lr"] = torch.zeros((), device="cuda")
        self.params = [p for part in self.parts for g in part.param_groups for p in g["params"]]

    def step(self, loss: torch.Tensor, clock: Clock, warm: int) -> None:
        self.set_rates(clock, warm)
        self.update(loss)

    def set_rates(self, clock: Clock, warm: int) -> None:
        for part in self.parts:
            for g in part.param_groups:
                rate = clock.rate(g["base"], warm=warm)
                if isinstance(g["lr"], torch.Tensor):
                    g["lr"].fill_(rate)
                else:
                    g["lr"] = rate

    def update(self, loss: torch.Tensor) -> None:
        for part in self.parts:
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
