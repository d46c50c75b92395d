# Everything starts from a clean clone with Python 3.11+, make and git.
PYTHON ?= python3
BIN := .venv/bin
DEMO := demo
# One thread per process: tests and Dask workers run side by side.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: setup demo test lint bench bench-read catalogs clean

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[simulation,report,dev]'
	touch $@

# The main job on mock galaxies: cutouts in, catalogue out, compared with the truth.
demo: setup
	rm -rf $(DEMO)
	$(BIN)/photoz-mmae simulate -n 2000 --seed 2026 --cutouts $(DEMO)/cutouts
	$(BIN)/photoz-mmae predict $(DEMO)/cutouts -o $(DEMO)/catalog.parquet --catalog $(DEMO)/cutouts/truth.parquet
	$(BIN)/python -c "from astropy.table import Table; \
	t = Table.read('$(DEMO)/catalog.parquet', format='parquet.votable'); \
	t['object_id', 'ra', 'dec', 'mag_i', 'z_best', 'z_err68_min', 'z_err68_max', 'z_risk_best', 'flags'][:5].pprint(max_width=-1)"
	$(BIN)/photoz-mmae evaluate $(DEMO)/catalog.parquet --truth $(DEMO)/cutouts/truth.parquet
	@echo
	@echo "The galaxies are mock data. The catalogue is $(DEMO)/catalog.parquet; open it with"
	@echo "  $(BIN)/python -c \"from astropy.table import Table; t = Table.read('$(DEMO)/catalog.parquet', format='parquet.votable'); t.info()\""
	@echo "or read it with pandas, polars or duckdb. Flag 524288 is UNCALIBRATED; docs/catalogue.md has them all."

test: setup
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The catalogue's schema, the page of its columns and the sample, from the program itself.
catalogs: setup
	$(BIN)/python catalogs/build.py

# Speed of networks and rendering, then how well colours alone tell the mock redshifts.
bench: setup
	$(ONE_THREAD) $(BIN)/python benchmarks/network_speed.py
	$(ONE_THREAD) $(BIN)/python benchmarks/rendering.py
	$(ONE_THREAD) $(BIN)/python benchmarks/colour_reference.py

# Speed of reading, beside astropy, fitsio and the file system.
READING := bench_read shard_speed coadd_speed listing
bench-read: setup
	$(foreach name,$(READING),$(if $(wildcard benchmarks/$(name).py),\
	  $(ONE_THREAD) $(BIN)/python benchmarks/$(name).py;))

clean:
	rm -rf .venv $(DEMO)
