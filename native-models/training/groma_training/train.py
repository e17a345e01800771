"""A stage of the recipe: `python -m groma_training.train --config X.yaml [--steps N]` (recipe/run.py), or
a phase of the demo model: `python -m groma_training.train --phase 0|1a|1b|1c|2|2b --out DIR --steps N [--seed S]`.

Each phase starts from the one before it in DIR, resumes where it stopped (the same seed and steps end in
the same weights, bit for bit, on the same machine), and ends by exporting DIR/checkpoint in the authors'
layout. GROMA_BF16=1 runs the encoder in bfloat16.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from . import checkpoint, demo, make_tokenizer, phase0, phase1, phase2
from .recipe.config import load as load_stage
from .recipe.config import trial
from .recipe.run import run as run_stage
from .schedule import load
from .vocabulary import SEEDS

BEFORE = {"1a": "phase0.pt", "1b": "phase1a.pt", "1c": "phase1b.pt", "2": "phase1b.pt", "2b": "phase2.pt"}
DEMO = Path(__file__).parents[2] / "demo" / "checkpoint"


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", type=Path, help="a stage's YAML file")
    what.add_argument("--phase", choices=["0", *BEFORE, "export"])
    p.add_argument("--trial", type=int, metavar="LAYERS", help="one update of a stage on random weights, with so many layers of its language model")
    p.add_argument("--out", type=Path, help="folder of states and checkpoint; a stage's file names its own")
    p.add_argument("--steps", type=int, help="updates of the weights (phases: 500)")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--from", dest="start", help="start from this file in OUT instead of the phase before")
    a = p.parse_args()
    if a.config:
        changes = {"steps": a.steps} if a.steps else {}
        stage = load_stage(a.config, **changes | ({"out": str(a.out.resolve())} if a.out else {}))
        run_stage(stage if a.trial is None else trial(stage, a.trial, DEMO))
        return
    if not a.out or not 0 < a.seed < SEEDS - 20:
        p.error(f"a phase needs --out, and a seed between 1 and {SEEDS - 21}")
    a.steps = a.steps or 500
    torch.set_num_threads(a.threads)
    a.out.mkdir(parents=True, exist_ok=True)
    if not (a.out / "tokenizer" / "tokenizer.model").exists():
        make_tokenizer.write(a.out / "tokenizer")
    model = demo.new_model(a.seed)
    heads = phase0.DenseHeads(model.cfg.vision.hidden_size)
    before = a.start or BEFORE.get(a.phase)
    if before == "phase0.pt":
        load(a.out / before, encoder=model.perceiver.vis_encoder, heads=heads)
    elif before == "phase1b.pt":
        load(a.out / before, model=model, heads=heads)
    elif before:
        load(a.out / before, model=model)
        load(a.out / "phase0.pt", heads=heads)
    if a.phase == "0":
        phase0.run(model.perceiver.vis_encoder, a.out, a.steps, a.seed)
    elif a.phase == "1a":
        phase1.run_frozen(model, a.out, a.steps, a.seed)
    elif a.phase in ("1b", "1c"):
        phase1.run_together(model, heads, a.out, a.steps, a.seed, f"phase{a.phase}")
    elif a.phase == "2":
        phase2.run(model, a.out, a.steps, a.seed)
    elif a.phase == "2b":
        load(a.out / "phase1c.pt", model=model.perceiver, prefix="perceiver.")
        phase2.run(model, a.out, a.steps, a.seed, "phase2b")
    checkpoint.write(model, a.out / "checkpoint", a.out / "tokenizer")


if __name__ == "__main__":
    main()
