"""RGB-D records beside the numbers of the modality gate's paper, and its hypothesis tested."""
