"""usage: lvis_judge.py lvis.json results.json: loads both with the lvis package and scores the results, as one line of JSON."""
import json
import sys

import numpy

for name in ("float", "int", "bool"):  # the package is older than numpy 1.24, which took these names away
    if not hasattr(numpy, name):
        setattr(numpy, name, getattr(__builtins__, name))

from lvis import LVIS, LVISEval, LVISResults  # noqa: E402


def main() -> None:
    truth = LVIS(sys.argv[1])
    for annotation in truth.load_anns(truth.get_ann_ids()):
        assert truth.ann_to_mask(annotation).sum() > 0
    scored = LVISEval(truth, LVISResults(truth, sys.argv[2]), "bbox")
    scored.run()
    print(
        json.dumps(
            {
                "images": len(truth.get_img_ids()),
                "annotations": len(truth.get_ann_ids()),
                "categories": [row["name"] for row in truth.load_cats(truth.get_cat_ids())],
                "self_ap": round(float(scored.get_results()["AP"]), 9),
            }
        )
    )


if __name__ == "__main__":
    main()
