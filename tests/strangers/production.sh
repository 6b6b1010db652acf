#!/usr/bin/env bash
# The pair as overlays/production starts it: the arguments, the configuration and the places of certificates are
# those that kubectl renders, with addresses and folders of this machine; openssl made the certificates.
. "$(dirname "$0")/lib.sh"
need kubectl openssl strangers-python
need_python yaml
mkdir -p "$work/spool" "$work/tree/dir"
printf %010d 1 >"$work/tree/dir/a.txt"

authority ca
for name in fusion-server fusion-agent; do
    certificate "$name" "DNS:$name,DNS:localhost"
    # As the kubelet mounts a Secret.
    mkdir "$work/$name-tls"
    cp "$work/tls/$name.crt" "$work/$name-tls/tls.crt"
    cp "$work/tls/$name.key" "$work/$name-tls/tls.key"
    cp "$work/tls/ca.crt" "$work/$name-tls/ca.crt"
done

kubectl kustomize "$repo/deploy/overlays/production" >"$work/production.yaml"
strangers-python - "$work" <<'END'
import sys, yaml

work = sys.argv[1]
for found in yaml.safe_load_all(open(f"{work}/production.yaml")):
    name = found["metadata"]["name"]
    if found["kind"] == "ConfigMap":
        open(f"{work}/server.toml", "w").write(found["data"]["server.toml"])
    if found["kind"] in ("StatefulSet", "DaemonSet"):
        spec = found["spec"]["template"]["spec"]
        args = spec["containers"][0]["args"]
        open(f"{work}/{name}.args", "w").write("".join(f"{arg}\n" for arg in args))
        secrets = [each["secret"]["secretName"] for each in spec["volumes"] if "secret" in each]
        if secrets != [f"{name}-tls"]:
            raise SystemExit(f"FAIL: {name} mounts {secrets}")
END

sed -i "s#/etc/fusion-tls#$work/fusion-server-tls#; s#0.0.0.0:[0-9]*#127.0.0.1:0#" "$work/server.toml"
sed -i "s#/etc/fusion/server.toml#$work/server.toml#; s#/var/lib/fusion#$work/data#" "$work/fusion-server.args"
mapfile -t args <"$work/fusion-server.args"
"$bin_dir/fusion-server" "${args[@]}" --address-file "$work/server.address" >"$work/server.log" 2>&1 </dev/null &
pids=($!)
within 20 "the server's addresses" has_address "$work/server.address" grpc http
grpc=$(address "$work/server.address" grpc) http=$(address "$work/server.address" http)

sed -i "s#https://fusion-server:7700#https://localhost:${grpc##*:}#; s#/etc/fusion-tls#$work/fusion-agent-tls#
    s#=/tree#=$work/tree#; s#=/var/lib/fusion#=$work/spool#; s#\$(NODE_NAME)#node-1#; s#0.0.0.0:7702#127.0.0.1:0#" \
    "$work/fusion-agent.args"
mapfile -t args <"$work/fusion-agent.args"
"$bin_dir/agent-client" "${args[@]}" >"$work/agent.log" 2>&1 </dev/null &
pids=($! "${pids[@]}")

# ask ARGUMENT...: fusionctl with the certificate of the server, as README shows it.
ask() {
    "$bin_dir/fusionctl" --server "https://localhost:${grpc##*:}" --ca "$work/fusion-server-tls/ca.crt" \
        --client-certificate "$work/fusion-server-tls/tls.crt" --client-key "$work/fusion-server-tls/tls.key" "$@"
}
whole() {
    ask --output json du --view shared / >"$work/du.json" && grep -q '"files":1' <(tr -d ' \n' <"$work/du.json")
}
within 30 "the view to be whole" whole
ok "an agent of the overlay production reports to its server over mutual TLS"
contains "the agent of the node" "$(ask sessions)" node-1
if "$bin_dir/fusionctl" --server "https://localhost:${grpc##*:}" --ca "$work/tls/ca.crt" views >"$work/last" 2>&1; then
    fail "who has no certificate is let in"
fi
ok "who has no certificate is not let in: $(head -n 1 "$work/last")"
if "$bin_dir/fusionctl" --server "http://$grpc" views >"$work/last" 2>&1; then fail "plaintext is let in"; fi
ok "plaintext is not let in"
stop_all
