"""Training straight from the simulation, without a file."""

import pytest
from blobs import call, run

from photoz_mmae.errors import StoppedError
from photoz_mmae.model.info import load_info
from photoz_mmae.surveys import HSC_WIDE

WORDS = ["train", "--simulate", 100, "--simulate-seed", 5, "--device", "cpu", "--batch-size", 32]


def test_stopped_and_gone_on(tmp_path, capsys):
    assert run(*WORDS, "-o", tmp_path / "whole", "--epochs", 2) == 0
    said = capsys.readouterr().err
    assert "simulation of seed 5: 140 objects" in said
    settings = {"simulate": 100, "simulate_seed": 5, "batch_size": 32, "epochs": 2}
    asked = iter(range(1, 100))
    with pytest.raises(StoppedError):
        call(None, tmp_path / "parts", lambda: next(asked) > 6, **settings)
    assert run(*WORDS, "-o", tmp_path / "parts", "--epochs", 2) == 0
    whole, parts = load_info(tmp_path / "whole"), load_info(tmp_path / "parts")
    assert whole.weights_sha256 == parts.weights_sha256
    assert "going on after epoch 1, step " in capsys.readouterr().err
    card = (tmp_path / "whole/CARD.md").read_text()
    assert "Mock data: a simulated survey (hsc-wide, desi), no observation; 100 new objects" in card
    assert "seed 5), sha256 of its recipe" in card
    assert "photoz-mmae train --simulate 100 --simulate-seed 5 -o" in card
    assert whole.training.data_seed == 5
    assert run(*WORDS, "-o", tmp_path / "whole", "--epochs", 2) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert run(*WORDS[:-4], "-o", tmp_path / "whole", "--epochs", 2, "--simulate-seed", 6) == 6


@pytest.mark.parametrize(
    ("dust", "said"), [("deredden", "images are corrected by E(B-V)"), ("input", "is told E(B-V)")]
)
def test_dust(tmp_path, dust, said, capsys):
    """Mock objects bring their E(B-V) with them, so the treatment makes another model."""
    folders = {name: tmp_path / name for name in ("none", dust)}
    for name, folder in folders.items():
        assert run(*WORDS, "-o", folder, "--epochs", 1, "--dust", name) == 0
    assert "without usable E(B-V)" not in capsys.readouterr().err
    info, other = (load_info(folders[name]) for name in (dust, "none"))
    assert info.dust == info.training.settings["dust"] == dust
    assert info.extinction == (HSC_WIDE.extinction if dust == "deredden" else None)
    assert info.training.validation != other.training.validation
    card = (folders[dust] / "CARD.md").read_text()
    assert f"| Galactic dust | {dust}: " in card
    assert said in card
    assert f" --dust {dust}" in card
    assert run(*WORDS, "-o", folders["none"], "--epochs", 1, "--dust", dust) == 6
    assert f"(dust was none, is {dust})" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mock.hdf5"], "DATA: give either DATA or --simulate N"),
        (["--limit", 20], "--limit: is for a file"),
        (["--split", "published"], "--split: is for a file"),
        (["--match-to", "t.csv"], "--match-to: is for a file"),
    ],
)
def test_what_does_not_go_with_it(tmp_path, words, message, capsys):
    assert run(*WORDS, "-o", tmp_path / "m", *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_neither_file_nor_simulation(tmp_path, capsys):
    assert run("train", "-o", tmp_path / "m") == 2
    assert "DATA: missing; " in capsys.readouterr().err
