#!/usr/bin/env bash
# Promotes what staging runs to production: copies the image's tag from one environment to the other, and shows the difference.
# Commits nothing: that is for people, with a review.
#
#   ops/gitops/promote.sh [--tag TAG]        (TAG instead of staging's: to go back)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
staging=$here/environments/staging/kustomization.yaml
production=$here/environments/production/kustomization.yaml

tag_of() {
    sed -n 's/^ *newTag: *\([^ #]*\).*/\1/p' "$1"
}

case "${1:-}" in
'') tag=$(tag_of "$staging") ;;
--tag) tag=${2:-} ;;
*)
    echo "usage: ops/gitops/promote.sh [--tag TAG]" >&2
    exit 2
    ;;
esac
if [[ ! $tag =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]]; then
    echo "promote: not a tag: '$tag'" >&2
    exit 2
fi
old=$(tag_of "$production")
if [ "$old" = "$tag" ]; then
    echo "promote: production has $tag already"
    exit 0
fi
sed -i "s/^\( *newTag: *\)[^ #]*/\1$tag/" "$production"
echo "promote: production goes from $old to $tag; now review and commit:"
git -C "$here" --no-pager diff -- "$production" || true
