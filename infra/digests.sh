#!/usr/bin/env bash
# The digests behind the tags of the images that infra/ builds on, into infra/digests.env: what was looked at once is
# then what is built on, whatever the tag comes to mean. Needs docker and the registry.
#
#   docker build $(sed 's/^/--build-arg /' infra/digests.env) --file infra/docker/Dockerfile …
#   cd infra/mlflow && docker compose --env-file .env --env-file ../digests.env up …
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
new=$(mktemp digests.XXXXXX)
trap 'rm -f "$new"' EXIT
python=$(sed -n 's/^ARG PYTHON=//p' docker/Dockerfile)
while read -r name image; do
    digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')
    [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "digests.sh: $image: no digest but '$digest'" >&2 && exit 1; }
    echo "$name=@$digest" >> "$new"
    echo "$image@$digest"
done << END
PYTHON_DIGEST python:$python-slim-bookworm
POSTGRES_DIGEST $(sed -n 's/^ *image: \(postgres:[^$]*\).*/\1/p' mlflow/compose.yaml)
SEAWEEDFS_DIGEST $(sed -n 's/^ *image: \(chrislusf[^$]*\).*/\1/p' mlflow/compose.yaml)
AWS_CLI_DIGEST $(sed -n 's/^ *image: \(amazon[^$]*\).*/\1/p' mlflow/compose.yaml)
END
chmod 644 "$new"
mv "$new" digests.env
