"""Training of the demo model: stopped anywhere and resumed, it ends in the same weights bit for bit."""

import shutil
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import torch

from groma_training import demo, make_tokenizer, phase0, phase1, phase2, phase4, phase5
from groma_training.memory import Memory
from groma_training.optimisers import Optimisers
from groma_training.pipeline import Pipeline
from groma_training.region_encoder import RegionEncoder
from groma_training.schedule import save

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

    def test_branch(self):
        def phase(m, out):
            torch.manual_seed(1)
            phase4.run(m, phase0.DenseHeads(128), out, STEPS, 1)

        with mock.patch.multiple(phase4, BATCH=1, SAVE_EVERY=1):
            self.same("4", phase, "phase4.pt")

    def test_language(self):
        with mock.patch.multiple(phase5, KEPT=3, SAVE_EVERY=1, FRESH=1, REPLAY=1):
            self.same("5", lambda m, out: phase5.run(m, out, STEPS, 1, "phase2.pt", True), "phase5.pt")


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
        readout, flatten = phase4.Readout(64, 128), torch.nn.Linear(64 * 196, 128)
        readout.write(flatten)
        x = torch.randn(3, 64, 14, 14)
        self.assertLess(float((flatten(x.flatten(1)) - readout(x)).abs().max()), 1e-4)

    def test_without_the_finest_level_the_others_are_fused_and_it_is_silent(self):
        encoder = RegionEncoder(64, 64, 32, 32)
        states = [torch.randn(1, 17, 64) for _ in range(3)]
        maps = encoder.fuse(states, coarse_only=True)
        self.assertIsNone(maps[0])
        self.assertEqual([tuple(m.shape[-2:]) for m in maps[1:]], [(8, 8), (4, 4)])
        boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2]])
        self.assertEqual(tuple(encoder.roi_align(maps, [boxes])[0].shape), (1, 32))


if __name__ == "__main__":
    unittest.main()
