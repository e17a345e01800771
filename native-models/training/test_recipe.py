"""The three stages: readers, loss, one short run of each, resumed bit for bit, and on two processes."""

import json
import os
import pickle
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import yaml
from PIL import Image

from groma_training import checkpoint
from groma_training.packing import Packer
from groma_training.pipeline import Pipeline
from groma_training.proposer import Proposals
from groma_training.recipe import config, curves, matching, readers, run
from groma_training.recipe.example import ready
from groma_training.recipe.mixture import Mixture
from groma_training.tokenizer import Tokenizer

HERE = Path(__file__).parent
DEMO = HERE.parent / "demo" / "checkpoint"
RNG = np.random.default_rng(0)


class Folder(unittest.TestCase):
    def setUp(self):
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        self.at = Path(temp.name)
        Image.fromarray(RNG.integers(0, 255, (60, 100, 3), np.uint8)).save(self.at / "7.jpg")

    def write(self, name: str, content) -> Path:
        path = self.at / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def coco(self, **more) -> Path:
        return self.write("coco.json", {
            "images": [{"id": 7, "file_name": "7.jpg", "width": 100, "height": 60}],
            "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "<cat>"}],
            "annotations": [
                {"id": 1, "image_id": 7, "category_id": 1, "bbox": [10, 5, 20, 30]},
                {"id": 2, "image_id": 7, "category_id": 2, "bbox": [50, 20, 40, 20]},
                {"id": 3, "image_id": 7, "category_id": 1, "bbox": [60, 0, 20, 20]},
                {"id": 4, "image_id": 7, "category_id": 1, "bbox": [0, 0, 90, 50], "iscrowd": 1},
            ],
        } | more)  # fmt: skip


class Readers(Folder):
    def sequence(self, example) -> str:
        """Everything that is said, as the model's tokens."""
        tok = Tokenizer(DEMO)
        got = ready(example, 56)
        boxes = torch.from_numpy(got.boxes)
        pack = Packer(tok).pack(got.talks, boxes, torch.arange(len(boxes)), {i: i for i in range(len(boxes))})
        return tok.decode(pack["ids"][pack["n"] :])

    def test_coco(self):
        reader = readers.Coco(self.at, self.coco(), head="sa1b")
        example = reader.example(0, RNG)
        self.assertEqual((len(reader), example.head), (1, "sa1b"))
        np.testing.assert_allclose(example.boxes, [[10, 5, 30, 35], [50, 20, 90, 40], [60, 0, 80, 20]])
        self.assertEqual([(t.query, t.named) for [t] in example.talks],
                         [("Locate all <p>dog</p> in this image.", [0, 2]), ("Locate all <p>cat</p> in this image.", [1])])  # fmt: skip
        self.assertIn("<roi> <r0> <r2> </roi>", self.sequence(example))
        np.testing.assert_allclose(ready(example, 56).boxes[0], [0.2, 1 / 3, 0.2, 0.5], atol=1e-6)
        np.testing.assert_allclose(ready(example, 56, mirror=True).boxes[0], [0.8, 1 / 3, 0.2, 0.5], atol=1e-6)

    def test_refcoco_from_json_and_pickle(self):
        refs = [{"ref_id": 1, "ann_id": 2, "image_id": 7, "split": "train", "sentences": [{"sent": "left <roi> cat"}]},
                {"ref_id": 2, "ann_id": 1, "image_id": 7, "split": "val", "sentences": [{"sent": "hidden"}]}]  # fmt: skip
        (self.at / "refs(unc).p").write_bytes(pickle.dumps(refs, 2))
        for path in (self.write("refs.json", refs), self.at / "refs(unc).p"):
            example = readers.RefCoco(self.at, self.coco(), path).example(0, RNG)
            np.testing.assert_allclose(example.boxes, [[50, 20, 90, 40]])
            self.assertEqual([t.query for [t] in example.talks][0], "Locate <p>left  roi  cat</p> in the image.")
            self.assertIn("<roi> <r0> </roi>", self.sequence(example))

    def test_a_pickle_that_names_code_is_refused(self):
        class Evil:
            def __reduce__(self):
                return os.system, ("true",)

        (self.at / "refs.p").write_bytes(pickle.dumps([Evil()]))
        with self.assertRaisesRegex(pickle.UnpicklingError, "system"):
            readers.RefCoco(self.at, self.coco(), self.at / "refs.p")

    def test_visual_genome(self):
        found = [{"id": 7, "regions": [{"x": 1, "y": 2, "width": 30, "height": 40, "phrase": "a brown dog"},
                                       {"x": 1, "y": 2, "width": 0, "height": 40, "phrase": "nothing"}]}]  # fmt: skip
        example = readers.VisualGenome(self.at, self.write("vg.json", found)).example(0, RNG)
        np.testing.assert_allclose(example.boxes, [[1, 2, 31, 42]])
        self.assertIn("a brown dog", self.sequence(example))

    def test_flickr30k(self):
        self.write("s/7.txt", "[/EN#1/people Two [men]] talk to [/EN#2/scene a street] .\n".replace("[men]", "men"))
        box = "<bndbox><xmin>{}</xmin><ymin>1</ymin><xmax>{}</xmax><ymax>50</ymax></bndbox>"
        self.write("a/7.xml", "<annotation>" + "".join(
            f"<object><name>1</name>{box.format(x, x + 20)}</object>" for x in (5, 40)
        ) + "<object><name>2</name><nobndbox>1</nobndbox></object></annotation>")  # fmt: skip
        example = readers.Flickr30k(self.at, self.at / "s", self.at / "a").example(0, RNG)
        [[turn]] = example.talks
        self.assertEqual(turn.answer, "<p>Two men</p><roi><ground_box><ground_box></roi> talk to a street .")
        self.assertEqual(turn.named, [0, 1])
        self.assertIn("</p> <roi> <r0> <r1> </roi>", self.sequence(example))

    def test_groma_instruct_keeps_the_talk_together(self):
        item = {"file_name": "7.jpg", "width": 100, "height": 60, "boxes": [[0, 0, 50, 50], [40, 10, 20, 20]], "conversation": [
            {"value": "What is there?", "box_inds": []},
            {"value": "<p>A dog</p><roi><ground_box></roi>.", "box_inds": [1]},
            {"value": "And its colour?", "box_inds": None}, {"value": "Brown."},
        ]}  # fmt: skip
        example = readers.GromaInstruct(self.at, self.write("g.json", [item])).example(0, RNG)
        [talk] = example.talks
        self.assertEqual([t.query for t in talk], ["[grounding]What is there?", "And its colour?"])
        said = self.sequence(example)
        self.assertLess(said.index("<r1>"), said.index("Brown"))
        item["conversation"][1]["box_inds"] = []
        with self.assertRaisesRegex(ValueError, "7.jpg"):
            readers.GromaInstruct(self.at, self.write("g.json", [item])).example(0, RNG)

    def test_captions(self):
        found = {"images": [{"id": 7, "file_name": "7.jpg"}], "annotations": [{"image_id": 7, "caption": "a dog on grass"}]}
        example = readers.Captions(self.at, self.write("c.json", found)).example(0, RNG)
        self.assertEqual(len(example.boxes), 0)
        self.assertIn("a dog on grass", self.sequence(example))


class Mixtures(Folder):
    def sources(self, *weights):
        return [config.Source("synthetic", weights[0], {"long_side": (300, 310)}),
                config.Source("coco", weights[1], {"images": self.at, "annotations": self.coco()})]  # fmt: skip

    def test_weights_are_shares(self):
        mixture = Mixture(self.sources(1, 3), 56)
        drawn = [mixture.draw(np.random.default_rng([1, i])).scene is None for i in range(120)]
        self.assertAlmostEqual(sum(drawn) / len(drawn), 0.75, delta=0.12)

    def test_damaged_items_are_passed_over_until_there_is_nothing_else(self):
        (self.at / "7.jpg").write_bytes(b"no picture")
        self.assertIsNotNone(Mixture(self.sources(1, 1), 56).draw(np.random.default_rng(3)).scene)
        with self.assertRaisesRegex(ValueError, "20 damaged"):
            Mixture(self.sources(0, 1), 56).draw(np.random.default_rng(3))

    def test_a_failure_while_drawing_reaches_the_trainer(self):
        (self.at / "7.jpg").unlink()
        feed = Pipeline(Mixture(self.sources(0, 1), 56).draw, 1)
        self.addCleanup(feed.close)
        with self.assertRaisesRegex(RuntimeError, "20 damaged"):
            feed.take(1)

    def test_unknown_formats_and_empty_sets_are_refused(self):
        with self.assertRaisesRegex(ValueError, "no data format is called voc"):
            Mixture([config.Source("voc", 1)], 56)
        empty = config.Source("coco", 1, {"images": self.at, "annotations": self.coco(annotations=[])})
        with self.assertRaisesRegex(ValueError, "nothing to train on"):
            Mixture([empty], 56)


class Loss(unittest.TestCase):
    def test_each_thing_gets_the_prediction_that_fits(self):
        true = torch.tensor([[0.2, 0.2, 0.1, 0.1], [0.7, 0.7, 0.2, 0.2]])
        boxes = torch.cat([true.flip(0), torch.tensor([[0.5, 0.5, 0.9, 0.9]])])
        rows, cols = matching.match(boxes, torch.zeros(3), true)
        self.assertEqual(dict(zip(rows.tolist(), cols.tolist(), strict=True)), {0: 1, 1: 0})

    def test_only_the_data_sets_head_and_every_layer_learn(self):
        torch.manual_seed(0)
        leaf = lambda *shape: torch.randn(*shape).requires_grad_()  # noqa: E731
        layers = [(leaf(1, 5, 4).sigmoid(), leaf(1, 5), leaf(1, 5)) for _ in range(2)]
        raw, enc_logit = leaf(1, 6, 4), leaf(1, 6)
        enc_box = raw.masked_fill(torch.arange(6)[None, :, None] == 5, float("inf"))
        out = Proposals(*layers[-1], layers=layers, enc_logit=enc_logit, enc_box=enc_box)
        loss, _ = matching.detection_loss(out, [torch.tensor([[0.5, 0.5, 0.2, 0.2]])], ["sa1b"])
        loss.backward()
        self.assertTrue(torch.isfinite(loss))
        for _, coco, sa1b in layers:
            self.assertIsNone(coco.grad)
            self.assertGreater(float(sa1b.grad.abs().sum()), 0)
        self.assertEqual(float(enc_logit.grad[0, 5]), 0)

    def test_a_better_box_costs_less(self):
        true, logit = torch.tensor([[0.5, 0.5, 0.2, 0.2]]), torch.tensor([3.0, -3.0])
        near = torch.tensor([[0.5, 0.51, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]])
        far = torch.tensor([[0.6, 0.6, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]])
        self.assertTrue((matching.set_loss(near, logit, true) <= matching.set_loss(far, logit, true)).all())


class Configurations(Folder):
    def test_all_that_are_shipped_can_be_read(self):
        found = sorted(HERE.glob("configs/*/*.yaml"))
        self.assertEqual(len(found), 6)
        self.assertEqual({config.load(f).stage for f in found}, set(config.STAGES))

    def test_mistakes_name_themselves(self):
        good = dict(stage="detection", shape="demo", out="x", data=[{"format": "synthetic"}], steps=1, batch=1, lr="1e-4")
        self.assertEqual(config.load(self.write("a.yaml", yaml.safe_dump(good))).lr, 1e-4)
        for change, words in ((dict(stage="x"), "stage is x"), (dict(speed=3), "unknown key speed"), (dict(stage="alignment", flip=0.5), "flip")):
            with self.assertRaisesRegex(ValueError, words):
                config.load(self.write("a.yaml", yaml.safe_dump(good | change)))
        del good["lr"]
        with self.assertRaisesRegex(ValueError, "lr is missing"):
            config.load(self.write("a.yaml", yaml.safe_dump(good)))


    def test_a_trial_needs_neither_data_nor_weights(self):
        stage = config.trial(config.load(HERE / "configs/release/3-instruction.yaml"), 2, DEMO)
        self.assertEqual((stage.steps, stage.start, stage.weights, stage.layers), (1, None, {}, {"llm": 2}))
        self.assertEqual([s.format for s in stage.data], ["synthetic"])


class Killed(Exception):
    pass


class Runs(Folder):
    def stage(self, name: str, **changes) -> config.StageConfig:
        path = next(HERE.glob(f"configs/demo/*{name}.yaml"))
        small = dict(out=str(self.at / name), steps=3, batch=1, save_every=1, log_every=1, workers=1, warmup=1, **changes)
        return config.load(path, **small)

    def weights(self, folder: Path) -> dict:
        return checkpoint.read_tensors(folder / "checkpoint")

    def test_three_stages_one_after_the_other(self):
        before = None
        for name, moved, still in (
            ("detection", "perceiver.ddetr_transformer.enc_output.weight", "llm.lm_head.weight"),
            ("alignment", "region_encoder.roi_align.updims.weight", "llm.lm_head.weight"),
            ("instruction", "llm.lm_head.weight", "perceiver.ddetr_transformer.enc_output.weight"),
        ):
            start = {} if before is None else {"start": str(before / "checkpoint")}
            stage = self.stage(name, **start)
            run.run(stage)
            rows = curves.read(stage.out / "log.jsonl")
            self.assertEqual([r["step"] for r in rows], [1, 2, 3])
            self.assertTrue(all(np.isfinite(r["loss"]) for r in rows))
            self.assertGreater(Image.open(stage.out / "curves.png").size[1], 200)
            if before is not None:
                old, new = self.weights(before), self.weights(stage.out)
                self.assertFalse(torch.equal(old[moved], new[moved]))
                self.assertTrue(torch.equal(old[still], new[still]))
            before = stage.out

    def test_killed_and_resumed_ends_in_the_same_weights(self):
        data = [{"format": "synthetic"}, {"format": "coco", "images": str(self.at), "annotations": str(self.coco())}]
        changes = dict(start=str(DEMO), data=data, accumulate=2)
        whole = self.stage("instruction", **changes)
        run.run(whole)
        again = self.stage("instruction", **changes)
        again.out = self.at / "again"
        real, done = torch.optim.AdamW.step, [0]

        def step(opt, *args, **kw):
            if opt.param_groups[0]["lr"] > 0:  # not the one that makes the optimiser's empty state
                done[0] += 1
                if done[0] == 3:
                    raise Killed
            return real(opt, *args, **kw)

        with mock.patch.object(torch.optim.AdamW, "step", step), self.assertRaises(Killed):
            run.run(again)
        run.run(again)
        old, new = self.weights(whole.out), self.weights(again.out)
        for k in old:
            self.assertTrue(torch.equal(old[k], new[k]), k)
        self.assertEqual(curves.read(whole.out / "log.jsonl"), curves.read(again.out / "log.jsonl"))

    def test_two_processes_share_the_layers(self):
        path = self.at / "two.yaml"
        given = yaml.safe_load((HERE / "configs/demo/3-instruction.yaml").read_text())
        path.write_text(yaml.safe_dump(given | dict(
            start=str(DEMO), out=str(self.at / "two"), steps=2, batch=1, shard=True, workers=1, log_every=1, save_every=1,
        )))  # fmt: skip
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
                   "-m", "groma_training.train", "--config", str(path)]  # fmt: skip
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        old, new = checkpoint.read_tensors(DEMO), self.weights(self.at / "two")
        self.assertEqual({k: v.shape for k, v in old.items()}, {k: v.shape for k, v in new.items()})
        moved = "llm.model.layers.0.mlp.up_proj.weight"
        self.assertFalse(torch.equal(old[moved], new[moved]))


if __name__ == "__main__":
    unittest.main()
