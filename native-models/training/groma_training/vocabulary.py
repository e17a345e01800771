"""The words of the synthetic world and what they mean in pixels."""

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "hexagon", "heart")
COLOURS = {
    "red": (214, 40, 40),
    "green": (46, 160, 67),
    "blue": (47, 95, 208),
    "yellow": (244, 208, 63),
    "purple": (142, 68, 173),
    "orange": (240, 136, 40),
    "black": (24, 24, 24),
    "white": (246, 246, 246),
}
COLOUR_NAMES = tuple(COLOURS)
COLOUR_SPREAD = 15  # each channel is off by up to this much
SIZES = {"small": (0.09, 0.16), "large": (0.24, 0.40)}  # longer box side / shorter image side
SIZE_NAMES = tuple(SIZES)

# Pairs that a model may be trained without, to see whether it names what it never saw: each colour and each shape once.
HELD_OUT = frozenset(zip(COLOUR_NAMES, SHAPES, strict=True))

SEEDS = 100_000  # training draws from seeds under this, evaluation and samples from above
