#!/bin/sh
# Compiles what every action needs of the standard library into $XEBEC_DEPENDENCIES, once per compiler. Nothing of
# any action's is looked at.
set -eu
here=$(dirname "$0")
. "$here/settings.sh"
export GOCACHE="$XEBEC_DEPENDENCIES"
mkdir -p "$work/source"
cd "$work/source"
cp "$here/launcher.go" launcher.go
cat > action.go <<'END'
package main

import (
	_ "encoding/base64"
	_ "log"
	_ "math/rand"
	_ "sync"
)

func Main(map[string]any) map[string]any { return nil }
END
go mod init action
compile "$work/action" .
