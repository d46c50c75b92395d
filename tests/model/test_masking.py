"""Masks hide what they say, and repeated masks hide everything in turn."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.model.masking import draw_mask, repeated_masks, visible_tokens


@given(st.integers(1, 5), st.integers(1, 70), st.floats(0, 1))
def test_drawn_mask_hides_the_share_asked_for(n, tokens, ratio):
    mask = draw_mask(n, tokens, ratio, torch.Generator().manual_seed(3))
    assert mask.shape == (n, tokens)
    assert (mask.sum(dim=1) == int(ratio * tokens)).all()


def test_drawn_mask_follows_its_seed():
    def draw(seed):
        return draw_mask(4, 64, 0.5, torch.Generator().manual_seed(seed))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


@given(st.integers(0, 11))
def test_repeated_masks_hide_a_quarter_each(repeats):
    masks = repeated_masks(64, repeats)
    assert masks.shape == (repeats, 64)
    assert (masks.sum(dim=1) == 16).all()


def test_four_repeated_masks_hide_every_token_once():
    assert (repeated_masks(64, 8)[:4].sum(dim=0) == 1).all()


def test_visible_tokens_are_those_not_hidden_in_order():
    tokens = torch.arange(2 * 6 * 3, dtype=torch.float32).view(2, 6, 3)
    hidden = torch.tensor([[0, 1, 0, 1, 0, 0], [1, 0, 0, 0, 0, 1]], dtype=torch.bool)
    visible = visible_tokens(tokens, hidden)
    assert torch.equal(visible[0], tokens[0, [0, 2, 4, 5]])
    assert torch.equal(visible[1], tokens[1, [1, 2, 3, 4]])
