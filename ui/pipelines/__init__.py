"""A plan as a pipeline of other systems, each step a pod that runs `opswright apply` until that step."""
