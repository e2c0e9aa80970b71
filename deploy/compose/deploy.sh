#!/bin/sh
# Makes the work pool, where it is missing, and the deployments of ./prefect.yaml, anew. They work in this folder.
set -eu
export PWD # what prefect.yaml names
prefect work-pool inspect retraining > /dev/null 2>&1 || prefect work-pool create retraining --type process
exec prefect --no-prompt deploy --all
