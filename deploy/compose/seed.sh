#!/bin/sh
# seed.sh MODEL: where there is no champion that can be served yet, the first retraining, by the worker.
set -eu
there() { ordinal-pipeline export "$1" --file "$(mktemp -d)/champion.onnx"; }
if said=$(there "$1" 2>&1); then
  exit 0
fi
echo "the first retraining of $1 begins, since there is nothing to serve yet: $said"
prefect deployment run "scheduled retrain/$1" --watch
there "$1" || { echo "it has not made a champion of $1: read its run in Prefect" >&2; exit 1; }
