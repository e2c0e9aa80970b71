#!/bin/sh
# Runs a command whose PostgreSQL has the password that the file PGPASSWORD_FILE holds: MLflow and Prefect take
# theirs as a part of an address, which would be in the environment that the engine shows of a container.
set -eu
PGPASSWORD=$(cat "$PGPASSWORD_FILE")
export PGPASSWORD
unset PGPASSWORD_FILE
exec "$@"
