#!/usr/bin/env bash
# The manual's `bash deploy.sh` (section 4.1): to the local stack, or with a name, such as `prod`, to your AWS account.
cd "$(dirname "${BASH_SOURCE[0]}")" || exit
if [ $# -eq 0 ]; then exec .venv/bin/loglineos up; fi
PATH="$PWD/.venv/bin:$PATH" exec npx cdk deploy -c env="$1" --all "${@:2}"
