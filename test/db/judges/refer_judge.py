"""usage: refer_judge.py FOLDER: the pickle and instances.json joined as the refer API joins them, as one line of JSON.

Its rules: references are a pickled list of dictionaries; ref_id, sent_id and ann_id name one row each; image_id and
category_id are those of the box; sent_ids are its sentences'; every sentence has its tokens, sent and raw.
"""
import json
import pickle
import sys
from pathlib import Path


def unique(rows: list, key: str) -> dict:
    by_key = {row[key]: row for row in rows}
    assert len(by_key) == len(rows), f"{key} names two rows"
    return by_key


def main() -> None:
    root = Path(sys.argv[1])
    with open(next(root.glob("refs(*).p")), "rb") as file:
        refs = pickle.load(file)
    instances = json.loads((root / "instances.json").read_text())
    images = unique(instances["images"], "id")
    boxes = unique(instances["annotations"], "id")
    classes = unique(instances["categories"], "id")
    unique(refs, "ref_id")
    unique([sentence for ref in refs for sentence in ref["sentences"]], "sent_id")
    told = []
    for ref in refs:
        box = boxes[ref["ann_id"]]
        image = images[ref["image_id"]]
        assert box["image_id"] == ref["image_id"] and box["category_id"] == ref["category_id"]
        assert image["file_name"] == ref["file_name"] and (root / "images" / ref["file_name"]).is_file()
        assert ref["sent_ids"] == [sentence["sent_id"] for sentence in ref["sentences"]]
        assert all(sentence["tokens"] and sentence["raw"] for sentence in ref["sentences"])
        sentences = [sentence["sent"] for sentence in ref["sentences"]]
        told.append([ref["file_name"], classes[ref["category_id"]]["name"], box["bbox"], sentences])
    print(json.dumps({"splits": sorted({ref["split"] for ref in refs}), "refs": told}))


if __name__ == "__main__":
    main()
