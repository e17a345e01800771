"""Seconds of a LLaMA-7B for a prompt of N tokens in bf16: `torch_prefill.py N THREADS`. 32 layers are read off from two
lengths of the stack, so that it fits into any machine; random weights take as long as trained ones."""

import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

WIDTH, HEADS, INNER, LAYERS, VOCABULARY = 4096, 32, 11008, 32, 32114


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.gate_up = nn.Linear(WIDTH, 2 * INNER, bias=False)
        self.down = nn.Linear(INNER, WIDTH, bias=False)

    def forward(self, x, cos, sin):
        def norm(y):
            return F.rms_norm(y, (WIDTH,), eps=1e-5)

        def rotate(y):
            first, second = y.chunk(2, dim=-1)
            return y * cos + torch.cat((-second, first), dim=-1) * sin

        q, k, v = (part.view(-1, HEADS, WIDTH // HEADS).transpose(0, 1) for part in self.qkv(norm(x)).chunk(3, dim=-1))
        mixed = F.scaled_dot_product_attention(rotate(q)[None], rotate(k)[None], v[None], is_causal=True)[0]
        x = x + self.out(mixed.transpose(0, 1).reshape(-1, WIDTH))
        gate, up = self.gate_up(norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


def main():
    tokens, threads = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(threads)
    torch.manual_seed(7)
    layers = [Layer().to(torch.bfloat16) for _ in range(2)]
    head = nn.Linear(WIDTH, VOCABULARY, bias=False).to(torch.bfloat16)
    angles = torch.outer(torch.arange(tokens), 10000 ** (-torch.arange(0, 128, 2) / 128)).repeat(1, 2)
    cos, sin = angles.cos().to(torch.bfloat16), angles.sin().to(torch.bfloat16)
    x = torch.randn(tokens, WIDTH, dtype=torch.bfloat16)

    def best(work):
        times = []
        for _ in range(3):
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
        return min(times)

    with torch.inference_mode():
        layer = best(lambda: [each(x, cos, sin) for each in layers]) / len(layers)
        print(layer * LAYERS + best(lambda: head(x[-1:])))


main()
