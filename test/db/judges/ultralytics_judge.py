"""usage: ultralytics_judge.py FOLDER: all splits of its data.yaml through ultralytics' own dataset, as one line of JSON."""
import json
import sys
from pathlib import Path

from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset


def main() -> None:
    data = check_det_dataset(str(Path(sys.argv[1]) / "data.yaml"), autodownload=False)
    boxes, seen = [], set()
    for split in ("train", "val", "test"):
        if not data.get(split):
            continue
        for label in YOLODataset(data[split], data=data, task="detect", augment=False).labels:
            if label["im_file"] in seen:
                continue
            seen.add(label["im_file"])
            height, width = label["shape"]
            for (number,), (cx, cy, w, h) in zip(label["cls"], label["bboxes"]):
                corners = ((cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height)
                name = data["names"][int(number)]
                boxes.append([Path(label["im_file"]).name, name, *[round(float(side), 3) for side in corners]])
    print(json.dumps({"names": list(data["names"].values()), "boxes": sorted(boxes), "images": len(seen)}))


if __name__ == "__main__":
    main()
