"""Outcomes as tables: accuracy, cost, ratios and what is refused."""

import numpy as np
import pytest

from photoz_mmae.errors import InputError
from photoz_mmae.peers import outcome as kept
from photoz_mmae.peers.table import (
    accuracy_table,
    as_markdown,
    cost_table,
    load_comparison,
    matched_table,
    ratio,
    ratio_table,
)
from photoz_mmae.redshift.metrics import outlier_015, sigma_nmad

N = 2000


def noise(seed, scale=0.02, n=N):
    return scale * np.random.default_rng(seed).normal(size=n)


def make_outcome(model, seed=0, **changes):
    values = {
        "model": model,
        "source": "nowhere",
        "seed": seed,
        "settings": {"training_size": 100, "precision": "float32"},
        "parameters": 1234567,
        "operations": 2.5e6,
        "training_speed": 100.0,
        "prediction_speed": 1000.0,
        "seconds": 600.0,
        "ended": True,
        "converged": True,
        "curve": [],
        "ways": ["whole image"],
    }
    return kept.Outcome(**{**values, **changes})


def save(folder, model, dz, z=None, seed=0, classes=None, **changes):
    """Keep an outcome with errors dz (N,); or by way, a dict of them."""
    z = np.linspace(0.1, 1.5, N) if z is None else z
    ways = dz if isinstance(dz, dict) else {"whole image": dz}
    z_phot = {way: z + error * (1 + z) for way, error in ways.items()}
    outcome = make_outcome(model, seed, ways=list(ways), **changes)
    kept.save_outcome(folder, outcome, kept.Tested(z, classes, z_phot))


def test_the_same_errors_have_ratio_1():
    errors = noise(0)[None]
    found = ratio(errors, errors, sigma_nmad)
    assert (found.value, found.upper) == (1.0, 1.0)


def test_halved_errors_have_ratio_one_half():
    """Exactly, where they are the same errors: only pairs of objects tell so."""
    theirs = noise(0)[None]
    paired = ratio(theirs / 2, theirs, sigma_nmad)
    assert paired.value == pytest.approx(0.5)
    assert paired.upper == pytest.approx(0.5)
    others = ratio(noise(1)[None] / 2, theirs, sigma_nmad)
    assert 0.45 < others.value < 0.55
    assert others.value + 0.005 < others.upper < 0.6


def test_ratios_are_of_means_over_seeds():
    theirs = np.stack([noise(0), 3 * noise(0)])
    ours = np.stack([noise(0), noise(0)])
    assert ratio(ours, theirs, sigma_nmad).value == pytest.approx(0.5)


def test_ratio_of_outliers():
    theirs = np.zeros((1, N))
    theirs[0, :200] = 0.2
    ours = theirs.copy()
    ours[0, :100] = 0.0
    found = ratio(ours, theirs, outlier_015)
    assert found.value == pytest.approx(0.5)
    assert 0.52 < found.upper < 0.6


def test_bound_is_one_sided_95_per_cent():
    """Known for a mean: 1.645 standard errors above it, where the other does not vary."""
    errors = np.random.default_rng(3).normal(10, 1, (1, N))
    found = ratio(errors, np.ones((1, N)), lambda dz: float(np.mean(dz)))
    assert found.upper - found.value == pytest.approx(1.645 / np.sqrt(N), rel=0.15)


def test_no_ratio_where_one_has_not_converged(tmp_path):
    save(tmp_path, "ours", noise(0) / 2)
    save(tmp_path, "done", noise(0))
    save(tmp_path, "half", noise(0), seed=0)
    save(tmp_path, "half", noise(1), seed=1, converged=False)
    lines = {line[0]: line[1:] for line in ratio_table(load_comparison(tmp_path), "ours")}
    assert lines["half"] == ["NOT CONVERGED", "", "", ""]
    assert lines["done"][:2] == ["0.500", "0.500"]
    assert "ours" not in lines
    lines = {line[0]: line[1:] for line in ratio_table(load_comparison(tmp_path), "half")}
    assert lines["ours"] == lines["done"] == ["NOT CONVERGED", "", "", ""]
    ends = {line[0]: line[-1] for line in cost_table(load_comparison(tmp_path))}
    assert ends["half"] == "NOT CONVERGED"
    assert ends["done"] == "converged"


def test_groups_by_redshift_and_without_quasars(tmp_path):
    z = np.repeat([0.2, 0.4, 1.2], [300, 200, 100])
    quasar = z == 1.2
    quasar[:50] = True
    dz = np.where(z == 0.2, 0.2, 0.01) * np.where(np.arange(600) % 2, 1, -1.0)
    save(tmp_path, "a", dz, z, classes=np.where(quasar, "QSO", "BGS"))
    heading, objects, cells = accuracy_table(load_comparison(tmp_path))
    table = dict(zip(heading, cells, strict=True))
    assert objects[2:6] == ["300 objects", "200 objects", "100 objects", "600 objects"]
    # No galaxy is beyond z = 1: there is no such group.
    names = ["0 - 0.4", "0.4 - 1", "1 - 4.5", "all"]
    assert heading[2:] == [*names, *(f"{n}, no quasars" for n in names if n != "1 - 4.5")]
    assert [table[name].split(" / ")[1] for name in names] == [
        "100.00 %",
        "0.00 %",
        "0.00 %",
        "50.00 %",
    ]
    assert table["all, no quasars"].split(" / ")[1] == f"{100 * 250 / 450:.2f} %"
    assert table["0.4 - 1"].startswith("0.0148 / ")  # 1.4826 times the median of |dz|


def test_a_way_is_a_row_and_seeds_are_averaged(tmp_path):
    for seed, scale in enumerate((1, 3)):
        dz = {"MLP": scale * noise(0), "k-NN": 10 * scale * noise(0)}
        settings = {"precision": ("float32", "bfloat16")[seed]}
        save(tmp_path, "a", dz, seed=seed, seconds=60.0 * scale, settings=settings)
    comparison = load_comparison(tmp_path)
    assert [row.name for row in comparison.rows] == ["a", "a, k-NN"]
    lines = accuracy_table(comparison)
    place = lines[0].index("all")
    usual, other = (float(line[place].split(" / ")[0]) for line in lines[2:])
    assert usual == pytest.approx(2 * sigma_nmad(noise(0)), abs=1e-4)
    assert other == pytest.approx(20 * sigma_nmad(noise(0)), abs=1e-4)
    (cost,) = cost_table(comparison)[1:]
    assert cost[:4] == ["a", "1,234,567", "2.5", "float32/bfloat16"]
    assert "1.0/3.0" in cost


def test_outcomes_of_other_test_objects_are_refused_in_one_line(tmp_path):
    save(tmp_path, "a", noise(0))
    save(tmp_path, "b", noise(0), z=np.linspace(0.1, 1.4, N))
    with pytest.raises(
        InputError, match=r"b-seed0\.json: tested on other objects than a-seed0"
    ) as e:
        load_comparison(tmp_path)
    assert "\n" not in str(e.value)
    save(tmp_path, "b", noise(0, n=5), z=np.linspace(0.1, 1.4, 5))
    with pytest.raises(InputError, match="tested on other objects"):
        load_comparison(tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("b", {"training_size": 200}, "training_size was 100, is 200"),
        ("b", {"unlabelled_size": 5}, "unlabelled_size was not given, is 5"),
        ("b", {"dust": "none"}, "dust was not given, is none"),
        ("a", {"network": {"width": 7}}, "width was not given, is 7"),
        ("a", {"epochs": 2}, "epochs was not given, is 2"),
    ],
)
def test_outcomes_of_other_training_objects_are_no_table(tmp_path, name, change, told):
    settings = make_outcome("a").settings
    save(tmp_path, "a", noise(0))
    save(tmp_path, name, noise(0), seed=1, settings={**settings, **change})
    with pytest.raises(InputError, match=f"made with other settings than a-seed0.*{told}"):
        load_comparison(tmp_path)


def test_other_data_precision_and_networks_are_compared(tmp_path):
    save(tmp_path, "a", noise(0), settings={"data_sha256": "1", "precision": "float32"})
    network = {"network": {"width": 7}, "epochs": 3}
    save(tmp_path, "b", noise(0), settings={"data_sha256": "2", "precision": "bfloat16", **network})
    assert len(load_comparison(tmp_path).rows) == 2


def test_no_outcome_damaged_ones_and_unknown_rows(tmp_path):
    with pytest.raises(InputError, match="no outcome of compare-models in it"):
        load_comparison(tmp_path)
    save(tmp_path, "a", noise(0))
    with pytest.raises(InputError, match="no outcome of 'b'; there are a"):
        ratio_table(load_comparison(tmp_path), "b")
    (tmp_path / "a-seed0.parquet").unlink()
    with pytest.raises(InputError, match=r"a-seed0\.parquet: not redshifts"):
        load_comparison(tmp_path)
    (tmp_path / "a-seed0.json").write_text("{}")
    with pytest.raises(InputError, match="not an outcome of compare-models"):
        load_comparison(tmp_path)


def test_the_same_epoch_and_the_same_time(tmp_path):
    def point(stage, epoch, seconds, sigma):
        return {"stage": stage, "epoch": epoch, "seconds": seconds, "sigma_nmad": sigma}

    two = [
        point("pretraining", 1, 50, None),
        point("pretraining", 2, 100, None),
        point("finetuning", 1, 150, 0.05),
        point("finetuning", 2, 200, 0.03),
        point("finetuning", 3, 250, 0.04),
    ]
    save(tmp_path, "two", noise(0), curve=two)
    save(tmp_path, "half", noise(0), curve=two, converged=False)
    save(tmp_path, "blind", noise(0), curve=[point("alignment", 1, 10, None)])
    table = matched_table(load_comparison(tmp_path), (1, 3, 9), (1, 3, 9))
    lines = {line[0]: line[1:] for line in table}
    assert lines["two"] == ["0.0500", "0.0300", "0.0300", "-", "0.0500", "0.0300"]
    # What might still get better is not taken to have stayed as it was.
    assert lines["half"] == ["0.0500", "0.0300", "-", "-", "0.0500", "-"]
    assert lines["blind"] == ["-"] * 6


def test_too_few_objects_have_no_scatter_and_short_trainings_their_minutes(tmp_path):
    z = np.append(np.full(N - 1, 0.2), 2.0)
    save(tmp_path, "a", np.append(noise(0, n=N - 1), 0.2), z, seconds=4.0)
    heading, _, cells = accuracy_table(load_comparison(tmp_path))
    table = dict(zip(heading, cells, strict=True))
    assert table["1 - 4.5"] == "- / 100.00 % / +0.2000"
    (cost,) = cost_table(load_comparison(tmp_path))[1:]
    assert "0.1" in cost


def test_markdown():
    assert as_markdown([["a", "b"], ["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
