"""The published network answers what the published code answers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from photoz_mmae.model.presets import PublishedNetwork, load_preset
from photoz_mmae.model.published import PublishedMMAE

REFERENCE = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "reference_network"
CASES = [
    "both_unmasked",
    "no_spectrum",
    "zero_spectrum_all_masked",
    "zero_spectrum_75",
    "image_25_no_spectrum",
    "both_75",
]


@pytest.fixture(scope="module")
def reference():
    if not REFERENCE.is_dir():
        pytest.skip("the published network's reference answers are not on this machine")
    facts = json.loads((REFERENCE / "reference.json").read_text())
    network = PublishedMMAE(
        PublishedNetwork(
            width=facts["embed_dim"],
            depth=facts["transformer_depth"],
            heads=facts["nhead"],
            fusion_blocks=facts["cross_attention_layers"],
        )
    )
    weights = load_file(REFERENCE / "weights.safetensors")
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    arrays = dict(np.load(REFERENCE / "io.npz"))
    return facts, network.eval(), {key: torch.from_numpy(value) for key, value in arrays.items()}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_reference_is_reproduced(reference, case):
    facts, network, arrays = reference
    spectrum = {
        "given": arrays["spectrum"],
        "absent": None,
        "zeros": torch.zeros_like(arrays["spectrum"]),
    }[facts["cases"][case]["spectrum"]]
    output = network(
        arrays["image"], spectrum, arrays[f"{case}/img_mask"], arrays[f"{case}/spec_mask"]
    )
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(output.redshift, arrays[f"{case}/redshift_pred"], **close)
    torch.testing.assert_close(output.spectrum, arrays[f"{case}/spec_recon"], **close)
    torch.testing.assert_close(
        output.representation, arrays[f"{case}/fused_representation"], **close
    )
    # Stored in half precision: half a unit in the last of its 11 bits.
    torch.testing.assert_close(
        output.image, arrays[f"{case}/img_recon"].float(), rtol=2**-11, atol=1e-5
    )


@torch.no_grad()
def test_reference_size(reference):
    facts, network, _ = reference
    assert sum(p.numel() for p in network.parameters()) == facts["parameters"]


def test_full_size_has_the_published_number_of_parameters():
    network = PublishedMMAE(load_preset("paper").network)
    assert sum(p.numel() for p in network.parameters()) == 16_364_036


@torch.no_grad()
def test_image_only_shortcut_is_exact():
    torch.manual_seed(1)
    network = PublishedMMAE(PublishedNetwork(width=32, depth=2, heads=4)).eval()
    image = torch.randn(3, 5, 64, 64)
    hidden = torch.rand(3, 64) < 0.25
    for mask in (None, hidden):
        full = network(image, None, mask).redshift
        torch.testing.assert_close(network.redshift_of(image, mask), full, rtol=0, atol=1e-6)
