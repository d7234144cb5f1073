#!/bin/sh
# Makes $XEBEC_DEPENDENCIES/exec of an action's code, which is the working directory: a program as it is, or source,
# compiled. $XEBEC_HANDLER names the function.
set -eu
here=$(dirname "$0")
. "$here/settings.sh"
code=$PWD
prepared=$code/.xebec/go-cache
program=$XEBEC_DEPENDENCIES/exec

# Whether a file is a program of its own, rather than text.
is_program() {
    [ -f "$1" ] || return 1
    case $(head -c 4 "$1" | od -An -c | tr -d ' \n') in
        177ELF | '#!'*) return 0 ;;
        *) return 1 ;;
    esac
}

fail() {
    echo "$*" >&2
    exit 1
}

for each in exec bin/exec; do
    if is_program "$each"; then
        # Under its own name: it may look for what lies beside it.
        printf '#!/bin/sh\nexec %s "$@"\n' "$code/$each" > "$program"
        chmod 755 "$program"
        exit 0
    fi
done

mkdir "$work/source"
find . -mindepth 1 -maxdepth 1 ! -name .xebec -exec cp -R {} "$work/source" \;
cd "$work/source"
[ ! -f exec ] || mv exec exec__.go

# Where the package main is: in the root, or in a folder of that name.
place=.
if ! ls ./*.go > /dev/null 2>&1; then
    place=./main
    ls main/*.go > /dev/null 2>&1 || fail "there is no Go source: neither in the code's root nor in the folder main"
fi

if ! grep -qE '^[[:space:]]*func[[:space:]]+main[[:space:]]*\([[:space:]]*\)' "$place"/*.go; then
    wanted=${XEBEC_HANDLER:-main}
    case $wanted in
        *[!A-Za-z0-9_]* | [!A-Za-z_]*) fail "the entry point $wanted is no name of a Go function" ;;
    esac
    first=$(printf %.1s "$wanted" | tr a-z A-Z)
    rest=${wanted#?}
    name=$first$rest
    # OpenWhisk's own runtime writes the rest in small letters.
    grep -qE "^[[:space:]]*func[[:space:]]+$name[[:space:]]*\(" "$place"/*.go || name=$first$(printf %s "$rest" | tr A-Z a-z)
    sed "s/(Main)/($name)/" "$here/launcher.go" > "$place/main__.go"
fi

[ -f go.mod ] || go mod init action 2> /dev/null || fail "go mod init does not work"
# Links cost nothing to make; what is compiled in addition goes beside them.
cp -Rs "$prepared/." "$GOCACHE" 2> /dev/null || { rm -rf "$GOCACHE"; cp -R "$prepared/." "$GOCACHE"; }
compile "$program" "$place"
