#!/usr/bin/env bash
# shellcheck has nothing against the shell scripts of the repository.
. "$(dirname "$0")/lib.sh"
need shellcheck
shellcheck --source-path=SCRIPTDIR -x "$repo"/.ci/{run,install} "$repo"/tests/strangers/{run,*.sh}
ok "shellcheck"
