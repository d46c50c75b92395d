"""Lines of a verb's report."""

import os
import sys

import click


def say(line: str) -> None:
    """Print; where nothing can be printed any more, the run matters more than its report."""
    try:
        click.echo(line)
    except OSError:  # the reader is gone (head), the log's disk is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def what_goes_on(overwrite: bool) -> str:
    """Name the command that goes on with one that was stopped after it had removed the old."""
    return "the same command" + " without --overwrite" * overwrite
