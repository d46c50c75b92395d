"""Attention and dropout beside torch's own."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from photoz_mmae.model.attention import MultiheadAttention, attend, drop

WIDTH, HEADS = 32, 4


def tokens(n_queries: int, n_tokens: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 2, n, 8, generator=generator) for n in (n_queries, n_tokens, n_tokens)]


@pytest.mark.parametrize("masked", [False, True])
def test_products_in_bfloat16_are_attention_and_have_its_gradient(masked: bool) -> None:
    there = torch.arange(7) < torch.tensor([2, 5, 7])[:, None]
    mask = there[:, None, None, :] if masked else None
    exact = [x.requires_grad_() for x in tokens(5, 7)]
    reduced = [x.detach().bfloat16().requires_grad_() for x in exact]
    expected = functional.scaled_dot_product_attention(*exact, attn_mask=mask)
    found = attend(*reduced, there=mask)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=0.02, rtol=0.02)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    (expected * weight).sum().backward()
    (found * weight).sum().backward()
    for one, other in zip(reduced, exact, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad.float(), other.grad, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_drop_keeps_the_mean_and_drops_each_value_alone(share: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.ones(1001, 999, dtype=dtype)  # not a multiple of four
    dropped = drop(x, share)
    kept = dropped != 0
    assert dropped.shape == x.shape
    torch.testing.assert_close(
        dropped[kept], torch.full_like(dropped[kept], 1 / (1 - share)), atol=0, rtol=0.005
    )
    # Five standard deviations of a million draws.
    assert abs(1 - kept.double().mean().item() - share) < 5 * (share * (1 - share) / 1e6) ** 0.5
    flat = kept.flatten().double() - kept.double().mean()
    for lag in (1, 2, 3, 4, 999):  # neighbours within one drawn number, beyond it, and a row below
        correlation = (flat[lag:] * flat[:-lag]).mean() / flat.var()
        assert abs(correlation.item()) < 5e-3, lag


def test_drop_comes_from_the_seed_and_passes_the_gradient_of_what_is_kept() -> None:
    x = torch.randn(50, 3, requires_grad=True)
    torch.manual_seed(3)
    first = drop(x, 0.3)
    torch.manual_seed(3)
    assert torch.equal(drop(x, 0.3), first)
    assert not torch.equal(drop(x, 0.3), first)
    first.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, (first != 0).float() / 0.7)


def test_multihead_attention_answers_as_torchs_with_the_same_parameters() -> None:
    torchs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    nn.init.normal_(torchs.in_proj_bias)
    own = MultiheadAttention(WIDTH, HEADS, batch_first=True)
    own.load_state_dict(torchs.state_dict())
    query, source = torch.randn(3, 5, WIDTH), torch.randn(3, 7, WIDTH)
    expected, _ = torchs(query, source, source, need_weights=False)
    torch.testing.assert_close(own(query, source, source)[0], expected)
    layer = nn.MultiheadAttention(WIDTH, HEADS, dropout=0.5, batch_first=True)
    dropping = MultiheadAttention(WIDTH, HEADS, dropout=0.5, batch_first=True)
    dropping.load_state_dict(layer.state_dict())
    assert not torch.equal(dropping(query, source, source)[0], dropping(query, source, source)[0])
    torch.testing.assert_close(
        dropping.eval()(query, source, source)[0], layer.eval()(query, source, source)[0]
    )
