"""What a run is given, as sources: folders, files, paths on standard input, a request list."""

import sys
from dataclasses import dataclass

from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.path_list import read_paths
from photoz_mmae.cutouts.request_list import read_request_list
from photoz_mmae.cutouts.requested import Joined, join_list
from photoz_mmae.cutouts.source_list import SourceList
from photoz_mmae.errors import InputError
from photoz_mmae.survey_runs import SurveyRun

STANDARD_INPUT = "-"
"""Stands among the paths for those that are read from standard input."""


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes
    ----------
    sources : SourceList
    ignored : int
        Files that are no cutouts.
    joined : Joined or None
        What a request list says of them.
    """

    sources: SourceList
    ignored: int
    joined: Joined | None = None


def find_cutouts(run: SurveyRun) -> Found:
    """Find the cutouts of a run.

    Raises
    ------
    InputError
        There are none, or a path or the list is not what it should be.
    """
    asked = read_request_list(run.list, run.columns) if run.list is not None else None
    paths = [path for path in run.cutouts if path != STANDARD_INPUT]
    listed = []
    if STANDARD_INPUT in run.cutouts:
        listed = read_paths(sys.stdin.buffer)
        if not listed:
            raise InputError("no path on standard input; give one a line, or separated by NUL")
    discovery = discover(paths, listed)
    if asked is None:
        return Found(discovery.sources, discovery.ignored)
    joined = join_list(discovery.sources, asked)
    return Found(joined.sources, discovery.ignored, joined)
