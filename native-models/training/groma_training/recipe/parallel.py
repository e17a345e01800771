"""Several processes (torchrun): whole copies of the model, the language model's layers optionally sharded."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor


class Parallel:
    """rank, world and device of this process; one process without torchrun."""

    def __init__(self) -> None:
        self.world, self.rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        self.device = torch.device("cpu")
        if torch.cuda.is_available():
            self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(self.device)
        if self.world > 1:
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    @property
    def first(self) -> bool:
        return self.rank == 0

    def shard(self, layers: nn.ModuleList) -> None:
        """Splits the layers' weights, gradients and optimiser state over the processes (FSDP)."""
        mesh = init_device_mesh(self.device.type, (self.world,))
        for layer in layers:
            fully_shard(layer, mesh=mesh)

    def average(self, params: list[nn.Parameter]) -> None:
        """Means of the gradients over all processes; sharded ones are means already."""
        if self.world == 1:
            return
        for p in params:
            if isinstance(p, DTensor):
                continue
            if p.grad is None:  # not used by this process' pictures
                p.grad = torch.zeros_like(p)
            dist.all_reduce(p.grad)
            p.grad /= self.world

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()

    def close(self) -> None:
        if self.world > 1:
            dist.destroy_process_group()


def clip(params: list[nn.Parameter], most: float) -> float:
    """Scales all gradients so that their common norm is at most `most`; the norm before."""
    squares = [p.grad.float().pow(2).sum() for p in params if p.grad is not None]
    norm = torch.stack([s.full_tensor() if isinstance(s, DTensor) else s for s in squares]).sum().sqrt()
    if norm > most:
        for p in params:
            if p.grad is not None:
                p.grad.mul_(most / norm)
    return float(norm)
