"""ReLU of GroupNorm for maps whose channels lie together in memory (channels_last), in few passes over them."""

from __future__ import annotations

import torch


class GroupNormRelu(torch.autograd.Function):
    """relu(group_norm(x) * weight + bias) of x [B,C,H,W], channels_last: per picture and channel y = relu(x * scale + shift).

    torch's own kernel on a GPU copies such maps to the other layout and back. Sums are taken in float32.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, groups: int, eps: float):
        b, c, h, w = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(b, h * w, c)
        per = c // groups
        n = per * h * w
        mean = rows.sum(1, dtype=torch.float32).view(b, groups, per).sum(2) / n
        square = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32).square().view(b, groups, per).sum(2) / n
        rstd = (square - mean.square()).clamp(min=0).add(eps).rsqrt()
        mean, rstd = (t.repeat_interleave(per, 1) for t in (mean, rstd))  # [B,C]
        scale = weight.float() * rstd
        shift = bias.float() - mean * scale
        y = torch.addcmul(shift[:, None].to(x.dtype), rows, scale[:, None].to(x.dtype)).relu_()
        ctx.save_for_backward(rows, y, weight, mean, rstd)
        ctx.shape, ctx.per, ctx.n = (b, c, h, w), per, n
        return y.view(b, h, w, c).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, grad):
        rows, y, weight, mean, rstd = ctx.saved_tensors
        (b, c, h, w), per, n = ctx.shape, ctx.per, ctx.n
        d = torch.ops.aten.threshold_backward(grad.permute(0, 2, 3, 1).reshape(b, h * w, c), y, 0)
        total = d.sum(1, dtype=torch.float32)
        along = ((d * rows).sum(1, dtype=torch.float32) - mean * total) * rstd  # sum of d * normalised x
        gain = weight.float()
        groups = lambda t: t.view(b, -1, per).sum(2).repeat_interleave(per, 1) / n  # noqa: E731
        mean_d, mean_along = groups(total * gain), groups(along * gain)
        # dx = rstd * (gain * d - mean_d - normalised x * mean_along)
        by_x = -rstd.square() * mean_along
        rest = -rstd * mean_d - mean * by_x
        dx = torch.addcmul(rest[:, None].to(d.dtype), d, (rstd * gain)[:, None].to(d.dtype))
        dx = dx.addcmul_(rows, by_x[:, None].to(d.dtype))
        dx = dx.view(b, h, w, c).permute(0, 3, 1, 2)
        return dx, along.sum(0).to(weight.dtype), total.sum(0).to(weight.dtype), None, None
