# What one does here; `.ci/run` is the same for a clean clone.

# Form, lints, licences and duplicates.
check:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    cargo deny check

# Everything; arguments go to `cargo test`.
test *ARGS:
    ./test {{ARGS}}

# The behaviour tests against a real gateway; `just e2e limits::` for one promise.
e2e *ARGS:
    ./test --prepare
    cargo test --test gateway {{ARGS}}

# All 517 Autobahn cases, the slow ones too, directly and through the gateway.
autobahn-full:
    ./test --prepare
    SESSILE_AUTOBAHN=full cargo test --test gateway autobahn:: -- --nocapture

# Looks for inputs that break what reads strangers' bytes; `just fuzz all 600` for all targets.
fuzz TARGET SECONDS="600":
    fuzz/run {{TARGET}} {{SECONDS}}

# Makes a site of `docs/` in target/book, with mdBook as `./test --prepare` installs it.
book:
    target/test-env/python/bin/mdbook build docs --dest-dir {{justfile_directory()}}/target/book

# Compiles the protobuf files of another version of etcd-client.
descriptors:
    tools/update-descriptors

# What CI runs.
ci:
    bash .ci/run
