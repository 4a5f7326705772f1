"""The backend `kubernetes`: jobs as Jobs of a cluster, or as TrainJobs of Kubeflow Trainer."""

from .backend import KubernetesCompute

__all__ = ["KubernetesCompute"]
