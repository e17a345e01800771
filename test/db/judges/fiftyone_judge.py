"""usage: fiftyone_judge.py FOLDER: its coco.json, yolo, voc and cvat.xml through FiftyOne's importers (they need no database),
as one line of JSON. Every picture is 64 x 48."""
import json
import sys
from pathlib import Path

from fiftyone.utils.coco import COCODetectionDatasetImporter
from fiftyone.utils.cvat import CVATImageDatasetImporter
from fiftyone.utils.voc import VOCDetectionDatasetImporter
from fiftyone.utils.yolo import YOLOv5DatasetImporter


def boxes(importer) -> list:
    rows = []
    with importer:
        for path, _, found in importer:
            labels = found.values() if isinstance(found, dict) else [found]
            for box in [box for label in labels if hasattr(label, "detections") for box in label.detections]:
                x, y, w, h = box.bounding_box
                corners = (x * 64, y * 48, (x + w) * 64, (y + h) * 48)
                rows.append([Path(path).name, box.label, *[round(float(side), 3) for side in corners]])
    return sorted(rows)


def main() -> None:
    root = sys.argv[1]
    importers = {
        "coco": COCODetectionDatasetImporter(
            data_path=f"{root}/images/coco", labels_path=f"{root}/coco.json", label_types="detections"
        ),
        "cvat": CVATImageDatasetImporter(data_path=f"{root}/images/coco", labels_path=f"{root}/cvat.xml"),
        "voc": VOCDetectionDatasetImporter(data_path=f"{root}/voc/JPEGImages", labels_path=f"{root}/voc/Annotations"),
        "yolo": YOLOv5DatasetImporter(dataset_dir=f"{root}/yolo", yaml_path="data.yaml", split="train"),
    }
    print(json.dumps({name: boxes(importer) for name, importer in importers.items()}))


if __name__ == "__main__":
    main()
