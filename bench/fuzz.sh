#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME each, one after another, and
# names each as it starts. A crasher ends the run; go test has then written it
# to the package's testdata/fuzz, where it stays as a test.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${FUZZTIME:-30s}
count=0
while IFS=: read -r file target; do
	package=./$(dirname "$file")
	echo "fuzz $package $target for $time"
	go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$time"
	count=$((count + 1))
done < <(grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed -E 's#^\./##; s#:[0-9]+:func #:#')
[ "$count" -gt 0 ] || { echo "no fuzz target found" >&2; exit 1; }
echo "fuzzed $count targets for $time each"
