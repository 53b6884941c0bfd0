"""The trials of one search: which are finished, which failed and why, which are missing."""

from fusion_search.analysis.records.columns import snr_label as snr_label
from fusion_search.analysis.records.selection.labels import dropped_words as dropped_words
from fusion_search.analysis.records.selection.labels import range_label as range_label
from fusion_search.analysis.records.selection.opening import confirmed_by as confirmed_by
from fusion_search.analysis.records.selection.opening import no_such_search as no_such_search
from fusion_search.analysis.records.selection.opening import (
    of_dropped_samples as of_dropped_samples,
)
from fusion_search.analysis.records.selection.opening import open_search as open_search
from fusion_search.analysis.records.selection.opening import (
    read_specification as read_specification,
)
from fusion_search.analysis.records.selection.opening import search_names as search_names
from fusion_search.analysis.records.selection.search import DROPPED_AFTER as DROPPED_AFTER
from fusion_search.analysis.records.selection.search import VARIED_SEEDS as VARIED_SEEDS
from fusion_search.analysis.records.selection.search import VARIED_SETTINGS as VARIED_SETTINGS
from fusion_search.analysis.records.selection.search import AnalysisError as AnalysisError
from fusion_search.analysis.records.selection.search import Search as Search
from fusion_search.analysis.records.selection.search import identity_columns as identity_columns
from fusion_search.analysis.records.selection.search import network_columns as network_columns
from fusion_search.analysis.records.words.counts import count_label as count_label
from fusion_search.analysis.records.words.counts import large_count as large_count
from fusion_search.analysis.records.words.networks import DEPTH as DEPTH
from fusion_search.analysis.records.words.networks import depth_name as depth_name
