"""The same for programs that collect logs: `--log-json`, one JSON object a line.

Every object has `event` and `time` (UTC). docs/running.md lists the events and their keys.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from photoz_mmae.cli.say import say
from photoz_mmae.cli.survey_report import PLAIN_INTERVAL
from photoz_mmae.provenance import now

if TYPE_CHECKING:
    from photoz_mmae.model.info import ModelInfo
    from photoz_mmae.survey_run.object_table import CatalogRows
    from photoz_mmae.survey_run.objects import Objects
    from photoz_mmae.survey_run.plan import Part
    from photoz_mmae.survey_run.telling import Summary


def _event(name: str, **facts: Any) -> None:
    say(json.dumps({"event": name, "time": now(), **facts}))


class JsonReport:
    """Tells how the run goes, in JSON."""

    def __init__(self) -> None:
        self.has_begun = False
        self._done = 0
        self._total = 0
        self._start = self._last = time.monotonic()

    def catalog(self, path: Path, rows: "CatalogRows") -> None:
        import numpy as np

        table = rows.objects
        known = [np.isfinite(values) for values in table.psf_fwhm.values()]
        sky = None
        if table.ra is not None and table.dec is not None:
            sky = np.isfinite(table.ra) & np.isfinite(table.dec)
        _event(
            "catalog",
            path=str(path),
            objects=len(table.ids),
            with_ebv=None if table.ebv is None else int(np.isfinite(table.ebv).sum()),
            with_psf_fwhm=int(np.any(known, axis=0).sum()) if known else None,
            with_position=None if sky is None else int(sky.sum()),
            repeated=rows.repeated,
            without_id=rows.without_id,
        )

    def found(self, objects: "Objects") -> None:
        coadds, joined = objects.coadds, objects.joined
        _event(
            "found",
            objects=len(objects.sources),
            absent=objects.absent,
            ignored=objects.ignored,
            patches=None if coadds is None else len(coadds.patches),
            damaged=[] if coadds is None else list(coadds.damaged),
            unanswered=None if joined is None else joined.unanswered,
            unlisted=None if joined is None else joined.unlisted,
        )

    def unused(self, bands: str) -> None:
        _event("unused", bands=bands)

    def begins(self, model: "ModelInfo", device: str, parts: int, todo: "Sequence[Part]") -> None:
        self.has_begun = True
        self._total = sum(part.rows for part in todo)
        self._start = self._last = time.monotonic()
        _event(
            "begins",
            model=model.name,
            model_sha256=model.sha256,
            device=device,
            parts=parts,
            parts_to_do=len(todo),
            rows_to_do=self._total,
        )

    def workers(self, said: str) -> None:
        _event("workers", said=said)

    def part_done(self, rows: int) -> None:
        self._done += rows
        if self._done < self._total and time.monotonic() - self._last <= PLAIN_INTERVAL:
            return
        self._last = time.monotonic()
        rate = self._done / (self._last - self._start)
        _event(
            "progress",
            rows_done=self._done,
            rows_to_do=self._total,
            objects_per_second=round(rate, 1),
            seconds_left=round((self._total - self._done) / rate),
        )

    def done(self, summary: "Summary") -> None:
        """Tell what became of the run."""
        problems = summary.problems
        _event(
            "done",
            exit=summary.exit_code,
            output=str(summary.output),
            rows=summary.rows,
            rows_bad=problems.bad,
            bad=dict(problems.flags),
            problems=str(summary.problems_file),
            rows_gone=summary.gone,
            rows_bad_gone=problems.gone,
            rows_unasked=summary.unasked,
            rows_repeated=summary.repeated,
            rows_same_sky=summary.same_sky,
            rows_without_ebv=summary.without_ebv,
            flags=dict(summary.flags),
            rows_computed=summary.computed,
            seconds=round(summary.seconds, 3),
            changed=summary.changed,
        )

    def failed(self, code: int, message: str) -> None:
        """Tell why there is no result."""
        _event("failed", exit=code, message=" ".join(message.split()))
