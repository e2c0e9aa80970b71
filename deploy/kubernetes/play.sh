#!/usr/bin/env bash
# Plays overlays/local with podman: the Deployment as Kubernetes gets it, its ConfigMap and its volumes, in a network
# of its own. The service must answer as the artifact does here, be healthy, tell its metrics, and end with 0.
#
#   deploy/kubernetes/play.sh [MODEL.onnx]    without one, a small one is trained of retraining/model.toml
#
# BASE_TAR=FILE keeps the stand-in for the base image, which is made where no registry can be reached.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
root=$(realpath "$here/../..")
image=localhost/ordinal-serve:latest
base=docker.io/library/python:3.11-slim-bookworm
pod=ordinal-serve-pod-0 # so podman calls it
export PATH=$root/.venv/bin:$PATH

skip() { echo "kubernetes-test: skipped, $1"; exit 0; }
say() { echo "kubernetes-test: $1"; }

[ "$(id -u)" = 0 ] || skip "it needs root, for a network of its own"
command -v kubectl >/dev/null || skip "there is no kubectl, which knows kustomize"
needed=(podman buildah runc catatonit netavark iptables)
if ! dpkg -s "${needed[@]}" >/dev/null 2>&1; then
  command -v apt-get >/dev/null || skip "there is no podman, and no apt-get to install it by"
  say "installing podman …"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${needed[@]}"; } >/dev/null ||
    skip "podman cannot be installed"
fi

work=$(mktemp -d)
clean() {
  podman pod rm -fa >/dev/null 2>&1 || true
  umount "$work/graph/overlay" 2>/dev/null || true
  rm -rf --one-file-system "$work"
}
trap 'rm -rf "$work"' EXIT

# Images and containers of this test alone, without systemd.
cat >"$work/storage.conf" <<END
[storage]
driver = "overlay"
graphroot = "$work/graph"
runroot = "$work/run"
END
cat >"$work/containers.conf" <<END
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_config_dir = "$work/networks"
END
export CONTAINERS_STORAGE_CONF=$work/storage.conf CONTAINERS_CONF=$work/containers.conf BUILDAH_ISOLATION=chroot
trap clean EXIT # now that podman sees nothing else of this machine

if [ -s "${BASE_TAR:-}" ] || ! podman pull --quiet "$base" >/dev/null 2>&1; then
  BASE_TAR=${BASE_TAR:-$work/base.tar}
  authorities=/etc/ssl/certs/ca-certificates.crt
  if [ ! -s "$BASE_TAR" ]; then
    command -v mmdebstrap >/dev/null || apt-get install -y -qq --no-install-recommends mmdebstrap >/dev/null ||
      skip "$base cannot be pulled, and mmdebstrap cannot be installed"
    say "no $base: making a stand-in of Debian's packages …"
    # shellcheck disable=SC2016 # $1 is mmdebstrap's
    mmdebstrap --quiet --variant=minbase --include=ca-certificates,python3,python3-venv,python3-pip \
      --customize-hook="upload $authorities $authorities" \
      --customize-hook='ln -s /usr/bin/python3 "$1/usr/local/bin/python"' \
      --customize-hook='rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED "$1"/etc/resolv.conf' \
      bookworm "$BASE_TAR" /etc/apt/sources.list.d/debian.sources
  fi
  podman import --quiet --change "ENV=PIP_CERT=$authorities" --change "ENV=SSL_CERT_FILE=$authorities" \
    "$BASE_TAR" "$base" >/dev/null
fi
say "building $image …"
buildah bud --quiet --format docker --pull=never --network=host --target serve -t "$image" "$root" >"$work/build.log" 2>&1 ||
  { cat "$work/build.log"; exit 1; }

if [ $# -gt 0 ]; then
  model=$(realpath "$1")
else
  say "training a small model …"
  model=$work/model.onnx
  (cd "$work" && unset MLFLOW_TRACKING_URI PREFECT_API_URL &&
    export PREFECT_HOME=$work/prefect &&
    ordinal-pipeline retrain "$here/retraining/model.toml" --set search.trials=2 --set search.epochs=2 &&
    ordinal-pipeline export digits --file "$model") >"$work/training.log" 2>&1 || { cat "$work/training.log"; exit 1; }
fi

kubectl kustomize "$here/overlays/local" >"$work/manifests.yaml"
export work model pod
# From a file, not by the standard input, which podman would read to its end.
cat >"$work/play" <<'END'
quietly() { podman --log-level=fatal "$@"; } # it misses systemd, which would ask for health by the clock
say() { echo "kubernetes-test: $1"; }
ip link set lo up
quietly kube play --start=false "$work/manifests.yaml" >/dev/null
cp "$model" "$(podman volume inspect ordinal-model --format '{{.Mountpoint}}')/model.onnx"
quietly pod start "$pod" >/dev/null 2>&1
# Not by its health check: podman restarts what has failed that often, and it may be slow to start.
for _ in $(seq 90); do
  if quietly exec "$pod-serve" ordinal-serving health >/dev/null 2>&1; then break; fi
  sleep 1
done
quietly healthcheck run "$pod-serve" || { podman logs "$pod-serve"; exit 1; }
say "healthy"
infra=$(podman pod inspect "$pod" --format '{{.InfraContainerID}}')
address=$(podman inspect "$infra" --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}')
found=$(podman inspect "$pod-serve" --format '{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.EffectiveCaps}} {{.HostConfig.SecurityOpt}}')
expected="65532:65532 true [] [no-new-privileges]"
[ "$found" = "$expected" ] || { echo "runs as '$found', must be '$expected'"; exit 1; }
say "runs as 65532, read-only, without capabilities"
ordinal-serving bench "$address:50051" --artifact "$model" --rate 50 --seconds 3
say "every answer was that of the artifact"
python - "http://$address:9090/metrics" <<'PY'
import sys
from urllib.request import ProxyHandler, build_opener

told = build_opener(ProxyHandler({})).open(sys.argv[1], timeout=10).read().decode()
missing = {"ordinal_worker_cpu_seconds_total", "ordinal_queued"} - {line.partition("{")[0] for line in told.splitlines()}
sys.exit(f"the metrics lack {missing}, which the autoscaler goes by" if missing else 0)
PY
say "its metrics have what the autoscaler goes by"
quietly pod stop --time 45 "$pod" >/dev/null 2>&1
code=$(podman inspect "$pod-serve" --format '{{.State.ExitCode}}')
[ "$code" = 0 ] || { podman logs "$pod-serve"; echo "ended with $code, must be 0"; exit 1; }
say "ended with 0 at SIGTERM"
quietly kube down "$work/manifests.yaml" >/dev/null 2>&1
[ -z "$(podman ps --all --quiet)" ] || { echo "kube down left containers"; exit 1; }
say "all good"
END
# No way out of this network, and the machine's own is left as it is.
unshare --net bash -euo pipefail "$work/play" </dev/null
