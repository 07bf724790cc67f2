"""Kubeflow: platform settings of the pods, and submission of pipelines."""
