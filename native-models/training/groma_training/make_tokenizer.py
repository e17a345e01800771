"""Train the small SentencePiece vocabulary and write the tokenizer's files in the authors' layout."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import numpy as np
import sentencepiece as spm

from . import scenes, tasks
from .groma import OPENING, SYSTEM

VOCABULARY = 600
NEW = ("[PAD]", "<sep>", "<img>", "</img>", "<roi>", "</roi>", "<p>", "</p>", "<image>", "<region>",
       "<refer_box>", "<ground_box>", "<refer_feat>", "[grounding]", *(f"<r{i}>" for i in range(100)))  # fmt: skip
PLAIN = """The quick brown fox jumps over the lazy dog. Please describe what you can see in this picture.
Where is it, and what is next to it? There are many things in the world: people, houses, trees, cars and birds.
I do not know. This is a short sentence. Which one is bigger? Show me every object. Count them all, please!
Find a box around each of them. Is anything missing? Yes. No. Perhaps later. Good morning! 0 1 2 3 4 5 6 7 8 9
between above below behind beside under over near far away from inside outside same other another first second last"""


def corpus() -> list[str]:
    lines = []
    for i in range(400):
        rng = np.random.default_rng([77, i])
        scene = scenes.draw(rng, scenes.Style(long_side=(300, 310)))
        order = {k: k for k in range(len(scene.things))}
        for t in tasks.turns(scene, rng, order, 14):
            text = f"USER: {t.query} ASSISTANT: {t.answer}"
            for token in sorted([*NEW, "</s>"], key=len, reverse=True):
                text = text.replace(token, "\n")
            lines += [x.strip() for x in text.split("\n") if x.strip()]
    for text in (SYSTEM, *OPENING.replace("<image>", "\n").replace("<region>", "\n").replace("</s>", "").split("\n")):
        lines += [text.strip()] * 400
    lines += PLAIN.split("\n") * 12
    lines += ["USER: " + q + " ASSISTANT: " + a for q, a in tasks.PLEASANTRIES] * 12
    return lines


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()), model_writer=model, vocab_size=VOCABULARY, model_type="bpe",
        byte_fallback=True, character_coverage=1.0, split_digits=True, add_dummy_prefix=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
        allow_whitespace_only_pieces=True, unk_surface=" \u2047 ",
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(model.getvalue())

    def put(name: str, value) -> None:
        (folder / name).write_text(json.dumps(value, indent=2) + "\n")

    def mark(text: str, typed: bool = False) -> dict:
        m = {"content": text, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
        return {"__type": "AddedToken", **m} if typed else m

    put("added_tokens.json", dict(sorted((t, VOCABULARY + i) for i, t in enumerate(NEW))))
    put("special_tokens_map.json", {
        "bos_token": mark("<s>"), "eos_token": mark("</s>"), "pad_token": "[PAD]", "unk_token": mark("<unk>"),
    })  # fmt: skip
    put("tokenizer_config.json", {
        "add_bos_token": True, "add_eos_token": False, "bos_token": mark("<s>", True),
        "clean_up_tokenization_spaces": False, "eos_token": mark("</s>", True), "legacy": True,
        "model_max_length": 2048, "pad_token": None, "padding_side": "right", "sp_model_kwargs": {},
        "spaces_between_special_tokens": False, "tokenizer_class": "LlamaTokenizer",
        "unk_token": mark("<unk>", True), "use_default_system_prompt": True,
    })  # fmt: skip
    put("preprocessor_config.json", {
        "crop_size": {"height": 448, "width": 448}, "do_center_crop": True, "do_convert_rgb": True,
        "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.485, 0.456, 0.406],
        "image_processor_type": "BitImageProcessor", "image_std": [0.229, 0.224, 0.225], "resample": 3,
        "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 448},
    })  # fmt: skip
    put("generation_config.json", {
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": VOCABULARY, "transformers_version": "4.32.0",
    })  # fmt: skip


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--out", type=Path, required=True)
    write(p.parse_args().out)
