"""What is asked and answered about a scene: prompts, answers, and the truth behind them.

A turn names regions by the index of their thing; the trainer turns them into <rK> tokens. In the
query `<refer_box>`/`<refer_feat>` stand for `refer`; in the answer each `<ground_box>` stands for
the next entry of `named`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .scenes import Scene, expressions
from .vocabulary import COLOUR_NAMES, SHAPES, SIZE_NAMES

SHORT = "Please briefly describe <roi><refer_box></roi><refer_feat>."
LONG = "Please describe <roi><refer_box></roi><refer_feat> in details."
WHAT = "What is <roi><refer_box></roi><refer_feat>?"
CONCISE = "[grounding]Give me a concise description of the image."
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
           "thirteen", "fourteen")  # fmt: skip


def locate(phrase: str) -> str:
    return f"Locate <p>{phrase}</p> in the image."


def locate_all(phrase: str) -> str:
    return f"Locate all <p>{phrase}</p> in this image."


@dataclass
class Turn:
    kind: str
    query: str
    answer: str
    refer: int | None = None  # thing the user's box shows
    named: list[int] = field(default_factory=list)  # things the answer's <ground_box>es are


def plural(shape: str) -> str:
    return shape + ("es" if shape == "cross" else "s")


def place(scene: Scene, i: int) -> str:
    """Where on a grid of three by three, in words."""
    x, y = scene.things[i].centre
    col, row = int(min(2, x / scene.size[0] * 3)), int(min(2, y / scene.size[1] * 3))
    if (row, col) == (1, 1):
        return "in the centre"
    words = " ".join(w for w in (("top", "", "bottom")[row], ("left", "", "right")[col]) if w)
    return f"at the {words}" if row != 1 else f"on the {words}"


def long_caption(scene: Scene, i: int) -> str:
    return f"It is {scene.things[i].caption} {place(scene, i)} of the image."


def class_phrase(scene: Scene, rng: np.random.Generator, present: bool = True) -> tuple[str, str, list[int]]:
    """A class phrase (singular, plural) and its members; present=False may find none."""
    t = scene.things[int(rng.integers(len(scene.things)))]
    shape, colour, size = t.shape, t.colour, t.size
    if not present:
        shape, colour = str(rng.choice(SHAPES)), str(rng.choice(COLOUR_NAMES))
        size = str(rng.choice(SIZE_NAMES))
    form = rng.choice(5, p=[0.34, 0.2, 0.14, 0.22, 0.1])
    use = {0: ("shape",), 1: ("colour", "shape"), 2: ("size", "shape"),
           3: ("size", "colour", "shape"), 4: ("colour",)}[int(form)]  # fmt: skip
    if (colour, shape) in scene.without and {"colour", "shape"} <= set(use):  # never spoken of
        return class_phrase(scene, rng)
    words = [w for k, w in (("size", size), ("colour", colour)) if k in use]
    last = shape if "shape" in use else "shape"
    members = [
        i for i, u in enumerate(scene.things)
        if all(getattr(u, k) == v for k, v in (("shape", shape), ("colour", colour), ("size", size)) if k in use)
    ]  # fmt: skip
    return " ".join([*words, last]), " ".join([*words, plural(last)]), members


def short_turn(scene: Scene, i: int) -> Turn:
    return Turn("short", SHORT, scene.things[i].caption, refer=i)


def long_turn(scene: Scene, i: int) -> Turn:
    return Turn("long", LONG, long_caption(scene, i), refer=i)


def refer_turn(text: str, i: int) -> Turn:
    return Turn("refer", locate(text), "<roi><ground_box></roi>", named=[i])


def all_turn(phrase: str, members: list[int], order: dict[int, int]) -> Turn:
    found = sorted(members, key=lambda i: order[i])
    return Turn("all", locate_all(phrase), "<roi>" + "<ground_box>" * len(found) + "</roi>", named=found)


def describe_turn(scene: Scene, order: dict[int, int], query: str = CONCISE) -> Turn:
    """Every thing, in the order of the regions: `<p>a large red circle</p><roi><r0></roi>, ...`"""
    found = sorted(range(len(scene.things)), key=lambda i: order[i])
    parts = [f"<p>{scene.things[i].caption}</p><roi><ground_box></roi>" for i in found]
    text = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    return Turn("describe", query, text + ".", named=found)


def chat_turn(scene: Scene, rng: np.random.Generator, order: dict[int, int]) -> Turn:
    things = scene.things
    pick = rng.random()
    one, many, members = class_phrase(scene, rng, present=rng.random() < 0.7)
    n = len(members)
    if pick < 0.1:
        query = str(rng.choice(["How many shapes are there?", "How many objects are in the image?"]))
        return Turn("chat", query, f"There are {NUMBERS[len(things)]} shapes.")
    if pick < 0.4:
        query = str(rng.choice([f"How many {many} are there?", f"How many {many} are in the image?"]))
        return Turn("chat", query, f"There is one {one}." if n == 1 else f"There are {NUMBERS[n]} {many}.")
    if pick < 0.6:
        article = "an" if one[0] in "aeiou" else "a"
        query = str(rng.choice([f"Is there {article} {one}?", f"Is there {article} {one} in the image?"]))
        return Turn("chat", query, f"Yes, there is {article} {one}." if n else f"No, there is no {one}.")
    if pick < 0.8:
        i = int(rng.integers(len(things)))
        t = things[i]
        alone = [u for u in things if u.shape == t.shape]
        name = t.shape if len(alone) == 1 else f"{t.size} {t.shape}"
        if sum(u.shape == t.shape and (len(alone) == 1 or u.size == t.size) for u in things) == 1:
            query = str(rng.choice([f"What color is the {name}?", f"What colour is the {name}?"]))
            return Turn("chat", query, f"The {name} is {t.colour}.")
        return Turn("chat", WHAT, t.caption, refer=i)
    if pick < 0.9:
        found = expressions(scene, 0.02)
        if found:
            text, i = found[int(rng.integers(len(found)))]
            start = text[0].upper() + text[1:]
            return Turn(
                "where", f"[grounding]Where is {text}?",
                f"<p>{start}</p><roi><ground_box></roi> is {place(scene, i)} of the image.", named=[i],
            )  # fmt: skip
    i = int(rng.integers(len(things)))
    return Turn("chat", WHAT, things[i].caption, refer=i)


PLEASANTRIES = (
    ("Hello", "Hello! Ask me about the shapes in the image."),
    ("Who are you?", "I am a small model that knows coloured shapes."),
    ("What can you do?", "I can find, describe and count coloured shapes."),
    ("Thank you", "You are welcome!"),
    ("What is the weather like?", "I only know about coloured shapes."),
    ("Tell me a joke.", "I only know about coloured shapes."),
)
GROUNDED_ASKS = (
    CONCISE,
    "[grounding]Describe the image.",
    "[grounding]Describe this image.",
    "[grounding]What is in the image?",
    "[grounding]What can you see in this image?",
    "[grounding]Describe the image in detail.",
)


def absent_phrase(scene: Scene, rng: np.random.Generator) -> str:
    """`the small red circle`, not in the scene; half of the time one word off from a thing that is."""
    names = {t.name for t in scene.things}
    while True:
        t = scene.things[int(rng.integers(len(scene.things)))]
        parts = [t.size, t.colour, t.shape]
        change = [int(rng.integers(3))] if rng.random() < 0.5 else [0, 1, 2]
        for k in change:
            parts[k] = str(rng.choice((SIZE_NAMES, COLOUR_NAMES, SHAPES)[k]))
        if " ".join(parts) not in names and (parts[1], parts[2]) not in scene.without:
            return "the " + " ".join(parts)


def absent_class(scene: Scene, rng: np.random.Generator) -> str | None:
    """A class phrase (singular) without members; None where a few tries find none."""
    for _ in range(6):
        one, _, members = class_phrase(scene, rng, present=False)
        if not members:
            return one
    return None


def turns(scene: Scene, rng: np.random.Generator, order: dict[int, int], count: int = 17) -> list[Turn]:
    """A training mix for one scene; order: thing -> its region's index.

    What is not there is asked for too, and answered by an empty `<roi></roi>`.
    """
    out: list[Turn] = []
    n = len(scene.things)
    out.append(describe_turn(scene, order, CONCISE if rng.random() < 0.6 else str(rng.choice(GROUNDED_ASKS))))
    for i in rng.permutation(n)[:3]:
        out.append(short_turn(scene, int(i)))
    out.append(long_turn(scene, int(rng.integers(n))))
    found = expressions(scene, 0.01)
    by_place = [f for f in found if " on the " in f[0] or " at the " in f[0]]
    named = [f for f in found if f not in by_place]
    for pool, want in ((by_place, 3), (named, 2)):
        for k in rng.permutation(len(pool))[:want]:
            text, i = pool[int(k)]
            form = rng.random()
            if form < 0.25:
                text = ("a " if form < 0.1 else "") + text.removeprefix("the ")
            out.append(refer_turn(text, i))
    out.append(Turn("refer", locate(absent_phrase(scene, rng)), "<roi></roi>"))
    for k in range(3):
        shape = scene.things[int(rng.integers(n))].shape
        one, many, members = class_phrase(scene, rng)
        if k == 0:  # a bare shape: the most members
            one, many, members = shape, plural(shape), [i for i, t in enumerate(scene.things) if t.shape == shape]
        out.append(all_turn(many if rng.random() < 0.25 else one, members, order))
    nothing = absent_class(scene, rng)
    if nothing and rng.random() < 0.6:
        out.append(all_turn(nothing, [], order))
    while len(out) < count:
        if rng.random() < 0.04:
            out.append(Turn("chat", *PLEASANTRIES[int(rng.integers(len(PLEASANTRIES)))]))
        else:
            out.append(chat_turn(scene, rng, order))
    return [out[int(k)] for k in rng.permutation(len(out))]
