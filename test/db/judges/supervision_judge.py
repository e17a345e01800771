"""usage: supervision_judge.py FOLDER: its coco.json, yolo and voc through supervision, as one line of JSON of sorted boxes."""
import json
import sys
from pathlib import Path

import supervision as sv


def boxes(data: sv.DetectionDataset) -> list:
    return sorted(
        [Path(path).name, data.classes[int(number)], *[round(float(side), 3) for side in box]]
        for path, _, found in data
        for box, number in zip(found.xyxy, found.class_id)
    )


def main() -> None:
    root = sys.argv[1]
    yolo = [f"{root}/yolo/{part}" for part in ("images/train", "labels/train", "data.yaml")]
    sets = {
        "coco": sv.DetectionDataset.from_coco(f"{root}/images/coco", f"{root}/coco.json"),
        "voc": sv.DetectionDataset.from_pascal_voc(f"{root}/voc/JPEGImages", f"{root}/voc/Annotations"),
        "yolo": sv.DetectionDataset.from_yolo(*yolo),
    }
    print(json.dumps({name: boxes(data) for name, data in sets.items()}))


if __name__ == "__main__":
    main()
