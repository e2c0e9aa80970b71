#!/bin/sh
# Run once by PostgreSQL's image, when its volume is new: a database each for MLflow and Prefect, with a user of its
# own that may do nothing elsewhere. Passwords are files, so that no command line and no log has them.
set -eu
for name in mlflow prefect; do
  PASSWORD=$(cat "${SECRETS:-/run/secrets}/postgres_$name")
  [ -n "$PASSWORD" ] || { echo "the secret postgres_$name must hold a password, and is empty" >&2; exit 1; }
  export PASSWORD
  psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --set=name="$name" \
    --username="${POSTGRES_USER:-postgres}" --dbname=postgres <<'SQL'
\getenv password PASSWORD
-- Neither does the log of a statement that fails.
set log_min_error_statement = panic;
set log_statement = none;
create role :"name" login password :'password';
create database :"name" owner :"name";
revoke all on database :"name" from public;
SQL
done
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="${POSTGRES_USER:-postgres}" --dbname=postgres \
  --command="revoke connect on database postgres from public"
