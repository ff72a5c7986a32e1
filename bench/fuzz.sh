#!/usr/bin/env bash
# Runs fuzz targets for FUZZTIME each, one after another, and names each as it
# starts: those given as PACKAGE:TARGET, or every one of the module. A crasher
# ends the run and is printed; go test has written it to the package's
# testdata/fuzz, where it stays as a test.
#
#   FUZZTIME=30s bench/fuzz.sh core:FuzzQuery snapshot/manifest:FuzzParse
set -euo pipefail
cd "$(dirname "$0")/.."
time=${FUZZTIME:-30s}

all() {
	grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . |
		sed -E 's#^\./(.*)/[^/]+_test\.go:[0-9]+:func (Fuzz.*)#\1:\2#' | sort
}

targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(all)
[ ${#targets[@]} -gt 0 ] || { echo "no fuzz target found" >&2; exit 1; }
said=$(mktemp)
trap 'rm -f "$said"' EXIT

# The fuzzer of go test sometimes calls the end of its own time a failure. Such a
# run names no input and says nothing but this; one that found something does.
ended() {
	grep -q '^    context deadline exceeded$' "$said" && ! grep -qE 'Failing input|panic:|_test\.go:|hung or terminated' "$said"
}

# Prints the inputs that failed: the machine may be gone before anybody looks.
failed() {
	sed -n 's/^ *Failing input written to //p' "$said" | while read -r input; do
		echo "${target%%:*}/$input:"
		head -c 65536 "${target%%:*}/$input"
	done
	exit 1
}

for target in "${targets[@]}"; do
	echo "fuzz $target for $time"
	go test "./${target%%:*}" -run '^$' -fuzz "^${target##*:}\$" -fuzztime "$time" -fuzzminimizetime 50x 2>&1 | tee "$said" || ended || failed
done
echo "fuzzed ${#targets[@]} targets for $time each"
