"""Text to model: strict decoding of vpc.yaml. It reports all problems of a file at once and stores nothing."""

from netorch.spec.export import to_yaml
from netorch.spec.load import load_cloud
from netorch.spec.schema import json_schema

__all__ = ["json_schema", "load_cloud", "to_yaml"]
