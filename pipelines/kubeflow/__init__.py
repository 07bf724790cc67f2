"""The pipeline on a Kubeflow cluster: where its pods run, and how it is submitted."""
