#!/bin/sh
# Installs a function's package.json into $XEBEC_DEPENDENCIES. Runs with the code as working directory, which
# cannot be written: npm works on a copy, so that dependencies on folders of the code resolve, too.
set -eu
wanted='
const { dependencies, optionalDependencies, workspaces } = JSON.parse(require("fs").readFileSync("package.json"))
if (!workspaces && !Object.keys({ ...dependencies, ...optionalDependencies }).length) process.exit(3)
'
node -e "$wanted" || { [ $? = 3 ] && exit 0; exit 1; }
copy=${TMPDIR:-/tmp}/code
mkdir -p "$copy"
cp -R . "$copy"
cd "$copy"
rm -rf node_modules
if [ -f package-lock.json ] || [ -f npm-shrinkwrap.json ]; then verb=ci; else verb=install; fi
npm "$verb" --omit=dev --no-audit --no-fund --no-update-notifier --no-progress --cache "${TMPDIR:-/tmp}/npm"
if [ -d node_modules ]; then cp -R node_modules/. "$XEBEC_DEPENDENCIES"; fi
