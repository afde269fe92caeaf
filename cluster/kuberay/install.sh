#!/usr/bin/env bash
# Brings into the cluster of the current kubectl context what every place in this folder needs: the KubeRay operator and the
# token of Ray's clusters. Run it again as often as you like; a token that is there stays.
set -euo pipefail

helm upgrade --install kuberay-operator kuberay-operator \
  --repo https://ray-project.github.io/kuberay-helm/ --version 1.7.0 --namespace kuberay --create-namespace --wait
kubectl create namespace vsal --dry-run=client --output yaml | kubectl apply --filename -

if kubectl get secret vsal-token --namespace vsal >/dev/null 2>&1; then
  echo "The token is there: Secret vsal-token in namespace vsal."
else
  # From a pipe and not as an argument: other users of this machine see the arguments of a command.
  openssl rand -hex 32 | tr -d '\n' |
    kubectl create secret generic vsal-token --namespace vsal --from-file=auth_token=/dev/stdin
fi
