"""The PyTorch model against what the authors' code computed (skipped where the reference is absent).

GROMA_REFERENCE names the folder with one-level/ and four-level/; run `python -m unittest -v`.
"""

import json
import os
import unittest
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from groma_training import checkpoint, scenes
from groma_training.groma import Chat, prompt
from groma_training.schedule import normalise
from groma_training.tokenizer import Tokenizer

ROOT = Path(os.environ.get("GROMA_REFERENCE", ""))
CASES = (
    ("one-level", "checkpoint-bin-float16"),
    ("one-level", "checkpoint-safetensors-bfloat16"),
    ("four-level", "checkpoint-safetensors-float16"),
)


@unittest.skipUnless(os.environ.get("GROMA_REFERENCE") and ROOT.is_dir(), "GROMA_REFERENCE names no folder")
class Reference(unittest.TestCase):
    def near(self, got, want, tolerance=1e-3, what=""):
        worst = float((got - want).abs().max() / want.abs().max())
        self.assertLessEqual(worst, tolerance, what)

    def test_cases(self):
        for variant, folder in CASES:
            with self.subTest(variant=variant, folder=folder), torch.no_grad():
                self.check(ROOT / variant, ROOT / variant / folder)

    def test_tokenizer(self):
        for variant, folder in CASES:
            tok = Tokenizer(ROOT / variant / folder)
            for t in json.loads((ROOT / variant / "expected.json").read_text())["tokenizer"]:
                self.assertEqual(tok.encode(t["text"]), t["ids"], t["text"])

    def check(self, root, folder):
        model, tok = checkpoint.read(folder), Tokenizer(folder)
        for item in json.loads((root / "expected.json").read_text())["images"]:
            want = load_file(root / item["expected"])
            small = scenes.squash(np.asarray(Image.open(root / item["image"]).convert("RGB")))
            given = np.asarray(Image.open(root / item["image"].replace(".png", ".448.png")))
            self.assertTrue(np.array_equal(small, given), "resize")
            states = model.encode(normalise(small[None]))
            for k, s in enumerate(states):
                if f"hidden_states.{k}" in want:
                    self.near(s[0], want[f"hidden_states.{k}"], what=f"state {k}")
            p = model.propose(states)
            self.near(p.boxes[0], want["proposals.boxes_cxcywh"], what="boxes")
            self.near(p.score[0], want["proposals.score"], what="score")
            self.near(model.image_tokens(states)[0], want["image_tokens"], what="image tokens")
            for case in item["cases"]:
                name = case["case"]
                refer = case["refer_boxes_cxcywh"]
                refer = torch.tensor(refer) if refer else None
                boxes, _ = model.select(p.boxes[0], p.score[0], refer)
                if case["order"] == "reverse":
                    boxes = boxes.flip(0)
                self.near(boxes, want[f"{name}.selected_cxcywh"], what=f"{name} selected")
                chat = Chat(model, tok, states, boxes)
                if f"{name}.region_tokens" in want:
                    self.near(chat.regions, want[f"{name}.region_tokens"], what=f"{name} regions")
                self.assertEqual(tok.encode(prompt(case["query"])), case["input_ids"], name)
                answer = chat.ask(case["query"], refer, limit=len(case["output_ids"]))
                self.near(answer.first_logits, want[f"{name}.first_logits"], 3e-3, f"{name} logits")
                if case["min_margin"] >= 0.01:
                    self.assertEqual(answer.ids, case["output_ids"], name)


if __name__ == "__main__":
    unittest.main()
