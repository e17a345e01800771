"""Readers of the data sets: each has a length and gives example(i, rng). Files are read as data, never run.

| format | keys |
| --- | --- |
| coco | images (folder), annotations (instances JSON); head: coco or sa1b |
| refcoco | images, annotations (instances JSON), refs (JSON, or the pickle of RefCOCO/+/g), split |
| visual_genome | images (folder with `<id>.jpg` in it or in its folders), annotations (region_descriptions.json) |
| flickr30k | images, sentences (folder of txt), annotations (folder of XML) |
| groma_instruct | images, annotations (JSON list) |
| captions | images, annotations (COCO captions JSON) |
| synthetic | none: scenes of our own; long_side |
"""

from __future__ import annotations

import json
import pickle
import re
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from .. import scenes, tasks
from ..tasks import Turn
from .example import Example

MOST_BOXES = 90  # things a picture may have: <rK> ends at 99, and proposals want room


def corners(xywh) -> list[float]:
    x, y, w, h = (float(v) for v in xywh)
    return [x, y, x + w, y + h]


def array(boxes) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)


def visible(box) -> bool:
    return box[2] - box[0] >= 1 and box[3] - box[1] >= 1


def plain_text(text: str) -> str:
    """A data set's words must never make special tokens."""
    return re.sub(r"[<>\[\]]", " ", text).strip()


class Coco:
    """Every thing of a picture, class-agnostic for detection; `Locate all` of its classes for language."""

    def __init__(self, images: Path, annotations: Path, head: str = "coco"):
        if head not in ("coco", "sa1b"):
            raise ValueError(f"head is {head}, not coco or sa1b")
        found = json.loads(annotations.read_text())
        self.images, self.head = images, head
        self.names = {c["id"]: plain_text(c["name"]) for c in found.get("categories", [])}
        things = defaultdict(list)
        for a in found["annotations"]:
            box = corners(a["bbox"])
            if not a.get("iscrowd") and visible(box):
                things[a["image_id"]].append((box, a.get("category_id")))
        self.items = [(i["file_name"], things[i["id"]]) for i in found["images"] if things[i["id"]]]

    def __len__(self) -> int:
        return len(self.items)

    def example(self, i: int, rng: np.random.Generator) -> Example:
        name, things = self.items[i]
        if len(things) > MOST_BOXES:
            things = [things[int(k)] for k in rng.permutation(len(things))[:MOST_BOXES]]
        members = defaultdict(list)
        for k, (_, category) in enumerate(things):
            if category in self.names:
                members[self.names[category]].append(k)
        talks = [[tasks.all_turn(word, which, {k: k for k in which})] for word, which in members.items()]
        return Example(self.images / name, array([b for b, _ in things]), talks, self.head)


class PlainPickle(pickle.Unpickler):
    """Lists, dictionaries, text and numbers; a pickle that names any class is refused."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"the pickle names {module}.{name}")


class RefCoco:
    """Referring expressions both ways: find what is meant, and say what a box is."""

    def __init__(self, images: Path, annotations: Path, refs: Path, split: str = "train"):
        if refs.suffix == ".json":
            found = json.loads(refs.read_text())
        else:
            with refs.open("rb") as f:
                found = PlainPickle(f, encoding="latin1").load()  # written by Python 2
        truth = json.loads(annotations.read_text())
        boxes = {a["id"]: corners(a["bbox"]) for a in truth["annotations"]}
        files = {i["id"]: i["file_name"] for i in truth["images"]}
        self.images = images
        by_picture = defaultdict(list)
        for ref in found:
            if ref["split"] == split and visible(boxes[ref["ann_id"]]):
                by_picture[ref["image_id"]].append((boxes[ref["ann_id"]], [plain_text(s["sent"]) for s in ref["sentences"]]))
        self.items = [(files[i], refs_) for i, refs_ in by_picture.items()]

    def __len__(self) -> int:
        return len(self.items)

    def example(self, i: int, rng: np.random.Generator) -> Example:
        name, refs = self.items[i]
        talks = []
        for k, (_, sentences) in enumerate(refs[:MOST_BOXES]):
            for sentence in sentences:
                talks.append([tasks.refer_turn(sentence, k)])
            talks.append([Turn("short", tasks.SHORT, sentences[int(rng.integers(len(sentences)))], refer=k)])
        return Example(self.images / name, array([b for b, _ in refs[:MOST_BOXES]]), talks)


class VisualGenome:
    """Region descriptions as captions of boxes."""

    def __init__(self, images: Path, annotations: Path, captions: int = 12):
        self.captions = captions
        self.files = {p.stem: p for p in sorted(images.rglob("*.jpg"))}
        self.items = []
        for picture in json.loads(annotations.read_text()):
            regions = []
            for r in picture["regions"]:
                box, phrase = corners((r["x"], r["y"], r["width"], r["height"])), plain_text(r["phrase"])
                if visible(box) and phrase:
                    regions.append((box, phrase))
            if regions and str(picture["id"]) in self.files:
                self.items.append((str(picture["id"]), regions))

    def __len__(self) -> int:
        return len(self.items)

    def example(self, i: int, rng: np.random.Generator) -> Example:
        name, regions = self.items[i]
        regions = [regions[int(k)] for k in rng.permutation(len(regions))[: self.captions]]
        talks = [[Turn("short", tasks.SHORT, phrase, refer=k)] for k, (_, phrase) in enumerate(regions)]
        return Example(self.files[name], array([b for b, _ in regions]), talks)


class Flickr30k:
    """Captions whose phrases are boxed: `[/EN#12/people Two men] talk` becomes a grounded description."""

    PHRASE = re.compile(r"\[/EN#(\d+)(?:/[^ \]]*)? ([^\]]*)\]")

    def __init__(self, images: Path, sentences: Path, annotations: Path):
        self.images, self.sentences, self.annotations = images, sentences, annotations
        self.items = sorted(p.stem for p in sentences.glob("*.txt") if (annotations / f"{p.stem}.xml").exists())

    def __len__(self) -> int:
        return len(self.items)

    def example(self, i: int, rng: np.random.Generator) -> Example:
        name = self.items[i]
        boxes, of = [], defaultdict(list)  # entity -> its boxes
        for thing in ElementTree.parse(self.annotations / f"{name}.xml").getroot().iter("object"):
            at = thing.find("bndbox")
            if at is None:
                continue
            box = [float(at.findtext(k)) for k in ("xmin", "ymin", "xmax", "ymax")]
            if not visible(box):
                continue
            for entity in thing.findall("name"):
                of[entity.text].append(len(boxes))
            boxes.append(box)
        lines = (self.sentences / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        talks = [[self.turn(line, of)] for line in lines if line.strip()]
        return Example(self.images / f"{name}.jpg", array(boxes), talks)

    def turn(self, line: str, of: dict[str, list[int]]) -> Turn:
        named: list[int] = []

        def grounded(match: re.Match) -> str:
            which, words = of.get(match[1], []), plain_text(match[2])
            if not which:
                return words
            named.extend(which)
            return f"<p>{words}</p><roi>{'<ground_box>' * len(which)}</roi>"

        parts, at = [], 0
        for match in self.PHRASE.finditer(line):
            parts += [re.sub(r"[<>\[\]]", " ", line[at : match.start()]), grounded(match)]
            at = match.end()
        parts.append(re.sub(r"[<>\[\]]", " ", line[at:]))
        return Turn("describe", tasks.CONCISE, "".join(parts).strip(), named=named)


class GromaInstruct:
    """Conversations: turns alternate between user and assistant, `<ground_box>` stands for the next of box_inds."""

    def __init__(self, images: Path, annotations: Path):
        self.images, self.items = images, json.loads(annotations.read_text())

    def __len__(self) -> int:
        return len(self.items)

    def example(self, i: int, rng: np.random.Generator) -> Example:
        item = self.items[i]
        said, talk = item["conversation"], []
        for question, answer in zip(said[0::2], said[1::2], strict=False):
            named, shown = answer.get("box_inds") or [], question.get("box_inds") or []
            if answer["value"].count("<ground_box>") != len(named):
                raise ValueError(f"{item['file_name']}: box_inds and <ground_box> do not agree")
            query = question["value"] if "[grounding]" in question["value"] or not named else f"[grounding]{question['value']}"
            talk.append(Turn("chat", query, answer["value"], refer=shown[0] if shown else None, named=list(named)))
        return Example(self.images / item["file_name"], array([corners(b) for b in item["boxes"]]), [talk])


class Captions:
    """Captions of whole pictures."""

    QUESTION = "Give me a concise description of the image."

    def __init__(self, images: Path, annotations: Path):
        found = json.loads(annotations.read_text())
        files = {i["id"]: i["file_name"] for i in found["images"]}
        texts = defaultdict(list)
        for a in found["annotations"]:
            texts[a["image_id"]].append(plain_text(a["caption"]))
        self.images, self.items = images, [(files[i], t) for i, t in texts.items()]

    def __len__(self) -> int:
        return len(self.items)

    def example(self, i: int, rng: np.random.Generator) -> Example:
        name, texts = self.items[i]
        return Example(self.images / name, array([]), [[Turn("chat", self.QUESTION, t)] for t in texts])


class Synthetic:
    """Scenes of our own, without end: item i is drawn from `rng` alone."""

    def __init__(self, long_side: tuple[int, int] = (300, 1000)):
        self.long_side = tuple(long_side)

    def __len__(self) -> int:
        return 1

    def example(self, i: int, rng: np.random.Generator) -> Example:
        scene = scenes.as_filed(scenes.draw(rng, scenes.Style(long_side=self.long_side)))
        return Example(scene.image, array([t.box for t in scene.things]), scene=scene)


READERS = {
    "coco": Coco, "refcoco": RefCoco, "visual_genome": VisualGenome, "flickr30k": Flickr30k,
    "groma_instruct": GromaInstruct, "captions": Captions, "synthetic": Synthetic,
}  # fmt: skip
