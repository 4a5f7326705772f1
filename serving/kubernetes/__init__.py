"""A judged release on a Kubernetes cluster: manifests that are checked offline, and their application."""
