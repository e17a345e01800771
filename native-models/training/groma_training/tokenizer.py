"""transformers' slow LlamaTokenizer in short: SentencePiece plus added tokens, legacy or not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import sentencepiece as spm

MARK = "\u2581"


class Tokenizer:
    def __init__(self, folder: Path):
        folder = Path(folder)
        self.sp = spm.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        self.added: dict[str, int] = json.loads((folder / "added_tokens.json").read_text())
        config = json.loads((folder / "tokenizer_config.json").read_text())
        self.legacy = config.get("legacy", True)
        self.names = {i: t for t, i in self.added.items()}
        base = {t: self.sp.piece_to_id(t) for t in ("<s>", "</s>", "<unk>")}
        self.special = {**self.added, **base}
        self.split = re.compile(
            "(" + "|".join(re.escape(t) for t in sorted(self.special, key=len, reverse=True)) + ")"
        )
        self.bos, self.eos = base["<s>"], base["</s>"]
        self.image, self.region = self.added["<image>"], self.added["<region>"]
        self.refer_box, self.refer_feat = self.added["<refer_box>"], self.added["<refer_feat>"]
        self.ground_box = self.added["<ground_box>"]
        self.phrase, self.phrase_end = self.added["<p>"], self.added["</p>"]
        self.boxes = [self.added[f"<r{i}>"] for i in range(100)]
        self.box_index = {t: i for i, t in enumerate(self.boxes)}

    def _piece(self, text: str) -> list[int]:
        if self.legacy:
            return self.sp.encode(text)
        skip = len(self.sp.encode("<unk>"))
        return self.sp.encode("<unk>" + text)[skip:]

    def encode(self, text: str, bos: bool = True) -> list[int]:
        if not self.legacy:
            text = MARK + text.replace(MARK, " ")
        ids = [self.bos] if bos else []
        parts = self.split.split(text)
        for k, part in enumerate(parts):
            if k % 2:
                ids.append(self.special[part])
                continue
            if k > 0 and parts[k - 1] in self.added:
                part = part.lstrip()
            if k + 1 < len(parts) and parts[k + 1] in self.added:
                part = part.rstrip()
            if part:
                ids += self._piece(part)
        return ids

    def decode(self, ids: list[int]) -> str:
        """For evaluation: added tokens and runs of text joined by single spaces, <s> and </s> dropped."""
        out, run = [], []
        for i in [*ids, None]:
            if i in (self.bos, self.eos):
                continue
            if i is None or i in self.names:
                if run:
                    out.append(self.sp.decode(run))
                    run = []
                if i is not None:
                    out.append(self.names[i])
            else:
                run.append(int(i))
        return " ".join(out)
