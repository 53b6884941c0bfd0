"""Where streams of a network may be coupled, and what a trial puts there: all of it data."""

from fusion_search.models.layout.layout import Layout as Layout
from fusion_search.models.layout.layout import Site as Site
from fusion_search.models.layout.placements import COUPLING as COUPLING
from fusion_search.models.layout.placements import NONE as NONE
from fusion_search.models.layout.placements import Placement as Placement
from fusion_search.models.layout.placements import connection as connection
from fusion_search.models.layout.placements import direction as direction
from fusion_search.models.layout.placements import option_keys as option_keys
from fusion_search.models.layout.placements import parts_of as parts_of
from fusion_search.models.layout.views import NOT_SEEN as NOT_SEEN
from fusion_search.models.layout.views import TOKENS as TOKENS
from fusion_search.models.layout.views import Feature as Feature
from fusion_search.models.layout.views import Tree as Tree
from fusion_search.models.layout.views import View as View
from fusion_search.models.layout.views import entry_of as entry_of
from fusion_search.models.layout.views import first_of as first_of
from fusion_search.models.layout.views import frames as frames
from fusion_search.models.layout.views import masked_by as masked_by
