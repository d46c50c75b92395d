"""`photoz-mmae`: the group of verbs, and the one place where errors become exit codes."""

import errno
import signal
import sys
import traceback
from collections.abc import Sequence

import click

from photoz_mmae import __version__
from photoz_mmae.cli.compare_models import compare_models
from photoz_mmae.cli.embed import embed
from photoz_mmae.cli.evaluate import evaluate
from photoz_mmae.cli.inspect import inspect
from photoz_mmae.cli.pack import pack
from photoz_mmae.cli.predict import predict
from photoz_mmae.cli.simulate import simulate
from photoz_mmae.cli.status import status
from photoz_mmae.cli.train import train
from photoz_mmae.cli.verify import verify
from photoz_mmae.errors import InputError, OutputError, PhotozError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

# What even the question whether an input is there may come to; outputs say so where they are made.
_OUT_OF_REACH = (
    *(errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EIO, errno.ESTALE),
    *(errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="photoz-mmae")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Redshifts of survey galaxies from images alone.

    \b
    photoz-mmae predict cutouts/ --catalog objects.csv -o catalog.parquet
                                                        cutouts in, catalogue out; objects.csv has
                                                        object_id and ebv (without: flag NO_EBV)
    photoz-mmae embed cutouts/ -o embeddings.parquet    what the network makes of each image
    photoz-mmae status catalog.parquet                  how such a run stands, while it goes on
    photoz-mmae verify catalog.parquet                  whether a finished catalogue is sound
    photoz-mmae pack cutouts/ -o shards/                many cutouts in a few files, read faster
    photoz-mmae evaluate catalog.parquet --truth t.csv  how good it is
    photoz-mmae inspect 123.fits                        what a file is, and what is wrong with it
    photoz-mmae simulate -n 5000 -o mock.hdf5           a mock survey
    photoz-mmae train mock.hdf5 -o models/mine          a model of your own
    photoz-mmae compare-models mock.hdf5 -o report/ --models base,inception

    Exit codes: 0 done; 2 usage; 3 done, but objects without redshift; 4 input; 5 model;
    6 output; 7 locked by another run; 8 a check failed; 75 stopped, the same command goes on
    (without --overwrite); 1 a bug.
    --debug, anywhere on the line, shows the traceback of an error.
    """


for verb in (
    predict,
    embed,
    status,
    verify,
    pack,
    evaluate,
    inspect,
    simulate,
    train,
    compare_models,
):
    cli.add_command(verb)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code that the error family defines."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    # --debug is understood anywhere on the line, as users type it last.
    arguments = [word for word in arguments if word != "--debug"]
    try:
        code = cli.main(arguments, prog_name="photoz-mmae", standalone_mode=False)
    except click.Abort:
        # What click makes of Ctrl-C.
        code = _fail("stopped; the same command goes on from there", 75)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except PhotozError as error:
        code = _fail(str(error), error.exit_code, debug)
    except SystemExit:
        # What click and rich make of a reader of the output that went away, as `head` does.
        code = 128 + signal.SIGPIPE
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            code = _fail(f"cannot write: {error.strerror}", OutputError.exit_code, debug)
        elif isinstance(error, OSError) and error.errno in _OUT_OF_REACH and error.filename:
            code = _fail(f"{error.filename}: {error.strerror}", InputError.exit_code, debug)
        else:
            problem = f"{type(error).__name__}: {error}"
            code = _fail(f"bug: {problem}; run with --debug and report it", 1, debug)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int, debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    click.echo(f"photoz-mmae: {' '.join(message.split())}", err=True)
    return code


if __name__ == "__main__":
    main()
