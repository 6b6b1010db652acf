#!/usr/bin/env bash
# kubectl renders the overlays, kubernetes-validate knows every field of what it has a schema of, selectors
# and ports fit, the server takes the configuration of the base, and hadolint has nothing against the
# Dockerfile. The configuration of production is used by production.sh, that of several servers by cluster.sh.
. "$(dirname "$0")/lib.sh"
need kubectl kubernetes-validate hadolint checkov
need_python yaml
deploy=$repo/deploy

# validate NAME VOLUME_BYTES: checks $work/NAME.yaml.
validate() {
    local rendered=$work/$1.yaml said=$work/$1.said unknown
    if grep -q 'namespace:' "$rendered"; then fail "$1 names a namespace"; fi
    kubernetes-validate --strict "$rendered" >"$said" 2>&1 || fail "$(cat "$said")"
    # An unknown kind is only a warning to it.
    unknown=$(grep -i warn "$said" | grep -vE 'schema for kind (ServiceMonitor|PodMonitor) with' || true)
    [ -z "$unknown" ] || fail "kubernetes-validate: $unknown"
    ok "$1: $(grep -c ' passed for ' "$said") resources known to kubernetes-validate"
    grep -o 'schema for kind [A-Za-z]*' "$said" | sed 's/^/no validator has the /' || true
    strangers-python "$repo/tests/strangers/manifests.py" "$rendered" "$2" || fail "$1: the manifests do not fit"
    ok "$1: selectors, ports, limits and the volume fit"
}

for overlay in dev production cluster; do
    kubectl kustomize "$deploy/overlays/$overlay" >"$work/$overlay.yaml"
done
volume=$(sed -n 's/^ *expr: vector(\([0-9]*\))$/\1/p' "$deploy/prometheus/recording.yaml")
contains "dev" "$(grep '^kind:' "$work/dev.yaml")" StatefulSet DaemonSet Service ConfigMap
contains "production" "$(grep '^kind:' "$work/production.yaml")" StatefulSet DaemonSet Service ConfigMap \
    PodDisruptionBudget NetworkPolicy ServiceMonitor PodMonitor PriorityClass
contains "cluster" "$(grep '^kind:' "$work/cluster.yaml")" StatefulSet StatefulSet DaemonSet Service ConfigMap \
    PodDisruptionBudget NetworkPolicy ServiceMonitor PodMonitor PriorityClass
validate dev 0
validate production "$volume"
# Its servers keep little on their volumes, and NATS has volumes of its own.
validate cluster 0

mkdir "$work/fanotify"
cat >"$work/fanotify/kustomization.yaml" <<END
resources: [$(realpath --relative-to="$work/fanotify" "$deploy/overlays/production")]
components: [$(realpath --relative-to="$work/fanotify" "$deploy/components/fanotify")]
END
kubectl kustomize "$work/fanotify" >"$work/production-fanotify.yaml"
contains "the component fanotify" "$(cat "$work/production-fanotify.yaml")" 'add: - SYS_ADMIN - DAC_READ_SEARCH drop: - ALL'
validate production-fanotify "$volume"

"$deploy/prometheus/as-objects" >"$work/objects.yaml"
strangers-python -c '
import sys, yaml
objects = list(yaml.safe_load_all(open(sys.argv[1])))
rules = [yaml.safe_load(open(path)) for path in sys.argv[2:]]
sys.exit([found["spec"] for found in objects] != rules)
' "$work/objects.yaml" "$deploy"/prometheus/{recording,alerts}.yaml || fail "as-objects prints other rules"
ok "objects of the rules for the Prometheus operator"

"$bin_dir/fusion-server" --config "$deploy/base/server.toml" --data-dir "$work/data" --check-config ||
    fail "the server refuses the configuration of the base"
ok "the configuration of the base"

hadolint "$deploy/Dockerfile" || fail "hadolint"
ok "hadolint"
# What checkov asks of production, save what is said where it is used: the namespace (kubectl apply -n), the digest and
# the pulling of an image that others name; a readiness of the agent, to which nobody comes; a HEALTHCHECK, for which
# there are probes; and the tag of a FROM that is a stage of the same file.
checkov -f "$work/production.yaml" --framework kubernetes --skip-download --compact --quiet \
    --skip-check CKV_K8S_21,CKV_K8S_43,CKV_K8S_15,CKV_K8S_9 >"$work/checkov.said" 2>&1 || fail "checkov: $(cat "$work/checkov.said")"
checkov -f "$deploy/Dockerfile" --framework dockerfile --skip-download --compact --quiet \
    --skip-check CKV_DOCKER_2,CKV_DOCKER_7 >>"$work/checkov.said" 2>&1 || fail "checkov: $(cat "$work/checkov.said")"
ok "checkov $(checkov --version) has nothing against overlays/production and the Dockerfile"
