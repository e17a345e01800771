"""Boxes by a seeded draw and what pycocotools says of them, as JSON on stdout.

`python test/metrics/detectionFixture.py SEED` needs Python with pycocotools; the file beside it,
test/fixtures/metrics/detections.json, is its output for seed 7 (pycocotools 2.0.11).
"""

import contextlib
import io
import json
import random
import sys

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 7
rng = random.Random(seed)


def box(width=640, height=480):
    w = rng.choice([rng.uniform(4, 40), rng.uniform(20, 120), rng.uniform(80, 400)])
    h = w * rng.uniform(0.4, 2.0)
    return [round(rng.uniform(0, width), 2), round(rng.uniform(0, height), 2), round(w, 2), round(h, 2)]


def near(b):
    x, y, w, h = b
    s = rng.choice([0.02, 0.1, 0.25])
    return [
        round(x + w * rng.gauss(0, s), 3), round(y + h * rng.gauss(0, s), 3),
        round(w * max(0.2, 1 + rng.gauss(0, s)), 3), round(h * max(0.2, 1 + rng.gauss(0, s)), 3),
    ]  # fmt: skip


images, annotations, results = [], [], []
for image_id in range(1, 41):
    images.append({"id": image_id, "width": 640, "height": 480, "file_name": f"{image_id}.jpg"})
    for _ in range(rng.choice([0, 1, 3, 8])):
        b, category = box(), rng.randint(1, 3)
        annotations.append({
            "id": len(annotations) + 1, "image_id": image_id, "category_id": category, "bbox": b,
            "area": round(b[2] * b[3] * rng.choice([1, 1, 0.6]), 3), "iscrowd": int(rng.random() < 0.12),
        })  # fmt: skip
        for _ in range(rng.choice([0, 1, 1, 2])):
            # few different scores: ties must fall alike
            score = round(rng.random(), rng.choice([1, 3]))
            results.append({"image_id": image_id, "category_id": rng.choice([category, category, 2]), "bbox": near(b), "score": score})
    for _ in range(rng.choice([0, 2, 14])):
        results.append({"image_id": image_id, "category_id": rng.randint(1, 3), "bbox": box(), "score": round(rng.random(), 2)})

out = {"seed": seed, "images": images, "annotations": annotations, "results": results}
with contextlib.redirect_stdout(io.StringIO()):
    truth = COCO()
    truth.dataset = {"images": images, "annotations": annotations, "categories": [{"id": i, "name": str(i)} for i in (1, 2, 3)]}
    truth.createIndex()
    found = truth.loadRes(json.loads(json.dumps(results)))
    for name, use_cats in (("byClass", 1), ("classAgnostic", 0)):
        judge = COCOeval(truth, found, "bbox")
        judge.params.useCats = use_cats
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
        precision = judge.eval["precision"][0, :, :, 0, 2]  # [R, K] at IoU 0.5
        out[name] = {
            "stats": [float(s) for s in judge.stats],
            "curve": [float(np.mean(row[row > -1])) for row in precision],
        }
print(json.dumps(out))
