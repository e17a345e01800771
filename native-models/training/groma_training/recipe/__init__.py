"""The paper's three training stages, from YAML files: the same code at demo and at release size."""
