"""Loads COCO files with pycocotools and says what it saw, as one line of JSON on stdout.

usage: pycocotools_judge.py instances.json [captions.json | --results results.json]
       pycocotools_judge.py --each FOLDER: a line for every out.json with its out.proposals.json in FOLDER/0, FOLDER/1, ...

Beyond loading: the boxes, scored against themselves, must reach AP 1.
"""
import contextlib
import io
import json
import sys
from pathlib import Path

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def judge(path: str) -> dict:
    truth = COCO(path)
    annotations = truth.loadAnns(truth.getAnnIds())
    report = {
        "images": len(truth.getImgIds()),
        "annotations": len(annotations),
        "categories": [c["name"] for c in truth.loadCats(truth.getCatIds())],
        "category_ids": sorted(truth.getCatIds()),
        "empty_images": sum(1 for i in truth.getImgIds() if not truth.getAnnIds(imgIds=[i])),
        "area_error": max((abs(a["area"] - a["bbox"][2] * a["bbox"][3]) for a in annotations), default=0.0),
    }
    if annotations:
        results = [
            {"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": 1.0 - 1e-6 * k}
            for k, a in enumerate(annotations)
        ]
        found = truth.loadRes(results)
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.params.maxDets = [1, 10, 1000]
        evaluation.evaluate()
        evaluation.accumulate()
        precision = evaluation.eval["precision"][:, :, :, 0, -1]
        valid = precision[precision > -1]
        report["self_ap"] = float(valid.mean()) if valid.size else -1.0
    return report


def judge_results(path: str, results: str) -> dict:
    report = judge(path)
    with open(results) as file:
        report["results"] = len(json.load(file))
    if report["results"]:
        report["results"] = len(COCO(path).loadRes(results).anns)
    return report


def judge_captions(path: str, sentences: str) -> dict:
    report = judge(path)
    captions = COCO(sentences)
    rows = captions.loadAnns(captions.getAnnIds())
    report["captions"] = len(rows)
    report["captions_orphaned"] = sum(1 for row in rows if row["image_id"] not in captions.imgs)
    return report


def main() -> None:
    path, *more = sys.argv[1:]
    with contextlib.redirect_stdout(io.StringIO()):
        if path == "--each":
            folders = sorted(Path(more[0]).iterdir(), key=lambda folder: int(folder.name))
            reports = [judge_results(str(at / "out.json"), str(at / "out.proposals.json")) for at in folders]
        elif more[:1] == ["--results"]:
            reports = [judge_results(path, more[1])]
        else:
            reports = [judge_captions(path, more[0]) if more else judge(path)]
    for report in reports:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
