# `just` lists what there is. CI runs `just ci`, which is .ci/run; CONTRIBUTING.md explains the rest.

_default:
    @just --list --unsorted

# all that CI does
ci:
    .ci/run

# steps of CI by name, such as `just step msrv package`
step +names:
    .ci/run {{ names }}

# the tests; arguments go to `cargo test`
test *args="--workspace":
    cargo test {{ args }}

# formatting and lints
lint:
    .ci/run format lint

# formats everything
fmt:
    cargo fmt --all
    cargo fmt --manifest-path benches/Cargo.toml
    cargo fmt --manifest-path benches/compare/Cargo.toml
    cargo fmt --manifest-path fuzz/Cargo.toml
    cargo fmt --manifest-path python/Cargo.toml
    ruff format && ruff check --fix

# the documentation, as docs.rs shows it
doc:
    .ci/run doc docs_rs

# licences, sources, unwanted dependencies
deny:
    .ci/run dependencies

# with the oldest Rust, and with the oldest dependencies
oldest:
    .ci/run msrv minimal_versions

# the packages, built from their archives
package:
    .ci/run package

# the Python package: built, installed into a fresh environment, tested
python:
    .ci/run python

# measurements; arguments go to `cargo bench`, such as `--bench put`
bench *args:
    cargo bench --manifest-path benches/Cargo.toml {{ args }}

# the same jobs done by other stores
compare *args:
    cargo run --release --manifest-path benches/compare/Cargo.toml -- {{ args }}

# the fuzz targets, or one: `just fuzz open -max_total_time=3600`
fuzz *args:
    tools/fuzz {{ args }}

# tests of what is unsafe, under Miri
miri *args:
    tools/miri {{ args }}

# the tests under AddressSanitizer and valgrind
sanitize *args:
    tools/sanitize {{ args }}

# writes the golden files anew, and shows which changed
golden:
    VLDEPOT_WRITE_GOLDEN=1 cargo test --test golden depots_are_written_as_the_golden_files
    git --no-pager diff --stat -- tests/data/golden

# the Rust code of schemas/*.fbs
schemas:
    tools/regenerate-schemas
