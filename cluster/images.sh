#!/usr/bin/env bash
# Builds the images of this checkout and pushes them:
#   cluster/images.sh REGISTRY [docker build options, such as --build-arg PYTHON_TAG=TAG@sha256:DIGEST]
set -euo pipefail
registry=${1:?"name the registry: cluster/images.sh REGISTRY"}
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' vsal/__init__.py)
for target in cpu cuda; do
  image="$registry/vsal:$version-$target"
  docker build --platform linux/amd64 --file cluster/Dockerfile --target "$target" --tag "$image" "$@" .
  docker push "$image"
done
