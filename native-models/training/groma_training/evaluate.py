"""`python -m groma_training.evaluate --checkpoint DIR --scenes N --seed S`: figures on fresh scenes.

The regions are in score order, the threshold and NMS are the model's own, answers are greedy.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np
import torch

from . import checkpoint, scenes, tasks
from .boxes import iou_matrix, to_xyxy
from .groma import Chat, Groma
from .schedule import normalise
from .tokenizer import Tokenizer
from .vocabulary import SEEDS


class Tally:
    def __init__(self) -> None:
        self.sums: dict[str, list[float]] = {}

    def add(self, name: str, value: float, weight: float = 1.0) -> None:
        s = self.sums.setdefault(name, [0.0, 0.0])
        s[0] += value * weight
        s[1] += weight

    def means(self) -> dict[str, float]:
        return {k: round(a / b, 4) for k, (a, b) in self.sums.items() if b}

    def counts(self) -> dict[str, int]:
        return {k: int(b) for k, (_, b) in self.sums.items()}


def region_numbers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"<r(\d+)>", text)]


def words(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>|\[grounding\]", " ", text)).strip(" .")


@torch.no_grad()
def evaluate(model: Groma, tok: Tokenizer, count: int, seed: int, conv=True, style=None, say=None, language=True, draw=scenes.draw):
    tally, examples = Tally(), []
    conv = conv and bool(model.region_encoder.roi_align.flatten_linear.weight.any())  # silent branch: same sums
    for n in range(count):
        rng = np.random.default_rng([SEEDS + seed, n])
        scene = scenes.as_filed(draw(rng, style or scenes.Style()))
        states = model.encode(normalise(scenes.squash(scene.image)[None]))
        p = model.propose(states)
        true = torch.from_numpy(scenes.boxes_cxcywh(scene))
        boxes, scores = model.select(p.boxes[0], p.score[0])
        iou = iou_matrix(to_xyxy(true), to_xyxy(boxes))
        best, match = iou.max(1)
        tally.add("proposals.recall@0.5", float((best > 0.5).float().mean()), len(true))
        tally.add("proposals.recall@0.75", float((best > 0.75).float().mean()), len(true))
        ar = np.mean([float((best > t).float().mean()) for t in np.arange(0.5, 1.0, 0.05)])
        tally.add("proposals.AR", float(ar), len(true))
        tally.add("proposals.mean_iou", float(best.mean()), len(true))
        tally.add("proposals.per_image", len(boxes))
        used = len({int(m) for m, b in zip(match, best, strict=True) if b > 0.5})
        tally.add("proposals.precision@0.5", used / len(boxes), len(boxes))
        if not language:
            continue
        chat = Chat(model, tok, states, boxes, conv)
        order = {i: int(match[i]) for i in range(len(true))}
        found = [i for i in range(len(true)) if best[i] > 0.5]
        # captions of predicted boxes
        q = [(tasks.SHORT, boxes[match[i]][None]) for i in found]
        for a, i in zip(chat.ask_all(q, 24) if q else [], found, strict=True):
            t = scene.things[i]
            tally.add("caption.predicted", words(a.text) == t.caption)
            for k, w in (("colour", t.colour), ("shape", t.shape), ("size", t.size)):
                tally.add(f"caption.predicted.{k}", w in words(a.text).split())
            if n < 3:
                examples.append(("caption", t.caption, a.text))
        # captions of user-drawn boxes: each becomes a candidate itself
        for i in rng.permutation(len(true))[:3]:
            mine = true[i : i + 1]
            b2, _ = model.select(p.boxes[0], p.score[0], mine)
            a = Chat(model, tok, states, b2, conv).ask(tasks.SHORT, mine, 24)
            tally.add("caption.drawn", words(a.text) == scene.things[i].caption)
        q, want = [], []
        for text, i in scenes.expressions(scene):
            q.append((tasks.locate(text), None))
            want.append(("refer", text, i))
        for _ in range(3):
            one, _, members = tasks.class_phrase(scene, rng)
            q.append((tasks.locate_all(one), None))
            want.append(("all", one, members))
        for i in found:
            q.append((tasks.LONG, boxes[match[i]][None]))
            want.append(("long", tasks.long_caption(scene, i), i))
        for _ in range(4):
            t = tasks.chat_turn(scene, rng, order)
            if t.kind == "chat" and t.refer is None:
                q.append((t.query, None))
                want.append(("chat", t.answer, t.query))
        q.append((tasks.CONCISE, None))
        want.append(("describe", tasks.describe_turn(scene, order).answer, None))
        for a, (kind, text, truth) in zip(chat.ask_all(q, 200), want, strict=True):
            named = [k for k in region_numbers(a.text) if k < len(boxes)]
            if n < 3:
                examples.append((kind, text if kind != "chat" else f"{truth} -> {text}", a.text))
            if kind == "refer":
                ok = bool(named) and float(iou[truth, named[0]]) > 0.5
                tally.add("refer", ok)
                by_place = " on the " in text or " at the " in text
                tally.add("refer.by_place" if by_place else "refer.named", ok)
            elif kind == "all":
                hits = {i for i in truth if any(float(iou[i, k]) > 0.5 for k in named)}
                right = sum(any(float(iou[i, k]) > 0.5 for i in truth) for k in named)
                tally.add("all.recall", len(hits) / len(truth), len(truth))
                tally.add("all.precision", right / max(1, len(named)), max(1, len(named)))
                tally.add("all.exact", len(hits) == len(truth) == len(named) == right)
            elif kind == "long":
                tally.add("long", words(a.text) == words(text))
            elif kind == "chat":
                tally.add("chat", words(a.text) == words(text))
            else:
                pairs = re.findall(r"<p>(.*?)</p>\s*<roi>\s*<r(\d+)>", a.text)
                good = sum(
                    any(float(iou[i, int(k)]) > 0.5 and c.strip() == scene.things[i].caption for i in range(len(true)))
                    for c, k in pairs if int(k) < len(boxes)
                )  # fmt: skip
                tally.add("describe.phrase_precision", good / max(1, len(pairs)), max(1, len(pairs)))
                tally.add("describe.phrase_recall", good / len(true), len(true))
                tally.add("describe.exact", words(a.text) == words(text))
        if say and n % 20 == 19:
            say(n + 1, tally.means())
    return tally, examples


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--checkpoint", type=Path, required=True)
    p.add_argument("--scenes", type=int, default=200)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--hard", action="store_true", help="boxes overlap up to 40 percent")
    p.add_argument("--no-conv", action="store_true", help="ablation: without the convolution branch")
    p.add_argument("--no-language", action="store_true")
    p.add_argument("--examples", action="store_true")
    p.add_argument("--json", type=Path)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    model, tok = checkpoint.read(a.checkpoint), Tokenizer(a.checkpoint)
    style = scenes.Style(overlap=0.4) if a.hard else None
    tally, examples = evaluate(
        model, tok, a.scenes, a.seed, not a.no_conv, style,
        lambda n, m: print(n, m, flush=True) if n % 100 == 0 else None, not a.no_language,
    )  # fmt: skip
    if a.examples:
        for e in examples:
            print(*e, sep=" | ")
    counts = tally.counts()
    for k, v in tally.means().items():
        print(f"{k:28s} {v:.4f}  (n={counts[k]})")
    if a.json:
        a.json.write_text(json.dumps({"figures": tally.means(), "counts": counts}, indent=1) + "\n")


if __name__ == "__main__":
    main()
