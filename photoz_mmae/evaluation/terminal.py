"""An evaluation as a table for the terminal."""

import math
from pathlib import Path

from rich import box
from rich.table import Table

from photoz_mmae.evaluation.compare import Evaluation
from photoz_mmae.runs import EvaluateRun

_LINES = {
    "n": ("objects", "{:d}"),
    "sigma_nmad": ("sigma_NMAD, about median", "{:.4f}"),
    "sigma_iqr": ("sigma_IQR", "{:.4f}"),
    "bias_median": ("bias, median dz", "{:+.4f}"),
    "bias_mean": ("bias, mean dz", "{:+.4f}"),
    "outlier_015": ("|dz| > 0.15", "{:.2%}"),
    "outlier_rail": ("|dz| > max(.06, 3 s_IQR)", "{:.2%}"),
    "catastrophic": ("|z_phot - z_spec| > 1", "{:.2%}"),
    "hsc_loss": ("HSC loss, mean", "{:.4f}"),
    "coverage_68": ("inside 68 % interval", "{:.1%}"),
    "coverage_95": ("inside 95 % interval", "{:.1%}"),
    "n_pdf": ("objects with p(z)", "{:d}"),
    "cde_loss": ("CDE loss", "{:.3f}"),
    "crps": ("CRPS, mean", "{:.4f}"),
    "pit_ks": ("PIT: KS", "{:.4f}"),
    "pit_cvm": ("PIT: Cramer-von Mises", "{:.2f}"),
    "pit_ad": ("PIT: Anderson-Darling", "{:.2f}"),
    "pit_extreme": ("PIT < 1e-4 or > .9999", "{:.2%}"),
}
_ROWS = {
    "without_truth": "catalogue rows not in the truth",
    "stars": "catalogue rows that are stars in the truth (not compared)",
    "without_z_spec": "catalogue rows whose truth has no redshift",
    "without_z_phot": "catalogue rows without {z_phot}",
    "truth_without_catalog": "truth rows not in the catalogue",
    "truth_duplicates": "truth rows that repeat an {id} (the first of each counts)",
    "catalog_duplicates": "catalogue rows that repeat an {id} (each is compared)",
}


def what_was_compared(run: EvaluateRun, evaluation: Evaluation) -> list[str]:
    """Lines that say what was compared and what was left out."""
    rows = evaluation.rows
    lines = [
        f"{_printable(run.catalog)} [{evaluation.z_phot}] against {_printable(run.truth)} "
        f"[{run.z_spec}], joined by {evaluation.joined_by}: {rows['compared']} of "
        f"{rows['catalog']} rows compared"
    ]
    lines += [
        f"  {meaning.format(z_phot=evaluation.z_phot, id=evaluation.joined_by)}: {rows[name]}"
        for name, meaning in _ROWS.items()
        if rows.get(name)
    ]
    outside = evaluation.all["n"] - sum(row["n"] for row in evaluation.bins)
    if outside:
        lines.append(f"  compared objects outside the redshift bins: {outside:d}")
    if evaluation.pdf:
        lines.append(f"  p(z) from {evaluation.pdf}")
    return lines + [f"  {note}" for note in evaluation.notes]


def metrics_table(evaluation: Evaluation) -> Table:
    """Lay out the metrics, one line each, over all objects and per bin of true redshift."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("dz = (z_phot - z_spec)/(1 + z_spec)", max_width=24)
    table.add_column("all", justify="right", no_wrap=True)
    for row in evaluation.bins:
        table.add_column(f"{row['z_min']:g}-{row['z_max']:g}", justify="right", no_wrap=True)
    for name, (label, style) in _LINES.items():
        if name in evaluation.all:
            values = [_cell(row[name], style) for row in (evaluation.all, *evaluation.bins)]
            table.add_row(label, *values)
    return table


def _cell(value: float, style: str) -> str:
    return style.format(value) if math.isfinite(value) else "-"


def _printable(path: Path) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode()
