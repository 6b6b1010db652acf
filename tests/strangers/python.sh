#!/usr/bin/env bash
# Python's grpcio: client code made from the contract, reflection, health checks, and the details
# of errors by grpcio-status.
. "$(dirname "$0")/lib.sh"
need_python grpc grpc_tools grpc_reflection grpc_health grpc_status

mkdir "$work/generated"
strangers-python -m grpc_tools.protoc -I "$repo/proto" --python_out="$work/generated" \
    --grpc_python_out="$work/generated" "$repo"/proto/fusion/v1/*.proto
# Comments become doc strings: an escape in one that Python does not know spoils the whole file.
strangers-python -W error -m py_compile "$work"/generated/fusion/v1/*.py || fail "generated code does not compile"
ok "generated code compiles"

start_pair
strangers-python "$repo/tests/strangers/client.py" "$grpc"
stop_all
