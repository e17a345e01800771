"""Conversations about a picture as token sequences, packed over one shared prefix."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .groma import OPENING, SYSTEM, Groma
from .tasks import Turn
from .tokenizer import Tokenizer

IMAGE_TOKENS = 256


class Packer:
    """Token sequences of pictures with all their talks, and where everything supervised sits."""

    def __init__(self, tok: Tokenizer):
        self.tok = tok
        ids = tok.encode(SYSTEM + OPENING)
        i, r = ids.index(tok.image), ids.index(tok.region)
        self.head, self.between, self.tail = ids[:i], ids[i + 1 : r], ids[r + 1 :]
        self.cache: dict[str, list[int]] = {}

    def text(self, s: str) -> list[int]:
        if s not in self.cache:
            if len(self.cache) > 20000:
                self.cache.clear()
            self.cache[s] = self.tok.encode(s, bos=False)
        return self.cache[s]

    def pack(
        self, talks: Sequence[Sequence[Turn]], boxes: torch.Tensor, owner: torch.Tensor, order: dict[int, int],
        first: int = 0,
    ) -> dict:  # fmt: skip
        """Each talk (its turns in order) sees the prefix and itself; its positions start at the prefix' end.

        boxes [R,4]: the regions; owner [R]: the thing each shows (-1 none, -2 unsure); order: thing -> its region.
        first: number of the first region, so that the higher `<rK>` are met too.

        In the result `feats` are (position, region) of region features, `reads` (position, thing) where a thing is
        about to be named or was shown, `looks` (position, region) where a region is about to be named, `turn` the number of
        each position's turn (-1 in the prefix).
        """
        tok = self.tok
        ids = [*self.head, *([0] * IMAGE_TOKENS), *self.between]
        image_at = len(self.head)
        region_at = []
        for k in range(len(boxes)):
            ids += [tok.boxes[first + k], 0]
            region_at.append(len(ids) - 1)
        ids += self.tail
        n = len(ids)
        p = dict(
            ids=ids, pos=list(range(n)), start=[0] * n, labels=[-100] * n, weights=[0.0] * n, turn=[-1] * n, n=n,
            image_at=image_at, region_at=region_at, boxes=boxes, owner=owner, first=first, turns=0,
            feats=[(at, k) for k, at in enumerate(region_at)], reads=[], looks=[],
            grounds=[(at, int(o)) for at, o in zip(region_at, owner, strict=True) if o >= 0],
        )  # fmt: skip
        for talk in talks:
            base = len(ids)
            for turn in talk:
                self._turn(p, turn, order, base, n)
        return p

    def _turn(self, p: dict, turn: Turn, order: dict[int, int], base: int, position: int) -> None:
        tok, first = self.tok, p["first"]
        question = self.text(f"USER: {turn.query} ASSISTANT:")
        whole = self.text(f"USER: {turn.query} ASSISTANT: {turn.answer}</s>")
        assert whole[: len(question)] == question, turn
        upcoming, inside = list(turn.named), False
        for k, t in enumerate(whole):
            here, told = len(p["ids"]), k >= len(question)
            if t == tok.refer_box:
                t = tok.boxes[first + order[turn.refer]]
            elif t == tok.refer_feat:
                p["feats"].append((here, order[turn.refer]))
                p["reads"].append((here, turn.refer))
                p["grounds"].append((here, turn.refer))
                t = 0
            elif t == tok.ground_box:
                thing = upcoming.pop(0)
                t = tok.boxes[first + order[thing]]
                p["reads"].append((here - 1, thing))
                p["looks"].append((here - 1, order[thing]))
            elif t == tok.phrase and told:
                inside = True
            elif t == tok.phrase_end:
                inside = False
            if inside and told and upcoming:
                p["looks"].append((here, order[upcoming[0]]))
            p["ids"].append(t)
            p["pos"].append(position + here - base)
            p["start"].append(base)
            p["labels"].append(t if told else -100)
            p["weights"].append((3.0 if t in tok.box_index else 1.0) if told else 0.0)
            p["turn"].append(p["turns"])
        p["turns"] += 1


def collate(packs: list[dict]):
    """ids, positions [B,T], mask [B,1,T,T] (True = may look), labels, weights [B,T]."""
    b, t = len(packs), max(len(p["ids"]) for p in packs)

    def pad(key, fill, dtype):
        out = torch.full((b, t), fill, dtype=dtype)
        for i, p in enumerate(packs):
            out[i, : len(p[key])] = torch.tensor(p[key], dtype=dtype)
        return out

    ids, pos = pad("ids", 0, torch.long), pad("pos", 0, torch.long)
    start = pad("start", t - 1, torch.long)
    prefix = torch.tensor([p["n"] for p in packs])
    at = torch.arange(t)
    mask = (at[None, None] <= at[None, :, None]) & (
        (at[None, None] < prefix[:, None, None]) | (at[None, None] >= start[:, :, None])
    )
    return ids, pos, mask[:, None], pad("labels", -100, torch.long), pad("weights", 0.0, torch.float32)


def embed(model: Groma, packs: list[dict], ids: torch.Tensor, image, regions) -> torch.Tensor:
    """Input embeddings [B,T,H]; image [B,256,H]; regions: per pack [R,H]."""
    rows, cols, values = [], [], []
    for b, p in enumerate(packs):
        rows += [b] * (IMAGE_TOKENS + len(p["feats"]))
        cols += [*range(p["image_at"], p["image_at"] + IMAGE_TOKENS), *(c for c, _ in p["feats"])]
        values += [image[b], regions[b][[k for _, k in p["feats"]]]]
    x = model.embed(ids)
    return x.index_put((torch.tensor(rows), torch.tensor(cols)), torch.cat(values).to(x.dtype))
