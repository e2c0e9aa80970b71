#!/usr/bin/env bash
# Makes the secrets of compose.yaml with random values, all together, where there are none.
set -euo pipefail
cd "$(dirname "$0")"
umask 077

names=(postgres_admin postgres_mlflow postgres_prefect s3.json aws_credentials grafana_admin)
if [ -d secrets ]; then
  for name in "${names[@]}"; do
    [ -s "secrets/$name" ] || {
      echo "deploy/compose/secrets must hold $name, which is missing or empty: put it back, from a backup," \
        "or remove the whole folder and the volumes that were made with it" >&2
      exit 1
    }
  done
  exit 0
fi

random() { head -c "$1" /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }

new=$(mktemp -d secrets.XXXXXX)
trap 'rm -rf "$new"' EXIT
for name in postgres_admin postgres_mlflow postgres_prefect grafana_admin; do
  random 24 > "$new/$name"
done
key=$(random 10) secret=$(random 32)
cat > "$new/s3.json" <<JSON
{"identities": [{
  "name": "mlflow",
  "credentials": [{"accessKey": "$key", "secretKey": "$secret"}],
  "actions": ["Admin:ordinal", "Read:ordinal", "List:ordinal", "Tagging:ordinal", "Write:ordinal"]
}]}
JSON
printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$key" "$secret" > "$new/aws_credentials"
echo '*' > "$new/.gitignore"
# Containers read them as users of their own, hence the mode; on this machine nobody else gets into the folder.
chmod 0444 "$new"/*
chmod 0700 "$new"
mv "$new" secrets
trap - EXIT
echo "made random passwords in deploy/compose/secrets: back them up with the volumes"
