#!/bin/sh
# After the merge: carries out exactly the plan whose id the repository holds, or nothing.
# The plan is compiled anew from the merged tree: what changed beside the approved plan gives another id, which
# nobody consented to (exit code 5). Safe to start again: the run has the commit's name and goes on where it stands.
#
# PLAN: the plan file. OUT: folder of the reports. RUN: the run's name.
set -eu
plan=${PLAN:-plan.yaml}
out=${OUT:-ci-out}
run=${RUN:-commit-$(git rev-parse --short=12 HEAD)}

mkdir -p "$out"
: > "$out/summary.md"
opswright whoami
opswright plan "$plan" -o "$out/plan.json" > "$out/id"
code=0
opswright apply "$out/plan.json" --approve "$(cat "${plan%.*}.id")" --run "$run" --json \
  --junit "$out/junit.xml" --sarif "$out/opswright.sarif" --summary "$out/summary.md" > "$out/outcome.json" || code=$?
opswright leaderboard --json -o "$out/board.json"  # the next base: commit it as board.json
exit "$code"
