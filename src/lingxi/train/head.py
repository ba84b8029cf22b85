"""Next-token cross entropy over the vocabulary, computed a few tokens at a time.

Logits of a batch would be the largest tensor of the training by far: [tokens, vocab]. Here no more than
`chunk` rows of them exist at once, and each chunk's gradient is taken while it is there, so that nothing
is kept and nothing computed twice (as in Liger Kernel, arXiv 2410.10989, section 3.2).
"""

from __future__ import annotations

from typing import Any, cast

import torch

Tensor = torch.Tensor


def summed_cross_entropy(states: Tensor, weight: Tensor, labels: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """Sum of −log softmax(states · weightᵀ)[label] in fp32, and how many labels are the likeliest token.

    `states` [tokens, hidden], `weight` [vocab, hidden], `labels` [tokens]. Only the first has a gradient,
    to `states` and `weight`. The product is computed in autocast's type where autocast is on.
    """
    found = _CrossEntropy.apply(states, weight, labels, chunk)  # type: ignore[no-untyped-call]
    return cast(tuple[Tensor, Tensor], found)


class _CrossEntropy(torch.autograd.Function):
    """A scalar loss: its gradients are known in the forward pass up to one factor."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, labels: Tensor, chunk: int
    ) -> tuple[Tensor, Tensor]:
        """The summed loss and hits; the gradients are kept for `backward`."""
        kind = _product_type(states)
        wanted = any(ctx.needs_input_grad)
        to_states = torch.empty_like(states) if wanted else None
        to_weight = torch.zeros_like(weight) if wanted else None
        loss = states.new_zeros((), dtype=_at_least_fp32(states.dtype))
        right = torch.zeros((), dtype=torch.long, device=states.device)
        table = weight.to(kind)
        with torch.autocast(states.device.type, enabled=False):
            for start in range(0, len(states), chunk):
                part = slice(start, start + chunk)
                asked = states[part].to(kind)
                errors, part_loss, part_right = _errors((asked @ table.T).to(loss.dtype), labels[part])
                loss += part_loss
                right += part_right
                if to_states is not None and to_weight is not None:
                    errors = errors.to(kind)
                    to_states[part] = (errors @ table).to(states.dtype)
                    _add_product(to_weight, errors, asked)
        ctx.save_for_backward(to_states, to_weight)
        ctx.mark_non_differentiable(right)
        return loss, right

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, factor: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        to_states, to_weight = ctx.saved_tensors
        return to_states * factor.to(to_states.dtype), to_weight * factor.to(to_weight.dtype), None, None


def _errors(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax minus the labels' one-hot rows, written over `logits`; the summed loss; the hits."""
    rows = torch.arange(len(labels), device=labels.device)
    top, likeliest = logits.max(-1, keepdim=True)
    logits -= top
    said = logits[rows, labels]
    total = logits.exp_().sum(-1, keepdim=True)
    logits /= total
    logits[rows, labels] -= 1
    return logits, (total[:, 0].log() - said).sum(), (likeliest[:, 0] == labels).sum()


def _add_product(to_weight: Tensor, errors: Tensor, asked: Tensor) -> None:
    if errors.dtype == to_weight.dtype:
        to_weight.addmm_(errors.T, asked)
    else:
        to_weight += errors.T @ asked


def _product_type(states: Tensor) -> torch.dtype:
    device = states.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype


def _at_least_fp32(kind: torch.dtype) -> torch.dtype:
    return torch.promote_types(kind, torch.float32)
