"""Scenes drawn by worker processes while the trainer computes."""

from __future__ import annotations

import multiprocessing as mp
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty

import cv2
import numpy as np

from . import scenes
from .vocabulary import COLOUR_NAMES, SHAPES, SIZE_NAMES


@dataclass
class Sample:
    """One scene, squashed to 448x448, with its truth as arrays (N things)."""

    pixels: np.ndarray  # uint8 [448,448,3]
    ids: np.ndarray  # uint8 [448,448], 0 = background, else 1 + index
    boxes: np.ndarray  # float32 [N,4] cxcywh 0..1
    shapes: np.ndarray  # int64 [N]
    colours: np.ndarray  # int64 [N]
    sizes: np.ndarray  # int64 [N]
    masks: np.ndarray  # float32 [N,7,7], each thing's coverage of its own box
    size: tuple[int, int]  # width, height of the picture
    scene: scenes.Scene | None = None


def sample(scene: scenes.Scene, keep_scene: bool = False, ids: bool = True) -> Sample:
    masks = []
    for t in scene.things if ids else ():
        w, h = t.box[2] - t.box[0], t.box[3] - t.box[1]
        to = np.array([28 / w, 28 / h])
        at = np.array(t.box[:2])
        hole = None if t.hole is None else (t.hole - at) * to
        m = scenes._mask((t.outer - at) * to, hole, 0, 0, 28, 28, 1)
        masks.append(cv2.resize(m, (7, 7), interpolation=cv2.INTER_AREA))
    out = Sample(
        pixels=scenes.squash(scene.image),
        ids=scenes.instance_map(scene) if ids else np.zeros((0, 0), np.uint8),
        boxes=scenes.boxes_cxcywh(scene),
        shapes=np.array([SHAPES.index(t.shape) for t in scene.things], np.int64),
        colours=np.array([COLOUR_NAMES.index(t.colour) for t in scene.things], np.int64),
        sizes=np.array([SIZE_NAMES.index(t.size) for t in scene.things], np.int64),
        masks=np.array(masks, np.float32).reshape(-1, 7, 7),
        size=scene.size,
    )
    if keep_scene:
        for t in scene.things:  # the trainer needs names and boxes only
            t.outer = t.hole = t.rgb = None
        scene.image = None
        out.scene = scene
    return out


def _work(queue, make, seed: int, worker: int, workers: int, start: int, total: int) -> None:
    os.nice(3)
    i = start + (worker - start) % workers  # the first item from start on that is this worker's
    while True:
        try:
            queue.put(make(np.random.default_rng([seed, i]), min(1.0, i / total)))
        except Exception:
            queue.put(Failure(traceback.format_exc()))
            return
        i += workers


@dataclass
class Failure:
    text: str


class Pipeline:
    """Items make(rng, progress) number start, start + 1, ... drawn ahead by `workers` processes.

    Item i depends on seed and i alone, and so does its progress (i / total, at most 1); they come in
    order whatever the processes do. A trainer that took n items resumes with start=n.
    """

    def __init__(self, make: Callable, seed: int, start: int = 0, total: int = 1, workers: int = 1, depth: int = 24):
        ctx = mp.get_context("fork")
        self.next = start
        self.queues = [ctx.Queue(max(1, depth // workers)) for _ in range(workers)]
        self.workers = [
            ctx.Process(target=_work, args=(q, make, seed, k, workers, start, total), daemon=True)
            for k, q in enumerate(self.queues)
        ]
        for w in self.workers:
            w.start()

    def take(self, n: int = 1) -> list:
        out = []
        for _ in range(n):
            k = self.next % len(self.queues)
            item = self._get(self.queues[k], self.workers[k])
            if isinstance(item, Failure):
                raise RuntimeError(f"item {self.next} could not be made:\n{item.text}")
            out.append(item)
            self.next += 1
        return out

    @staticmethod
    def _get(queue, worker):
        while True:
            try:
                return queue.get(timeout=5)
            except Empty:
                if not worker.is_alive():
                    raise RuntimeError(f"the process that makes the items ended ({worker.exitcode})") from None

    def close(self) -> None:
        for w in self.workers:
            w.terminate()
