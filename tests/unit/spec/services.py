"""Services for the instances of a cloud."""

from __future__ import annotations

from typing import Any

from netorch.model.services.declared import MetadataOptionsDecl, Switch, Tokens

TOLD: list[dict[str, Any]] = [
    {},
    {"user_data": '#!/bin/sh\n\techo "no: {}" # é\n', "metadata_options": MetadataOptionsDecl()},
    {"user_data": "010", "metadata_options": MetadataOptionsDecl(http_endpoint=Switch.DISABLED)},
    {
        "user_data_base64": "H4sA",
        "metadata_options": MetadataOptionsDecl(
            http_tokens=Tokens.OPTIONAL, http_put_response_hop_limit=64, instance_metadata_tags=Switch.ENABLED
        ),
    },
]
