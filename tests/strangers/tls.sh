#!/usr/bin/env bash
# grpcurl and Python's grpcio over TLS with tokens and over mutual TLS, with certificates that openssl made: who is
# let in, and how a certificate is refused that is expired, self-signed, for another name, or taken back.
. "$(dirname "$0")/lib.sh"
need grpcurl openssl
need_python grpc grpc_reflection
export GRPC_VERBOSITY=NONE # what failed is told by the answer
authority ca
authority other
certificate server DNS:localhost
certificate late DNS:localhost ca 0
certificate misnamed DNS:elsewhere
certificate stranger DNS:localhost other
certificate reads URI:spiffe://lab/reads
certificate unnamed URI:spiffe://lab/nobody
certificate old URI:spiffe://lab/reads ca 0
certificate foreign URI:spiffe://lab/reads other
# Self-signed, under the name of one that is let in.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=reads -days 2 \
    -addext subjectAltName=URI:spiffe://lab/reads \
    -keyout "$work/tls/own.key" -out "$work/tls/own.crt" >>"$work/openssl.log" 2>&1

# serve NAME: that certificate becomes the server's, as a renewal would put it there.
serve() {
    cp "$work/tls/$1.key" "$work/key.new" && mv "$work/key.new" "$work/key.pem"
    cp "$work/tls/$1.crt" "$work/certificate.new" && mv "$work/certificate.new" "$work/certificate.pem"
}

# shows NAME: the server shows that certificate to who connects.
shows() {
    local shown
    shown=$(openssl s_client -connect "localhost:$port" -alpn h2 </dev/null 2>/dev/null | openssl x509 -noout -serial)
    [ "$shown" = "$(openssl x509 -noout -serial -in "$work/tls/$1.crt")" ]
}

# configure [LINE]: the server's configuration, with one more line in its section [tls].
configure() {
    cat >"$work/server.toml" <<END
[tls]
certificate = "$work/certificate.pem"
key = "$work/key.pem"
${1:-}
[auth]
token_file = "$work/tokens.toml"
END
}

# list [ARGUMENT...]: ListViews by grpcurl.
list() {
    grpcurl -max-time 10 -format-error "$@" "localhost:$port" fusion.v1.ViewService/ListViews 2>&1
}

# refused WHAT NEEDLE ARGUMENT...: that call fails, and says so.
refused() {
    local what=$1 needle=$2 answer
    shift 2
    if answer=$(list "$@"); then fail "$what: answered OK: $answer"; fi
    contains "$what" "$answer" "$needle"
}

# by NAME: the arguments of grpcurl for who trusts our CA and shows that certificate.
by() {
    printf '%s\n' -cacert "$work/tls/ca.crt" -cert "$work/tls/$1.crt" -key "$work/tls/$1.key"
}

trusts=(-cacert "$work/tls/ca.crt")
token=$("$bin_dir/fusionctl" token create anna --file "$work/tokens.toml" --role reader --for-view demo)
bearer=(-H "authorization: Bearer $token")
cat >>"$work/tokens.toml" <<'END'

[[certificate]]
name = "spiffe://lab/reads"
principal = "reads"
role = "reader"
views = ["demo"]
END
server_args=(--config "$work/server.toml")

# TLS, and a token.
serve server
configure
start_server
port=${grpc##*:}
list "${trusts[@]}" "${bearer[@]}" >/dev/null || fail "a good token is refused: $(list "${trusts[@]}" "${bearer[@]}")"
ok "grpcurl: a good token over TLS"
refused "grpcurl: no token" '"code": 16' "${trusts[@]}"
refused "grpcurl: a token that nobody has" '"code": 16' "${trusts[@]}" -H "authorization: Bearer ${token}x"
refused "grpcurl: a CA that is not the server's" "unknown authority" -cacert "$work/tls/other.crt" "${bearer[@]}"
if answer=$(list -plaintext "${bearer[@]}"); then fail "plaintext is let in: $answer"; fi
ok "grpcurl: plaintext is not let in"
strangers-python "$repo/tests/strangers/tls.py" token "localhost:$port" "$work/tls" "$token"
# not_taken NAME GRPCURL GRPCIO: who sees that certificate of a server goes no further, and says why.
not_taken() {
    serve "$1"
    within 30 "the server to show $1" shows "$1"
    refused "grpcurl: a server whose certificate is $1" "$2" "${trusts[@]}" "${bearer[@]}"
    strangers-python "$repo/tests/strangers/tls.py" refuses "localhost:$port" "$work/tls" "$3"
}
not_taken late "certificate has expired" "certificate has expired"
not_taken misnamed "is valid for elsewhere, not localhost" "Hostname Verification Check failed"
not_taken stranger "unknown authority" "unable to get local issuer certificate"
serve server
within 30 "the server to show its certificate again" shows server
list "${trusts[@]}" "${bearer[@]}" >/dev/null || fail "what was renewed is not taken"
ok "grpcurl: a renewed certificate is taken"
stop_all

# Mutual TLS: who is let in is somebody by the name of a certificate.
configure "client_ca = \"$work/tls/ca.crt\""
start_server
port=${grpc##*:}
mapfile -t reads < <(by reads)
list "${reads[@]}" >/dev/null || fail "a good certificate is refused: $(list "${reads[@]}")"
ok "grpcurl: a good certificate over mutual TLS"
handshakes() {
    curl -s "http://$http/metrics" | sed -n 's/^fusion_tls_handshakes_total{outcome="failed"} //p'
}
# kept_out WHAT ALERT [NAME]: a client with that certificate, or none, is not let in whatever token it has. What the
# server says comes after a client of TLS 1.3 takes its own part for done: grpcurl tries again until its time is up,
# openssl shows it.
kept_out() {
    local shown=("${trusts[@]}") told
    [ $# -lt 3 ] || mapfile -t shown < <(by "$3")
    refused "grpcurl: $1" "context deadline exceeded" -connect-timeout 2 "${shown[@]}" "${bearer[@]}"
    told=$(openssl s_client -ign_eof -alpn h2 -connect "localhost:$port" "${shown[@]/#-cacert/-CAfile}" </dev/null 2>&1) || true
    contains "openssl: $1" "$told" "SSL alert number $2"
}
before=$(handshakes)
kept_out "no certificate" 116
kept_out "an expired certificate" 45 old
kept_out "a self-signed certificate" 46 own
kept_out "a certificate of another CA" 48 foreign
[ "$(handshakes)" -ge $((${before:-0} + 8)) ] || fail "handshakes are not counted: $before, $(handshakes)"
ok "handshakes that failed are counted"
mapfile -t shown < <(by unnamed)
refused "grpcurl: a certificate of another name" '"code": 16' "${shown[@]}"
list "${shown[@]}" "${bearer[@]}" >/dev/null || fail "a token does not stand in for a name"
ok "grpcurl: a token over mutual TLS"
strangers-python "$repo/tests/strangers/tls.py" certificate "localhost:$port" "$work/tls" "$work/tokens.toml"
refused "grpcurl: a certificate that was taken back" '"code": 16' "${reads[@]}"
stop_all
