"""A stage's YAML file as dataclasses; unknown or missing keys are errors that name themselves."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path

import yaml

STAGES = ("detection", "alignment", "instruction")


@dataclass
class Source:
    """One data set of the mixture; `options` are the reader's own keys (paths, mostly)."""

    format: str
    weight: float
    options: dict = field(default_factory=dict)


@dataclass
class StageConfig:
    stage: str  # detection, alignment or instruction
    out: Path  # the folder of state, log, curves and checkpoint
    shape: str  # demo, or the folder or config.json of a checkpoint whose shape is taken
    data: list[Source]
    steps: int  # updates of the weights
    batch: int  # pictures a process takes at a time
    lr: float
    start: Path | None = None  # checkpoint folder to start from; none: random weights
    weights: dict[str, Path] = field(default_factory=dict)  # prefix of names -> folder of its own weights (DINOv2, Vicuna)
    tokenizer: Path | None = None  # folder of tokenizer files; none: that of `start` or `shape`
    accumulate: int = 1  # batches an update is summed over
    warmup: int = 500
    schedule: str = "cosine"  # or constant
    weight_decay: float = 0.0001
    clip: float = 1.0
    precision: str = "bf16"  # or fp32
    freeze: list[str] = field(default_factory=list)  # name prefixes that stay as they are
    lr_factors: dict[str, float] = field(default_factory=dict)  # name prefix -> factor of lr
    shard: bool = False  # several processes: split the language model's layers over them
    checkpointing: bool = False  # recompute the language model's layers in the backward pass: less memory
    layers: dict[str, int] = field(default_factory=dict)  # vision, llm: fewer layers than the shape says (trial runs)
    flip: float = 0.0  # share of pictures mirrored (detection only: words have a left and a right)
    seed: int = 1
    save_every: int = 1000  # 0: neither state nor checkpoint is written
    log_every: int = 20
    workers: int = 2


def load(path: Path | str, **changes) -> StageConfig:
    """Reads a stage's file; paths in it are relative to the file. @raises ValueError naming file and key"""
    path = Path(path)
    given = yaml.safe_load(path.read_text())
    if not isinstance(given, dict):
        raise ValueError(f"{path}: not a mapping")
    given |= changes
    known = {f.name: f for f in fields(StageConfig)}
    for key in given:
        if key not in known:
            raise ValueError(f"{path}: unknown key {key}")
    for name, f in known.items():
        if name not in given and f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"{path}: {name} is missing")
    if given["stage"] not in STAGES:
        raise ValueError(f"{path}: stage is {given['stage']}, not one of {', '.join(STAGES)}")
    if given.get("flip") and given["stage"] != "detection":
        raise ValueError(f"{path}: flip is for the detection stage")
    place = path.parent
    sources = []
    for entry in given["data"]:
        options = {k: v for k, v in entry.items() if k not in ("format", "weight")}
        if "format" not in entry:
            raise ValueError(f"{path}: an entry of data has no format")
        sources.append(Source(entry["format"], float(entry.get("weight", 1.0)), resolve(options, place)))
    given["data"] = sources
    for key in ("out", "start", "tokenizer"):
        if given.get(key) is not None:
            given[key] = (place / given[key]).resolve()
    given["weights"] = {k: (place / v).resolve() for k, v in given.get("weights", {}).items()}
    if given["shape"] != "demo":
        given["shape"] = str((place / given["shape"]).resolve())
    for key in ("lr", "weight_decay", "clip", "flip"):  # YAML reads 1e-4 as text
        if key in given:
            given[key] = float(given[key])
    return StageConfig(**given)


def resolve(options: dict, place: Path) -> dict:
    """Keys that name files or folders become paths beside the configuration file."""
    return {
        k: (place / v).resolve() if k in ("images", "annotations", "refs", "sentences", "folder") and isinstance(v, str) else v
        for k, v in options.items()
    }


def trial(config: StageConfig, layers: int, tokenizer: Path) -> StageConfig:
    """One update on one synthetic scene from random weights: do the stage's shapes fit and run on this machine?

    layers: of the language model, so that a 7B can be tried where not all of it fits; tokenizer: any (its words do not matter).
    """
    return replace(
        config, out=config.out / "trial", start=None, weights={}, tokenizer=tokenizer, data=[Source("synthetic", 1.0)],
        steps=1, batch=1, accumulate=1, warmup=0, workers=1, log_every=1, save_every=0, layers=config.layers | {"llm": layers},
    )  # fmt: skip
