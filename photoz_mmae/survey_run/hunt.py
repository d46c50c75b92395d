"""The hunt for the objects that kill the workers of a part: by halves, until they are alone."""

from photoz_mmae.survey_run.part import PartJob

MAX_DEADLY = 64
"""So many deadly objects in a part are no accident: somebody has to look."""

SURE = 2
"""Deaths until an object is to blame: a worker may die of other things."""

Rows = tuple[int, int]
"""From a row to before another."""

_NOTHING: Rows = (0, 0)


class Hunt:
    """What is known of a part, and what is to be tried next.

    The first trial is of no rows at all: where that kills, no object is to blame.

    Attributes
    ----------
    job : PartJob
    deadly : list of int
        Rows that kill on their own.
    hopeless : str or None
        Why there is no going on.
    """

    def __init__(self, job: PartJob) -> None:
        self.job = job
        self.deadly: list[int] = []
        self.hopeless: str | None = None
        self._waiting = [_NOTHING]
        self._deaths = 0

    @property
    def trial(self) -> Rows | None:
        """The rows to be tried now, in a process that may die; None when all have been."""
        # The last halves first: few deaths until a deadly object is alone.
        return self._waiting[-1] if self._waiting else None

    def survived(self) -> None:
        """Note that the trial went well."""
        self._deaths = 0
        if self._waiting.pop() == _NOTHING:
            self._waiting += _halves((0, self.job.rows))

    def killed(self) -> None:
        """Note that the trial killed its worker."""
        start, stop = self._waiting[-1]
        self._deaths += 1
        if stop - start <= 1 and self._deaths < SURE:
            return
        self._waiting.pop()
        self._deaths = 0
        if (start, stop) == _NOTHING:
            self.hopeless = (
                "its workers die before they read an object: too little memory for the model, or "
                "a broken installation"
            )
        elif stop - start > 1:
            self._waiting += _halves((start, stop))
        else:
            self.deadly.append(start)
            if len(self.deadly) > MAX_DEADLY:
                self.hopeless = (
                    f"more than {MAX_DEADLY} of its objects kill the worker that reads them, from "
                    f"row {max(self.deadly)} backwards; `photoz-mmae status` names its files"
                )


def _halves(rows: Rows) -> list[Rows]:
    start, stop = rows
    middle = (start + stop + 1) // 2
    return [half for half in ((start, middle), (middle, stop)) if half[0] < half[1]]
