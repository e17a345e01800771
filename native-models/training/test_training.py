"""Training of the demo model: stopped anywhere and resumed, it ends in the same weights bit for bit."""

import itertools
import shutil
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from groma_training import checkpoint, demo, joint, make_tokenizer, phase1, phase2
from groma_training.branch import Readout, start_branch
from groma_training.deepen import deepen
from groma_training.group_norm import GroupNormRelu
from groma_training.joint_records import Records
from groma_training.memory import Memory
from groma_training.optimisers import Optimisers, StackedMuon
from groma_training.packing import Packer
from groma_training.patches import flipped
from groma_training.pipeline import Pipeline
from groma_training.schedule import save
from groma_training.tokenizer import Tokenizer
from groma_training.vocabulary import COLOUR_NAMES, HELD_OUT, SHAPES

STEPS = 3


class Stop(Exception):
    pass


def number(rng, progress):
    return float(rng.random()), progress


class Resume(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(2)
        cls.folder = Path(tempfile.mkdtemp())
        cls.start = cls.folder / "start"
        make_tokenizer.write(cls.start / "tokenizer")
        model = demo.new_model(1)
        heads = phase2.Aids(model.cfg.llm.hidden_size)
        save(cls.start / "phase2.pt", model=model, aids=heads)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def weights(self, name: str, phase, state: str, stop_at: int | None):
        """The file that phase(model, folder) leaves; with stop_at it is interrupted in that step, then resumed."""
        out = self.folder / f"{name}-{stop_at}"
        shutil.copytree(self.start, out)
        real, done = Optimisers.step, [0]

        def step(self, *args, **kw):
            done[0] += 1
            if done[0] == stop_at:
                raise Stop
            real(self, *args, **kw)

        with mock.patch.object(Optimisers, "step", step):
            if stop_at:
                with self.assertRaises(Stop):
                    phase(demo.new_model(1), out)
            phase(demo.new_model(1), out)
        return torch.load(out / state, weights_only=True)

    def same(self, name: str, phase, state: str):
        whole = self.weights(name, phase, state, None)
        again = self.weights(name, phase, state, STEPS)
        self.assertEqual(whole["clock"], again["clock"])
        flat = lambda d, at="": [  # noqa: E731
            x for k, v in d.items() for x in (flat(v, f"{at}.{k}") if isinstance(v, dict) else [(f"{at}.{k}", v)])
        ]
        moved = dict(flat({"model": demo.new_model(1).state_dict()}))
        changed = 0
        for (k, a), (_, b) in zip(flat(whole), flat(again), strict=True):
            if isinstance(a, torch.Tensor):
                self.assertTrue(torch.equal(a, b), k)
                changed += k in moved and not torch.equal(a, moved[k])
        self.assertGreater(changed, 0, "nothing was trained")

    def test_proposer(self):
        with mock.patch.multiple(phase1, KEPT=4, SAVE_EVERY=1):
            self.same("1a", lambda m, out: phase1.run_frozen(m, out, STEPS, 1), "phase1a.pt")

    def test_language(self):
        with mock.patch.multiple(phase2, KEPT=3, SAVE_EVERY=1):
            self.same("2b", lambda m, out: phase2.run(m, out, STEPS, 1, "phase2b", fresh=1, replay=1), "phase2b.pt")


class Parts(unittest.TestCase):
    def test_items_come_in_order_whoever_draws_them(self):
        def drawn(workers, start):
            feed = Pipeline(number, 3, start=start, total=8, workers=workers)
            try:
                return feed.take(6)
            finally:
                feed.close()

        one = drawn(1, 0)
        self.assertEqual(one, drawn(3, 0))
        self.assertEqual(one[2:], drawn(2, 2)[:4])
        self.assertEqual([p for _, p in one], [i / 8 for i in range(6)])

    def test_memory_offers_the_newest_and_goes_back(self):
        with tempfile.TemporaryDirectory() as folder:
            memory = Memory(Path(folder) / "seen", size=3, spare=2)
            for i in range(7):
                memory.add(i)
            self.assertEqual([memory[k] for k in range(len(memory))], [4, 5, 6])
            earlier = Memory(Path(folder) / "seen", size=3, spare=2, start=5)
            self.assertEqual([earlier[k] for k in range(len(earlier))], [2, 3, 4])
            with self.assertRaises(FileNotFoundError):
                Memory(Path(folder) / "seen", size=3, spare=2, start=4)

    def test_the_learnt_sum_over_bumps_is_the_linear_layer_it_is_written_to(self):
        readout = Readout(64, 128)
        x = torch.randn(3, 64, 14, 14)
        told = torch.nn.functional.linear(x.flatten(1), readout.weight(), readout.matrix.bias)
        self.assertLess(float((told - readout(x)).abs().max()), 1e-4)

    def test_muon_of_stacked_matrices_is_torchs(self):
        start = [torch.randn(*shape) for shape in ((16, 16), (16, 16), (40, 16), (16, 40))]
        ours, theirs = ([p.clone().requires_grad_() for p in start] for _ in range(2))
        optimisers = (
            (ours, StackedMuon([{"params": ours}], lr=0.01, weight_decay=0.02)),
            (theirs, torch.optim.Muon([{"params": theirs}], lr=0.01, weight_decay=0.02)),
        )
        for k in range(3):
            for ps, optimiser in optimisers:
                torch.manual_seed(k)
                for p in ps:
                    p.grad = torch.randn_like(p)
                optimiser.step()
        for a, b, before in zip(ours, theirs, start, strict=True):
            self.assertTrue(torch.allclose(a, b, atol=1e-6))
            self.assertGreater(float((a - before).abs().max()), 1e-3)

    def test_group_norm_with_channels_last_is_torchs(self):
        x = (2 * torch.randn(2, 128, 9, 9) + 1).contiguous(memory_format=torch.channels_last).requires_grad_()
        weight, bias = torch.randn(128, requires_grad=True), torch.randn(128, requires_grad=True)
        grad, results = torch.randn(2, 128, 9, 9), []
        for norm in (
            lambda: GroupNormRelu.apply(x, weight, bias, 64, 1e-5),
            lambda: torch.relu(torch.nn.functional.group_norm(x, 64, weight, bias, 1e-5)),
        ):
            x.grad = weight.grad = bias.grad = None
            y = norm()
            y.backward(grad)
            results.append([y.detach(), x.grad, weight.grad, bias.grad])
        for ours, theirs in zip(*results, strict=True):
            self.assertLess(float((ours - theirs).abs().max() / theirs.abs().max()), 1e-5)

    def test_deeper_models_compute_the_same(self):
        model = demo.new_model(3).eval()
        deeper = deepen(model, 7, 5).eval()
        states, more = (m.encode(torch.randn(1, 3, 448, 448, generator=torch.manual_seed(2))) for m in (model, deeper))
        for a, b in zip(states[-4:], more[-4:], strict=True):
            self.assertTrue(torch.equal(a, b))
        x, at, mask = torch.randn(1, 9, 128), torch.arange(9)[None], torch.ones(9, 9).tril().bool()[None, None]
        self.assertTrue(torch.equal(model.llm(x, at, mask)[0], deeper.llm(x, at, mask)[0]))


class Joint(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.manual_seed(5)
        cls.folder = Path(tempfile.mkdtemp())
        make_tokenizer.write(cls.folder / "tokenizer")
        cls.packer = Packer(Tokenizer(cls.folder / "tokenizer"))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def batch(self, without=frozenset(), count=2):
        records = Records(self.packer, 0, without)
        drawn = [records(np.random.default_rng([8, i]), i) for i in range(count)]
        return {k: torch.from_numpy(np.stack([d[k] for d in drawn])) for k in drawn[0]}

    def test_held_out_pairs_are_neither_drawn_nor_named(self):
        batch = self.batch(HELD_OUT, 6)
        names = {f"{colour} {shape}" for colour, shape in HELD_OUT}
        for i, count in enumerate(batch["count"].tolist()):
            for colour, shape in zip(batch["colours"][i, :count], batch["shapes"][i, :count], strict=True):
                self.assertNotIn((COLOUR_NAMES[colour], SHAPES[shape]), HELD_OUT)
            for ids in batch["tokens"][i].tolist():
                said = self.packer.tok.decode(ids)
                self.assertFalse([name for name in names if name in said])

    def test_mirrored_boxes_still_bound_their_things(self):
        batch = self.batch()
        for draw in itertools.product((0.0, 1.0), repeat=3):
            turned = flipped(batch, torch.tensor([draw, draw]))
            for i, count in enumerate(batch["count"].tolist()):
                for k in range(count):
                    y, x = torch.nonzero(turned["ids"][i] == k + 1, as_tuple=True)
                    cx, cy = (448 * turned["boxes"][i, k, :2]).tolist()
                    w, h = (448 * turned["boxes"][i, k, 2:]).tolist()
                    inside = (x - cx).abs().max() < w / 2 + 2 and (y - cy).abs().max() < h / 2 + 2
                    self.assertTrue(inside)

    def test_region_tokens_in_batches_are_the_models_and_so_is_what_is_exported(self):
        model = demo.new_model(1).eval()
        trainer = joint.Trainer(model, len(self.packer.head), torch.device("cpu"))
        start_branch(model.region_encoder)
        torch.nn.init.normal_(model.region_encoder.roi_align.flatten_linear.weight, std=1e-3)
        batch = self.batch()
        boxes = batch["region_boxes"][:, 0]
        with torch.no_grad():
            states = model.encode(trainer.normalised(batch["pixels"]))
            ours = joint.region_tokens(model, trainer.readout, model.region_encoder.fuse(states), boxes)
            silent = joint.region_tokens(model, trainer.readout, None, boxes)
            trainer.export(self.folder / "checkpoint", self.folder / "tokenizer")
            theirs = torch.stack(checkpoint.read(self.folder / "checkpoint").region_encoder(states, list(boxes)))
        self.assertLess(float((ours - theirs).abs().max() / theirs.abs().max()), 2e-3)  # float16 weights
        self.assertGreater(float((ours - silent).abs().max()), 1e-2)

    def test_a_short_run_from_nothing_trains_every_part_and_writes_a_checkpoint(self):
        out = self.folder / "run"
        command = f"joint --out {out} --steps 4 --see 0.5 --batch 2 --fresh 1 --first 4 --kept 8 --ahead 4 --workers 1 --warm 1"
        with mock.patch("sys.argv", command.split()):
            joint.main()
        before, after = demo.new_model(31, checkpoint.read(out / "checkpoint").cfg), checkpoint.read(out / "checkpoint")
        was = before.state_dict()
        moved = {k.split(".")[0] for k, v in after.state_dict().items() if not torch.allclose(v, was[k], atol=1e-4)}
        self.assertEqual(moved, {k.split(".")[0] for k in was})


if __name__ == "__main__":
    unittest.main()
