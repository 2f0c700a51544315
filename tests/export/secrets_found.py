"""Says what `detect-secrets` finds in an export, and whether that is more than it finds in another one.

    python3 tests/export/secrets_found.py DIR BASELINE

BASELINE is an export of the same tasks as they would be without secrets. What looks random there looks so in both, but for the hashes of
tasks and files: where there is nothing else, nothing is looked for.
"""
import pathlib
import sys

from detect_secrets import SecretsCollection
from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class as plugins_by_type
from detect_secrets.settings import default_settings, get_settings

import rows

# Asks the service that a secret is for whether it is valid: nothing here leaves the machine.
ASKS = "detect_secrets.filters.common.is_ignored_due_to_verification_policies"
HASHES = {"index.jsonl", "manifest.json"}


def found(directory):
    secrets = SecretsCollection()
    for path in sorted(pathlib.Path(directory).rglob("*")):
        if path.is_file() and path.name not in HASHES:
            secrets.scan_file(str(path))
    return {(secret.type, secret.secret_value) for _, secret in secrets}


with default_settings():
    get_settings().disable_filters(ASKS)
    plugins = len(plugins_by_type())
    here, there = found(rows.directory()), found(sys.argv[2])
for kind, secret in sorted(here - there):
    print(f"new: {kind}: {secret}", file=sys.stderr)
kinds = {kind for kind, _ in here - there}
rows.done({"found": len(here), "new": len(here - there), "kinds": len(kinds)}, plugins=plugins, shards=len(rows.shards()))
