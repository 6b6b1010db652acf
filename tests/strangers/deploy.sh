#!/usr/bin/env bash
# kubectl renders the manifests, kubernetes-validate knows every field of them, the server takes its
# configuration, and hadolint has nothing against the Dockerfile.
. "$(dirname "$0")/lib.sh"
need kubectl kubernetes-validate hadolint

kubectl kustomize "$repo/deploy/base" >"$work/base.yaml"
contains "kubectl kustomize" "$(grep '^kind:' "$work/base.yaml")" StatefulSet DaemonSet Service ConfigMap
if grep -q 'namespace:' "$work/base.yaml"; then fail "the base names a namespace"; fi

# An unknown kind is only a warning to it.
kubernetes-validate --strict "$work/base.yaml" >"$work/validated" 2>&1 || fail "$(cat "$work/validated")"
if grep -i warn "$work/validated"; then fail "kubernetes-validate warns"; fi
ok "kubernetes-validate: $(grep -c '^kind:' "$work/base.yaml") resources"

"$bin_dir/fusion-server" --config "$repo/deploy/base/server.toml" --data-dir "$work/data" --check-config ||
    fail "the server refuses the configuration of the base"
ok "the configuration of the base"

hadolint "$repo/deploy/Dockerfile" || fail "hadolint"
ok "hadolint"
