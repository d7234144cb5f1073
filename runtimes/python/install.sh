#!/bin/sh
# Installs a function's requirements.txt into $XEBEC_DEPENDENCIES. Runs with the code as working directory.
set -eu
grep -q '^[[:space:]]*[^#[:space:]]' requirements.txt || exit 0
exec python3 -m pip install --no-input --no-cache-dir --disable-pip-version-check --no-warn-script-location \
    --root-user-action=ignore --progress-bar off --target "$XEBEC_DEPENDENCIES" --requirement requirements.txt
