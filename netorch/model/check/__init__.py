"""Everything that is wrong with a declared cloud, at once. Pure; the rules for single values are in `netorch.model.rules`."""
