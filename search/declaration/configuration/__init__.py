"""A search as declared in YAML: loaded safely, checked field by field, then frozen."""

from fusion_search.search.declaration.configuration.build import FIELDS as FIELDS
from fusion_search.search.declaration.configuration.build import build_outline as build_outline
from fusion_search.search.declaration.configuration.build import build_search as build_search
from fusion_search.search.declaration.configuration.build import is_name as is_name
from fusion_search.search.declaration.configuration.build import to_plain as to_plain
from fusion_search.search.declaration.configuration.build import to_yaml as to_yaml
from fusion_search.search.declaration.configuration.file import apply_override as apply_override
from fusion_search.search.declaration.configuration.file import (
    load_configuration as load_configuration,
)
from fusion_search.search.declaration.configuration.file import parse_yaml as parse_yaml
from fusion_search.search.declaration.configuration.file import (
    read_requirements as read_requirements,
)
from fusion_search.search.declaration.configuration.file import set_field as set_field
