"""Writes test/fixtures/metrics/captions.json: what pycocoevalcap 1.2 says of the captions below.

Needs Python with pycocoevalcap and its jars (its own pip package) and java.
  python test/metrics/captionFixture.py
"""

import json
import random
from pathlib import Path

from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

folder = Path(__file__).resolve().parent.parent / "fixtures" / "metrics"
lines = (folder / "captions.txt").read_text(encoding="utf-8").splitlines()
rng = random.Random(7)


def changed(sentence: str) -> str:
    """The same words with some left out, swapped, repeated or inflected otherwise."""
    words = sentence.split()
    for _ in range(rng.randint(0, 5)):
        if not words:
            break
        i, j = rng.randrange(len(words)), rng.randrange(len(words))
        kind = rng.randrange(5)
        if kind == 0:
            words.pop(i)
        elif kind == 1:
            words[i], words[j] = words[j], words[i]
        elif kind == 2:
            words.insert(j, words[i])
        elif kind == 3 and words[i].isalpha():
            words[i] += rng.choice(["s", "ed", "ing", "ly"])
        else:
            words.insert(i, rng.choice(["a", "the", "red", "large", "on", "riding", "dogs"]))
    return " ".join(words)


items = []
for line in lines:
    references = [changed(line) or line for _ in range(rng.randint(1, 5))]
    items.append({"candidate": changed(line), "references": [line, *references][: rng.randint(1, 6)]})
items.append({"candidate": "", "references": ["a large red circle"]})

res = PTBTokenizer().tokenize({i: [{"caption": item["candidate"] or "\u00a0"}] for i, item in enumerate(items)})
gts = PTBTokenizer().tokenize({i: [{"caption": r} for r in item["references"]] for i, item in enumerate(items)})
cider, cider_scores = Cider().compute_score(gts, res)

tokens = [{"caption": line, "tokens": t[0]} for line, t in zip(lines, PTBTokenizer().tokenize({i: [{"caption": x}] for i, x in enumerate(lines)}).values())]  # fmt: skip
out = {
    "origin": "pycocoevalcap 1.2 (Stanford CoreNLP 3.4.1); made by test/metrics/captionFixture.py",
    "tokens": tokens,
    "items": [{**item, "ciderD": float(cider_scores[i])} for i, item in enumerate(items)],
    "ciderD": float(cider),
}  # fmt: skip
(folder / "captions.json").write_text(json.dumps(out, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
