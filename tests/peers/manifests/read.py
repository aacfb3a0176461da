#!/usr/bin/env python3
"""Reads YAML as Kubernetes and Docker do: read.py FILE...

Prints one JSON line, an object of each file's name and content, and checks it by the schema of its
apiVersion and kind, if Kubernetes itself has one: unknown keys are errors.
"""

import json
import pathlib
import sys

import kubernetes_validate
import yaml

# The oldest and the newest that the manifests are for.
KUBERNETES = ("1.29", "1.37")


class Loader(yaml.SafeLoader):
    """The same key twice is an error, where PyYAML takes the last."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"twice: {twice}", node.start_mark)
        return super().construct_mapping(node, deep)


content = {}
for path in map(pathlib.Path, sys.argv[1:]):
    document = yaml.load(path.read_text(), Loader)
    if "apiVersion" in document:
        try:
            for version in KUBERNETES:
                kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            pass
        except kubernetes_validate.ValidationError as error:
            sys.exit(f"{path}: {error}")
    content[path.name] = document
print(json.dumps(content))
