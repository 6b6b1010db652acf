#!/usr/bin/env bash
# Nothing is wrong, says shellcheck, with the shell scripts of the repository.
. "$(dirname "$0")/lib.sh"
need shellcheck
shellcheck "$repo"/.ci/{run,install} "$repo"/tests/strangers/{run,*.sh} "$repo"/deploy/prometheus/as-objects "$repo"/deploy/build-programs
ok "shellcheck"
