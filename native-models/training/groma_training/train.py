"""`python -m groma_training.train --phase 0|1a|1b|1c|2|2b|3|3b --out DIR --minutes N [--seed S]`.

Each phase starts from the one before it in DIR, resumes where it stopped, and ends by exporting
DIR/checkpoint in the authors' layout. GROMA_BF16=1 runs the encoder in bfloat16.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from . import checkpoint, demo, make_tokenizer, phase0, phase1, phase2, phase3
from .schedule import load

BEFORE = {"1a": "phase0.pt", "1b": "phase1a.pt", "1c": "phase1b.pt", "2": "phase1b.pt", "2b": "phase2.pt", "3": "phase2.pt", "3b": "phase3.pt"}
SEEDS = 100_000  # training draws from seeds under this; samples and evaluation from above


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--phase", choices=["0", "1a", "1b", "1c", "2", "2b", "3", "3b", "export"], required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--minutes", type=float, default=10)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--from", dest="start", help="start from this file in OUT instead of the phase before")
    a = p.parse_args()
    assert a.seed < SEEDS
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
        load(a.out / {"3": "phase1b.pt", "3b": "phase3.pt"}.get(a.phase, "phase0.pt"), heads=heads)
    if a.phase == "0":
        phase0.run(model.perceiver.vis_encoder, a.out, a.minutes, a.seed)
    elif a.phase == "1a":
        phase1.run_frozen(model, a.out, a.minutes, a.seed)
    elif a.phase == "1b":
        phase1.run_together(model, heads, a.out, a.minutes, a.seed)
    elif a.phase == "1c":
        phase1.run_together(model, heads, a.out, a.minutes, a.seed, "phase1c")
    elif a.phase == "2":
        phase2.run(model, a.out, a.minutes, a.seed)
    elif a.phase == "2b":
        load(a.out / "phase1c.pt", model=model.perceiver, prefix="perceiver.")
        phase2.run(model, a.out, a.minutes, a.seed, "phase2b")
    elif a.phase in ("3", "3b"):
        phase3.run(model, heads, a.out, a.minutes, a.seed, conv=a.phase == "3b", name=f"phase{a.phase}")
    checkpoint.write(model, a.out / "checkpoint", a.out / "tokenizer")


if __name__ == "__main__":
    main()
