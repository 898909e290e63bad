#!/usr/bin/env bash
# The DAG in a folder that outlives the container. It goes on where it was: the folder keeps dvc.lock, artifacts,
# scratch and registry, and gets the image's code.
#
#   repro.sh FOLDER [arguments of dvc repro]
#
# ZEROSUM_PARAMS: a params.yaml to run with; without it the folder keeps its own, and starts with the image's.
set -euo pipefail

if (($# == 0)); then
    echo "repro.sh: which folder? for instance: repro.sh /shared/zerosum" >&2
    exit 2
fi
image=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
mkdir -p "$1/.dvc"
folder=$(cd -- "$1" && pwd)
shift

# Two runs in one folder would change each other's code. The lock goes with the last of this process and dvc's.
exec 9>"$folder/.repro.lock"
if ! flock --nonblock 9; then
    echo "repro.sh: another run is at work in $folder" >&2
    exit 2
fi

cd "$image"
rm -rf "$folder/pipeline" "$folder/stages"
cp --recursive --preserve=timestamps pipeline stages dvc.yaml .dvcignore "$folder/"
cp .dvc/config "$folder/.dvc/"
for kept in dvc.lock params.yaml inputs; do
    if [[ ! -e $folder/$kept ]]; then
        cp --recursive "$kept" "$folder/"
    fi
done
if [[ -n ${ZEROSUM_PARAMS:-} ]]; then
    cp "$ZEROSUM_PARAMS" "$folder/params.yaml"
fi

# DVC unpickles what it finds in this folder; its own choice is open to every user.
site=${TMPDIR:-/tmp}/zerosum-dvc-$(id -u)
mkdir -m 700 "$site" 2> /dev/null || true
if [[ -L $site || ! -O $site || $(stat --format=%a "$site") != 700 ]]; then
    echo "repro.sh: $site must be a folder of this user's of mode 700; remove it" >&2
    exit 2
fi
export DVC_SITE_CACHE_DIR=${DVC_SITE_CACHE_DIR:-$site}

cd "$folder"
if [[ ! -e .git ]]; then
    dvc config --local core.no_scm true
fi
exec dvc repro "$@"
