"""`report.md` and `curves.png` of a folder of outcomes."""

from importlib.util import find_spec
from pathlib import Path

from photoz_mmae.errors import OutputError
from photoz_mmae.peers.table import (
    Comparison,
    accuracy_table,
    as_markdown,
    cost_table,
    load_comparison,
    matched_table,
    ratio_table,
)

EPOCHS = (5, 10, 20, 40)
MINUTES = (5, 15, 30, 60, 120)


def write_report(folder: Path, against: str | None = None) -> str:
    """Write the tables of all outcomes in the folder, and return them.

    Raises
    ------
    InputError, OutputError
    """
    comparison = load_comparison(folder)
    first = comparison.rows[0].outcomes[0]
    n = len(comparison.rows[0].errors[0])
    blocks = [
        f"# Models trained on the same objects, tested on the same {n:,} others",
        f"sigma_NMAD (about the median) / abs(dz) > 0.15 / median bias, by true redshift. "
        f"Training objects: {first.settings['training_size'] or 'all'}.",
        as_markdown(accuracy_table(comparison)),
        as_markdown(cost_table(comparison)),
        "sigma_NMAD of the validation objects at the same epoch and after the same time:",
        as_markdown(matched_table(comparison, EPOCHS, MINUTES)),
    ]
    if against is not None:
        blocks += ["Ratios, paired bootstrap:", as_markdown(ratio_table(comparison, against))]
    text = "\n\n".join(blocks) + "\n"
    try:
        (folder / "report.md").write_text(text)
        _draw_curves(comparison, folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot write the report ({error.strerror})") from error
    return text


def _draw_curves(comparison: Comparison, folder: Path) -> None:
    if find_spec("matplotlib") is None:
        return  # the extra `report` is not installed: the tables say it, too
    from photoz_mmae.peers.curves import draw_curves

    draw_curves(comparison, folder / "curves.png")
