"""One stage from its YAML file: `python -m groma_training.train --config X` (or `torchrun ... -m`).

Whatever is random in a step follows from seed, rank and step; the state holds weights, optimiser and step.
A run that stops anywhere and is started again ends in the same weights bit for bit (same machine, same
number of processes).
"""

from __future__ import annotations

import math
import shutil
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions, get_model_state_dict, get_optimizer_state_dict, set_model_state_dict, set_optimizer_state_dict,
)  # fmt: skip

from .. import checkpoint
from ..pipeline import Pipeline
from ..tokenizer import Tokenizer
from . import model as start
from .config import StageConfig
from .curves import Log
from .mixture import Mixture
from .parallel import Parallel, clip
from .stages import Stage


def rate(config: StageConfig, step: int) -> float:
    """Factor of the learning rates: linear warm-up, then cosine to 1 % or constant."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    if config.schedule == "constant":
        return warm
    if config.schedule != "cosine":
        raise ValueError(f"schedule is {config.schedule}, not cosine or constant")
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / config.steps)))


class State:
    """Weights that move, optimiser and step, in OUT/state; the last whole one survives a kill while writing."""

    OPTIONS = StateDictOptions(ignore_frozen_params=True, strict=False)

    def __init__(self, config: StageConfig, model, opt, many: Parallel):
        self.model, self.opt, self.many = model, opt, many
        self.folder, self.before = config.out / "state", config.out / "state.before"
        self.step = 0

    def _all(self) -> dict:
        return {
            "model": get_model_state_dict(self.model, options=self.OPTIONS),
            "opt": get_optimizer_state_dict(self.model, self.opt, options=self.OPTIONS),
            "step": torch.tensor(self.step),
        }

    def save(self) -> None:
        temp = self.folder.with_name("state.writing")
        if self.many.first:
            shutil.rmtree(temp, ignore_errors=True)
        self.many.wait()
        dcp.save(self._all(), checkpoint_id=str(temp), no_dist=self.many.world == 1)
        self.many.wait()
        if self.many.first:
            shutil.rmtree(self.before, ignore_errors=True)
            if self.folder.exists():
                self.folder.rename(self.before)
            temp.rename(self.folder)
            shutil.rmtree(self.before, ignore_errors=True)
        self.many.wait()

    def load(self) -> None:
        found = next((f for f in (self.folder, self.before) if f.exists()), None)
        if found is None:
            return
        state = self._all()
        dcp.load(state, checkpoint_id=str(found), no_dist=self.many.world == 1)
        set_model_state_dict(self.model, state["model"], options=self.OPTIONS)
        set_optimizer_state_dict(self.model, self.opt, state["opt"], options=self.OPTIONS)
        self.step = int(state["step"])


def run(config: StageConfig) -> None:
    warnings.filterwarnings("ignore", module="torch.distributed.checkpoint")
    many = Parallel()
    config.out.mkdir(parents=True, exist_ok=True)
    model = start.build(config).to(many.device)
    if config.shard and many.world > 1:
        many.shard(model.llm.model.layers)
    tok_folder = tokenizer_of(config)
    torch.set_default_device(many.device)
    opt = torch.optim.AdamW(start.groups(config, model), betas=(0.9, 0.98))
    params = [p for g in opt.param_groups for p in g["params"]]
    bases = [g["lr"] for g in opt.param_groups]
    state = State(config, model, opt, many)
    state.load()
    stage = Stage(config, model, Tokenizer(tok_folder), many.device)
    side = 448 if model.cfg.vision.image_size >= 448 else model.cfg.vision.image_size
    mixture = Mixture(config.data, side, config.flip)
    per_step = config.batch * config.accumulate
    feed = Pipeline(mixture.draw, config.seed * 1000 + many.rank, start=state.step * per_step, workers=config.workers)
    log = Log(config.out, state.step) if many.first else None
    try:
        while state.step < config.steps:
            rng = np.random.default_rng([config.seed, many.rank, state.step])
            opt.zero_grad(set_to_none=True)
            sums: dict[str, list[float]] = {}
            for _ in range(config.accumulate):
                loss, told = stage.loss(feed.take(config.batch), rng)
                (loss / config.accumulate).backward()
                for k, v in {"loss": loss.item(), **told}.items():
                    sums.setdefault(k, []).append(v)
            many.average(params)
            norm = clip(params, config.clip)
            if not math.isfinite(norm):
                raise FloatingPointError(f"step {state.step}: the gradient's norm is {norm}")
            for g, base in zip(opt.param_groups, bases, strict=True):
                g["lr"] = base * rate(config, state.step)
            opt.step()
            state.step += 1
            if many.first and (state.step % config.log_every == 0 or state.step == config.steps):
                report(log, state.step, sums, norm)
            if config.save_every and (state.step % config.save_every == 0 or state.step == config.steps):
                state.save()
    finally:
        feed.close()
    if config.save_every:
        whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=many.world > 1))
        if many.first:
            checkpoint.write(model, config.out / "checkpoint", tok_folder, whole)
        many.wait()
    many.close()


def report(log: Log, step: int, sums: dict[str, list[float]], norm: float) -> None:
    means = {k: [v for v in vs if math.isfinite(v)] for k, vs in sums.items()}
    row = {k: round(sum(v) / len(v), 5) if v else None for k, v in means.items()}
    log.add(step=step, **row, gradient=round(norm, 5))
    log.draw()
    print(f"step {step} " + " ".join(f"{k} {v}" for k, v in row.items()), flush=True)


def tokenizer_of(config: StageConfig) -> Path:
    for folder in (config.tokenizer, config.start, Path(config.shape)):
        if folder is not None and (folder / "tokenizer.model").exists():
            return folder
    raise FileNotFoundError("no tokenizer.model in tokenizer, start or shape of the configuration")
