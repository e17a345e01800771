"""How long the PyTorch model takes to look at one picture, at release shapes, random weights, fp32.

`python -m groma_training.perceive_bench [--repeats N]` prints one line of JSON: seconds of each part (the best of N),
of encoder (448 px, DINOv2-L), proposer (300 queries, one level) and region encoder (100 boxes), and their sum.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from .proposer import ProposerConfig, ProposerTransformer, input_projections
from .region_encoder import RegionEncoder
from .vision_encoder import VisionConfig, VisionEncoder

WIDTH, HIDDEN, BOXES = 1024, 4096, 100


def build() -> tuple[VisionEncoder, torch.nn.ModuleList, ProposerTransformer, RegionEncoder]:
    torch.manual_seed(0)
    vision = VisionConfig(
        hidden_size=WIDTH, num_hidden_layers=24, num_attention_heads=16, image_size=518, patch_size=14
    )
    proposer = ProposerConfig(num_feature_levels=1)
    return (
        VisionEncoder(vision).eval(),
        input_projections(1, WIDTH, proposer.d_model).eval(),
        ProposerTransformer(proposer).eval(),
        RegionEncoder(WIDTH, WIDTH, WIDTH, HIDDEN).eval(),
    )


@torch.no_grad()
def look(encoder, projections, proposer, regions, pixels, boxes) -> dict[str, float]:
    """Seconds of each part."""
    start = time.perf_counter()
    states = encoder(pixels)
    encoded = time.perf_counter()
    mean = torch.stack(states[-4:]).mean(0)[:, 1:]
    side = int(mean.shape[1] ** 0.5)
    proposer([p(mean.transpose(1, 2).reshape(1, -1, side, side)) for p in projections])
    proposed = time.perf_counter()
    regions(states, [boxes])
    done = time.perf_counter()
    return {"encoder": encoded - start, "proposer": proposed - encoded, "regions": done - proposed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0, help="0: as PyTorch chooses")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    models = build()
    pixels = torch.randn(1, 3, 448, 448)
    boxes = torch.rand(BOXES, 4) * torch.tensor([1.0, 1.0, 0.4, 0.4])
    runs = [look(*models, pixels, boxes) for _ in range(given.repeats)]
    best = {part: min(run[part] for run in runs) for part in runs[0]}
    print(json.dumps({**best, "total": sum(best.values()), "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
