"""Text to model: vpc.yaml is decoded strictly, every problem of a file is reported at once, nothing is stored."""

from netorch.spec.export import to_yaml
from netorch.spec.load import load_cloud
from netorch.spec.schema import json_schema

__all__ = ["json_schema", "load_cloud", "to_yaml"]
