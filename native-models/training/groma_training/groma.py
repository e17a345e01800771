"""The whole model: pixels -> proposals -> region tokens -> text, equal to the authors' forward."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from .boxes import iou_matrix, nms, to_xyxy
from .language_model import LanguageConfig, Llama
from .proposer import ProposerConfig, ProposerTransformer, Proposals, input_projections
from .region_encoder import RegionEncoder
from .tokenizer import Tokenizer
from .vision_encoder import VisionConfig, VisionEncoder

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions. "
)
OPENING = (
    "USER: Here is an image with region crops from it. Image: <image>. Regions: <region>. "
    "ASSISTANT: Thank you for the image! How can I assist you with it?</s>"
)


def prompt(query: str) -> str:
    return f"{SYSTEM}{OPENING}USER: {query} ASSISTANT:"


@dataclass
class GromaConfig:
    vision: VisionConfig
    proposer: ProposerConfig
    llm: LanguageConfig
    vis_output_layer: int = -1
    nms_thres: float = 0.6
    box_score_thres: float = 0.15
    max_region_num: int = 100
    num_new_token: int = 114
    region_channels: int = 1024  # width of the fusion convolutions
    region_width: int = 1024  # width of flatten_linear and pos_embedd (fixed in the 7B release)
    source: dict = field(default_factory=dict)  # config.json as read


class Groma(nn.Module):
    def __init__(self, cfg: GromaConfig):
        super().__init__()
        self.cfg = cfg
        c, h = cfg.vision.hidden_size, cfg.llm.hidden_size
        self.perceiver = nn.Module()
        self.perceiver.vis_encoder = VisionEncoder(cfg.vision)
        self.perceiver.ddetr_transformer = ProposerTransformer(cfg.proposer)
        self.perceiver.input_proj = input_projections(
            cfg.proposer.num_feature_levels, c, cfg.proposer.d_model
        )
        self.llm = Llama(cfg.llm)
        self.img_txt_bridge = nn.Sequential(nn.Linear(4 * c, h), nn.GELU(), nn.Linear(h, h))
        self.region_encoder = RegionEncoder(c, cfg.region_channels, cfg.region_width, h)
        self.new_input_embs = nn.Embedding(cfg.num_new_token, h)
        self.extra_lm_head = nn.Linear(h, cfg.num_new_token, bias=False)

    # --- perception -----------------------------------------------------------------

    def encode(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        return self.perceiver.vis_encoder(pixels)

    def propose(self, states: list[torch.Tensor]) -> Proposals:
        mean = torch.stack(states[-4:]).mean(0)[:, 1:]
        g = int(mean.shape[1] ** 0.5)
        x = mean.transpose(1, 2).reshape(mean.shape[0], -1, g, g)
        return self.perceiver.ddetr_transformer([p(x) for p in self.perceiver.input_proj])

    def image_tokens(self, states: list[torch.Tensor]) -> torch.Tensor:
        return self.bridge(states[self.cfg.vis_output_layer])

    def bridge(self, state: torch.Tensor) -> torch.Tensor:
        """One hidden state [B,1+g*g,C] -> [B, g*g/4, H]; 2x2 pixels are joined column-first."""
        x = state[:, 1:]
        g = int(x.shape[1] ** 0.5)
        x = x.view(x.shape[0], g, g, -1)
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.img_txt_bridge(x.flatten(1, 2))

    def select(self, boxes, scores, refer=None, ground=None) -> tuple[torch.Tensor, torch.Tensor]:
        """Which boxes [Q,4] become tokens, best score first: (boxes [R,4], scores [R])."""
        if refer is not None and len(refer):
            boxes, scores = torch.cat([boxes, refer]), torch.cat([scores, torch.ones(len(refer))])
        if ground is not None and len(ground):
            boxes = torch.cat([boxes, ground])
            scores = torch.cat([scores, torch.full((len(ground),), 0.2)])
        keep = scores > self.cfg.box_score_thres
        if not keep.any():
            best = scores.argmax()
            return boxes[best : best + 1], scores[best : best + 1]
        boxes, scores = boxes[keep], scores[keep]
        order = nms(to_xyxy(boxes), scores, self.cfg.nms_thres)[: self.cfg.max_region_num]
        return boxes[order], scores[order]

    # --- language ---------------------------------------------------------------------

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Input embeddings of ids of any shape, base and new vocabulary."""
        table = torch.cat([self.llm.model.embed_tokens.weight, self.new_input_embs.weight])
        return F.embedding(ids, table)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.llm.lm_head(hidden), self.extra_lm_head(hidden)], -1)

    def fill(self, ids, tok: Tokenizer, image, regions, refer_feats=()) -> torch.Tensor:
        """Embeddings [T,H] of a prompt: image [I,H], regions [R,H] as <rj> + feature, <refer_feat> in order."""
        parts, run, k = [], [], 0

        def flush():
            if run:
                parts.append(self.embed(torch.tensor(run)))
                run.clear()

        for i in ids:
            if i == tok.image:
                flush()
                parts.append(image)
            elif i == tok.region:
                flush()
                names = self.embed(torch.tensor(tok.boxes[: len(regions)]))
                parts.append(torch.stack([names, regions], 1).flatten(0, 1))
            elif i == tok.refer_feat:
                flush()
                parts.append(refer_feats[k][None])
                k += 1
            else:
                run.append(i)
        flush()
        return torch.cat(parts)


@dataclass
class Answer:
    ids: list[int]
    text: str
    first_logits: torch.Tensor
    probabilities: list[float]


class Chat:
    """One picture with its regions: the prefix is computed once, then any number of questions."""

    @torch.no_grad()
    def __init__(self, model: Groma, tok: Tokenizer, states, boxes, conv: bool = True):
        self.model, self.tok, self.boxes = model, tok, boxes
        self.image = model.image_tokens(states)[0]
        self.regions = model.region_encoder(states, [boxes], conv)[0]

    @torch.no_grad()
    def ask(self, query: str, refer: torch.Tensor | None = None, limit: int = 100) -> Answer:
        return self.ask_all([(query, refer)], limit)[0]

    @torch.no_grad()
    def ask_all(self, questions, limit: int = 100) -> list[Answer]:
        """questions: (query, the user's boxes [n,4] or None). Greedy, batched over one shared prefix."""
        m, tok = self.model, self.tok
        seqs = []
        for query, refer in questions:
            ids = tok.encode(prompt(query))
            feats = []
            if refer is not None:
                which = iou_matrix(to_xyxy(refer), to_xyxy(self.boxes)).argmax(1).tolist()
                it = iter(which)
                ids = [tok.boxes[next(it)] if i == tok.refer_box else i for i in ids]
                feats = [self.regions[k] for k in which]
            seqs.append((ids, feats))
        first = seqs[0][0]
        shared = first.index(tok.region) + 1
        prefix = m.fill(first[:shared], tok, self.image, self.regions)[None]
        n = prefix.shape[1]
        causal = torch.ones(n, n, dtype=torch.bool).tril()[None, None]
        _, past, _, _ = m.llm(prefix, torch.arange(n)[None], causal)
        tails = [m.fill(s[shared:], tok, self.image, self.regions, f) for s, f in seqs]
        b, longest = len(tails), max(len(t) for t in tails)
        x = torch.zeros(b, longest, prefix.shape[-1])
        real = torch.zeros(b, n + longest, dtype=torch.bool)
        real[:, :n] = True
        for i, t in enumerate(tails):
            x[i, : len(t)] = t
            real[i, n : n + len(t)] = True
        tri = torch.ones(longest, longest, dtype=torch.bool).tril()
        mask = torch.cat([torch.ones(longest, n, dtype=torch.bool), tri], 1)[None, None] & real[:, None, None]
        lengths = torch.tensor([len(t) for t in tails])
        h, past, _, _ = m.llm(x, n + torch.arange(longest)[None].expand(b, -1), mask, past)
        logits = m.logits(h[torch.arange(b), lengths - 1])
        answers = [Answer([], "", logits[i], []) for i in range(b)]
        alive = torch.ones(b, dtype=torch.bool)
        for step in range(limit):
            p = logits.softmax(-1)
            ids = logits.argmax(-1)
            for i in range(b):
                if alive[i]:
                    answers[i].ids.append(int(ids[i]))
                    answers[i].probabilities.append(float(p[i, ids[i]]))
                    if ids[i] == tok.eos:
                        alive[i] = False
            if not alive.any() or step == limit - 1:
                break
            real = torch.cat([real, torch.ones(b, 1, dtype=torch.bool)], 1)
            x = m.embed(ids)[:, None]
            h, past, _, _ = m.llm(x, (n + lengths + step)[:, None], real[:, None, None], past)
            logits = m.logits(h[:, 0])
        for a in answers:
            a.text = tok.decode(a.ids)
        return answers
