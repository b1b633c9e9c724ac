"""Checks that find all errors of a declared cloud at once. Pure. The rules for single values are in `netorch.model.rules`."""
