"""`photoz-mmae inspect`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from photoz_mmae.cli.options import config_option, run_option
from photoz_mmae.errors import InputError
from photoz_mmae.load_run import load_run
from photoz_mmae.runs import InspectRun

if TYPE_CHECKING:
    from rich.console import Console

    from photoz_mmae.cutouts.inspect.facts import BandFacts, Inspection, Objects, Point, UnitFacts

_SHOWN_COLUMNS = 12
_SHOWN_UNITS = 40
_WIDTH = 32


@click.command(short_help="What a file is, and what is wrong with it.")
@click.argument("files", nargs=-1, type=click.Path(readable=False))
@run_option(InspectRun, "--model", metavar="NAME", help="The model that `predict` would take.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
@config_option
def inspect(config: Path | None, as_json: bool, **options: Any) -> int:
    """Say of each of FILES what it is, what is in it, and what `predict` makes of it.

    What is wrong stands in lines that begin with `wrong:`. Exit code 4 when there is one; else 3
    when `predict` would give an object no redshift; else 0. FILES may be of any kind; of those that
    are one object's bands, one per file, give all.
    """
    run = load_run(InspectRun, config, options)

    import json

    from rich.console import Console

    from photoz_mmae.cutouts.batch import Wanted
    from photoz_mmae.cutouts.inspect.files import inspect_files
    from photoz_mmae.model.info import find_model, load_info

    info = load_info(find_model(run.model))
    wanted = Wanted(
        info.bands,
        info.image_size,
        info.pixel_scale,
        every_band=info.missing_bands == "refused",
    )
    console = Console(highlight=False, soft_wrap=True)
    wrong = no_redshift = False
    for number, inspection in enumerate(inspect_files(run.files, wanted)):
        wrong |= bool(inspection.wrong)
        no_redshift |= inspection.lacks_redshift()
        if not as_json:
            if number:
                console.print()
            _show(console, inspection, info.name)
        else:
            text = json.dumps(inspection.as_json(), indent=1, allow_nan=False)
            click.echo(("[" if not number else ",") + text)
    if as_json:
        click.echo("]")
    return InputError.exit_code if wrong else 3 if no_redshift else 0


def _show(console: "Console", found: "Inspection", model: str) -> None:
    from rich.markup import escape

    console.print(f"[bold]{escape(found.file)}[/bold]")
    lines = [("what", found.what), ("size", f"{found.size:,} bytes")] if found.what else []
    lines += _units(found.units)
    lines += [line for band in found.bands for line in _band(band)]
    lines += [("centre", _point(found.centre))] if found.centre else []
    lines += [("target", _point(found.target))] if found.target else []
    if found.prediction:
        flags = ", ".join(found.prediction.flags) or "no flags"
        why = f": {found.prediction.reason}" if found.prediction.reason else ""
        if "FEWER_BANDS" in found.prediction.flags:
            why = f": bands {', '.join(found.prediction.bands)} alone"
        more = len(found.prediction.files) - 1
        together = f", together with {more} more files" if more else ""
        lines.append(("object", found.prediction.object_id + together))
        lines.append(("predict", f"{flags}{why} (model {model})"))
    lines += [("predict", f"{_objects(found.objects)} (model {model})")] if found.objects else []
    for name, text in lines:
        console.print(f"  [cyan]{name:<9}[/cyan] {escape(text)}".rstrip())
    for text in found.notes:
        console.print(f"  [yellow]note:[/yellow]     {escape(text)}")
    for text in found.wrong:
        console.print(f"  [bold red]wrong:[/bold red]    {escape(text)}")


def _objects(objects: "Objects") -> str:
    which = f"the first {objects.read} of {objects.count:,}" if objects.count > objects.read else ""
    flags = ", ".join(f"{name} {number}" for name, number in objects.flags.items()) or "no flags"
    why = f"; {objects.reason}" if objects.reason else ""
    return f"{which or f'{objects.count} objects'}: {flags}{why}"


def _units(units: "Sequence[UnitFacts]") -> list[tuple[str, str]]:
    rows = []
    is_fits = bool(units) and units[0].kind in ("header", "image")
    width = max([len(unit.name) for unit in units[:_SHOWN_UNITS]], default=0)
    for number, unit in enumerate(units[:_SHOWN_UNITS]):
        held = ", ".join(unit.columns[:_SHOWN_COLUMNS])
        if len(unit.columns) > _SHOWN_COLUMNS:
            held += f" and {len(unit.columns) - _SHOWN_COLUMNS} more"
        role = unit.role if unit.role != unit.kind else "of the sky"
        checksum = f"checksum {unit.checksum}" if unit.checksum else ""
        words = (unit.kind, unit.shape, unit.type, unit.compression, role, held, checksum)
        name = unit.name or "-" * is_fits
        told = f"{name:<{min(width, _WIDTH)}} {', '.join(word for word in words if word)}".strip()
        rows.append((f"HDU {number}" if is_fits else "", told))
    if len(units) > _SHOWN_UNITS:
        rows.append(("", f"and {len(units) - _SHOWN_UNITS} more"))
    return rows


def _band(band: "BandFacts") -> list[tuple[str, str]]:
    plane = "" if band.plane is None else f" plane {band.plane}"
    text = f"HDU {band.unit}{plane}, {band.height} x {band.width} pixels"
    if band.pixel_scale:
        text += f" of {band.pixel_scale:.4f} arcsec"
    if band.zero_point is not None:
        text += f", zero point {band.zero_point:.3f} by {band.zero_point_from}"
    if band.lowest is not None:
        text += f", values {band.lowest:.4g} to {band.highest:.4g}"
    if band.sigma is not None:
        text += f", sigma {band.sigma:.3g}"
    text += f", {band.nonfinite} not finite" if band.nonfinite else ""
    text += f", {band.saturated} saturated" if band.saturated else ""
    lines = [(f"band {band.band}", text)]
    if band.mask:
        shares = [f"{name} {100 * share:.1f} %" for name, share in band.mask.items() if share]
        clear = [name for name, share in band.mask.items() if not share]
        rest = f"none {', '.join(clear)}" if clear else ""
        lines.append(("  mask", "; ".join([*shares, *([rest] if rest else [])])))
    return lines


def _point(point: "Point") -> str:
    text = f"x {point.x:.2f}, y {point.y:.2f}"
    if point.ra is not None:
        text += f"; RA {point.ra:.6f}, Dec {point.dec:.6f}"
    return f"{text} ({point.by})" if point.by else text
