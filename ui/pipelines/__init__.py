"""A plan as a pipeline of other systems, each step a pod that carries it out until that step."""
