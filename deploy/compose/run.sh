#!/usr/bin/env bash
# run.sh up|down: the stack of compose.yaml, with compose.override.yaml where there is one. `make up` and `make down`;
# GPU=1 adds gpu.yaml.
set -euo pipefail
cd "$(dirname "$0")/../.."

files=(--file compose.yaml)
[ -z "${GPU:-}" ] || files+=(--file deploy/compose/gpu.yaml)
[ ! -f compose.override.yaml ] || files+=(--file compose.override.yaml)

# An engine counts if it answers, and its Compose can wait until all is healthy.
engine=""
for one in docker podman; do
  if command -v "$one" > /dev/null && timeout 30 "$one" info > /dev/null 2>&1 &&
    options=$("$one" compose up --help 2> /dev/null) && [[ $options == *--wait* ]]; then
    engine=$one
    break
  fi
done
if [ -z "$engine" ]; then
  echo "make $1 needs a container engine that answers, Docker with Compose 2.17 or later or Podman with its compose," \
    "and there is none here. The same parts run as plain processes by: make stack" >&2
  exit 1
fi
compose=("$engine" compose "${files[@]}")

up() {
  if [ ! -d deploy/compose/secrets ] && "$engine" volume inspect ordinal_postgres > /dev/null 2>&1; then
    echo "the volume ordinal_postgres was made with passwords that are no longer in deploy/compose/secrets: put that" \
      "folder back, or remove the volumes and all that is in them: ${compose[*]} down --volumes" >&2
    exit 1
  fi
  deploy/compose/secrets.sh
  # Each image once: six services have the same one, and Compose would build it for all of them at once.
  images=(mlflow serve)
  [ -z "${GPU:-}" ] || images+=(worker) # which has an image of its own then
  "${compose[@]}" build "${images[@]}"
  "${compose[@]}" up --detach --wait --wait-timeout 1200 --remove-orphans || {
    "${compose[@]}" ps --all
    echo "not everything is healthy: read why by ${compose[*]} logs NAME, and give the same command again" >&2
    exit 1
  }
  cat <<TEXT

  predictions    $("${compose[@]}" port serve 50051)    gRPC: .venv/bin/ordinal-serving health ADDRESS
  MLflow         http://$("${compose[@]}" port mlflow 5000)
  Prefect        http://$("${compose[@]}" port prefect 4200)
  Prometheus     http://$("${compose[@]}" port prometheus 9090)
  Grafana        http://$("${compose[@]}" port grafana 3000)    user admin, password in deploy/compose/secrets/grafana_admin

All passwords lie in deploy/compose/secrets. make down ends it.
TEXT
}

down() {
  "${compose[@]}" down --remove-orphans
  echo "what was learned and kept is still in the volumes; this removes it for good: ${compose[*]} down --volumes"
}

case "${1:-}" in
  up | down) "$1" ;;
  *) echo "usage: run.sh up|down" >&2; exit 2 ;;
esac
