"""What each stage trains and on which loss.

1 detection: the proposer, class-agnostic. 2 alignment: bridge, region encoder and the new words, everything
else frozen. 3 instruction: the language model too. Which tensors move is the configuration's `freeze`.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from .. import tasks
from ..boxes import iou_matrix, to_xyxy
from ..groma import Groma
from ..packing import Packer, collate, embed
from ..schedule import MEAN, STD
from ..tokenizer import Tokenizer
from .config import StageConfig
from .example import Ready
from .matching import detection_loss


class Stage:
    """The loss of one batch; moves data to the model's device itself."""

    def __init__(self, config: StageConfig, model: Groma, tok: Tokenizer, device: torch.device):
        self.config, self.model, self.device = config, model, device
        self.packer = Packer(tok)

    def loss(self, batch: list[Ready], rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        pixels = torch.from_numpy(np.stack([r.pixels for r in batch])).to(self.device)
        pixels = ((pixels.float() / 255 - MEAN.to(self.device)) / STD.to(self.device)).permute(0, 3, 1, 2)
        truths = [torch.from_numpy(r.boxes).to(self.device) for r in batch]
        with self.cast():
            states = self.model.encode(pixels)
        states = [x.float() for x in states]
        if self.config.stage == "detection":
            return detection_loss(self.model.propose(states), truths, [r.head for r in batch])
        with torch.no_grad():
            out = self.model.propose(states)
        with self.cast():
            return self.language_loss(states, out, batch, truths, rng)

    def cast(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def language_loss(self, states, out, batch, truths, rng):
        """Next-token loss of every answer, `<rK>` of the best-fitting candidate included."""
        model, packs, regions = self.model, [], []
        for b, (example, true) in enumerate(zip(batch, truths, strict=True)):
            boxes, _ = model.select(out.boxes[b], out.score[b], ground=true)
            boxes = boxes[torch.from_numpy(rng.permutation(len(boxes))).to(boxes.device)]  # as the authors do
            owner, order = torch.full((len(boxes),), -1), {}
            if len(true):
                iou = iou_matrix(to_xyxy(boxes), to_xyxy(true)).cpu()
                owner, order = iou.argmax(1), {i: int(iou[:, i].argmax()) for i in range(len(true))}
            talks = example.talks
            if example.scene is not None:
                talks = [[t] for t in tasks.turns(example.scene, rng, order)]
            talks = [[in_order(t, order) for t in talk] for talk in talks]
            packs.append(self.packer.pack(talks, boxes, owner, order))
            regions.append(boxes)
        image = model.image_tokens(states)
        regions = model.region_encoder(states, regions)
        ids, pos, mask, labels, weights = collate(packs)
        x = embed(model, packs, ids, image, regions)
        hidden, _, _, _ = model.llm(x, pos, mask)
        told = labels[:, 1:] >= 0
        truth = labels[:, 1:][told]
        logits = model.logits(hidden[:, :-1][told]).float()
        hit = logits.argmax(-1) == truth
        box = truth >= model.llm.cfg.vocab_size + model.cfg.num_new_token - 100  # the <rK> come last
        loss = F.cross_entropy(logits, truth)
        return loss, {"lm": loss.item(), "rK": share(hit[box]), "token": share(hit[~box])}


def in_order(turn: tasks.Turn, order: dict[int, int]) -> tasks.Turn:
    """All instances are named in the order of their regions, each once."""
    if turn.kind != "all":
        return turn
    first = {order[i]: i for i in reversed(turn.named)}
    named = [first[k] for k in sorted(first)]
    return tasks.Turn(turn.kind, turn.query, "<roi>" + "<ground_box>" * len(named) + "</roi>", named=named)


def share(hit: torch.Tensor) -> float:
    return hit.float().mean().item() if len(hit) else float("nan")
