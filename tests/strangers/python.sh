#!/usr/bin/env bash
# Python's grpcio: reflection, health checks, and the details of errors by grpcio-status.
. "$(dirname "$0")/lib.sh"
need strangers-python
start_pair
strangers-python "$repo/tests/strangers/client.py" "$grpc"
stop_all
