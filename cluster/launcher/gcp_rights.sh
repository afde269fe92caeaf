#!/usr/bin/env bash
# Who vsal is on Google Cloud, with the least rights: reading the videos, writing the results, and for the head of the
# launcher's cluster starting and ending machines.
#   gcp_rights.sh PROJECT VIDEOS_BUCKET RESULTS_BUCKET          service accounts for gcp.yaml
#   gcp_rights.sh --gke PROJECT VIDEOS_BUCKET RESULTS_BUCKET    the pods of ../kuberay/rayjob-gke.yaml
set -euo pipefail
gke=false
if [ "${1:-}" = --gke ]; then
  gke=true
  shift
fi
[ $# = 3 ] || { echo "usage: gcp_rights.sh [--gke] PROJECT VIDEOS_BUCKET RESULTS_BUCKET" >&2; exit 2; }
project=$1 videos=$2 results=$3

may_use_buckets() { # MEMBER
  gcloud storage buckets add-iam-policy-binding "gs://$videos" --member "$1" --role roles/storage.objectViewer >/dev/null
  gcloud storage buckets add-iam-policy-binding "gs://$results" --member "$1" --role roles/storage.objectUser >/dev/null
}

if $gke; then
  number=$(gcloud projects describe "$project" --format 'value(projectNumber)')
  pool="principal://iam.googleapis.com/projects/$number/locations/global/workloadIdentityPools/$project.svc.id.goog"
  for account in vsal-head vsal-worker; do
    may_use_buckets "$pool/subject/ns/vsal/sa/$account"
  done
  exit
fi

for account in vsal-head vsal-worker; do
  email="$account@$project.iam.gserviceaccount.com"
  gcloud iam service-accounts describe "$email" --project "$project" >/dev/null 2>&1 ||
    gcloud iam service-accounts create "$account" --project "$project"
  may_use_buckets "serviceAccount:$email"
  gcloud projects add-iam-policy-binding "$project" --member "serviceAccount:$email" \
    --role roles/artifactregistry.reader --condition None >/dev/null
done
gcloud projects add-iam-policy-binding "$project" --member "serviceAccount:vsal-head@$project.iam.gserviceaccount.com" \
  --role roles/compute.instanceAdmin.v1 --condition None >/dev/null
gcloud iam service-accounts add-iam-policy-binding "vsal-worker@$project.iam.gserviceaccount.com" --project "$project" \
  --member "serviceAccount:vsal-head@$project.iam.gserviceaccount.com" --role roles/iam.serviceAccountUser >/dev/null
