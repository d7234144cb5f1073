# How Go compiles here, for both scripts: what one compiled, the other uses only if it is told the same.
work=${TMPDIR:-/tmp}
export CGO_ENABLED=0 GO111MODULE=on GOTOOLCHAIN=local GOENV=off GOTELEMETRY=off
export GOPATH="$work/gopath" GOCACHE="$work/cache"

compile() {
    go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$@"
}
