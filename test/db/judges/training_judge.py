"""usage: training_judge.py TRAINING FOLDER: exports of one project through the readers of the training recipe, as one line of JSON.

TRAINING is native-models/training. Of every reader: the picture, the corners of its boxes, and what is said of them.
"""
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, sys.argv[1])
from groma_training.recipe import readers  # noqa: E402


def told(reader) -> list:
    rng = np.random.default_rng(0)
    rows = []
    for index in range(len(reader)):
        example = reader.example(index, rng)
        assert Path(example.picture).is_file(), example.picture
        words = sorted({f"{turn.query} -> {turn.answer}" for talk in example.talks for turn in talk if turn.answer})
        rows.append([Path(example.picture).name, np.round(example.boxes, 3).tolist(), words])
    return rows


def main() -> None:
    root = Path(sys.argv[2])
    refs = next((root / "refcoco").glob("refs(*).p"))
    reports = {
        "coco": told(readers.Coco(root / "images/coco", root / "coco.json")),
        "refcoco": told(readers.RefCoco(root / "refcoco/images", root / "refcoco/instances.json", refs)),
        "visual_genome": told(readers.VisualGenome(root / "vg/VG_100K", root / "vg/region_descriptions.json")),
        "flickr30k": told(readers.Flickr30k(root / "flickr/Images", root / "flickr/Sentences", root / "flickr/Annotations")),
        "groma_instruct": told(readers.GromaInstruct(root / "images/groma", root / "groma.json")),
        "captions": told(readers.Captions(root / "images/captions", root / "captions.json")),
    }
    print(json.dumps(reports))


if __name__ == "__main__":
    main()
