#!/bin/sh
# On a pull request: what the plan would do and what changed on the leaderboard, as Markdown for a comment.
# Carries nothing out. Ends with the exit code of `opswright plan`; with 5 when the repository does not hold the
# id of this very plan, which is what reviewers approve.
#
# PLAN: the plan file. BASE: the branch to merge into, as origin/main. OUT: folder of the reports.
set -eu
plan=${PLAN:-plan.yaml}
base=${BASE:?the branch to merge into}
out=${OUT:-ci-out}
approved=${plan%.*}.id

mkdir -p "$out"
: > "$out/comment.md"
code=0
opswright plan "$plan" -o "$out/plan.json" --summary "$out/comment.md" \
  --junit "$out/junit.xml" --sarif "$out/opswright.sarif" > "$out/id" || code=$?

if [ "$code" -eq 0 ] && [ "$(cat "$approved" 2> /dev/null)" != "$(cat "$out/id")" ]; then
  {
    echo "**Not approvable yet**: $approved does not hold this plan's id. Commit it:"
    printf '\n```sh\necho %s > %s\n```\n\n' "$(cat "$out/id")" "$approved"
  } >> "$out/comment.md"
  code=5
fi

if git show "$base:board.json" > "$out/base-board.json" 2> /dev/null; then
  diff=0
  opswright leaderboard --diff "$out/base-board.json" --summary "$out/comment.md" > "$out/board.txt" || diff=$?
  [ "$code" -ne 0 ] || code=$diff
fi
exit "$code"
