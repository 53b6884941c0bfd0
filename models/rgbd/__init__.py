"""Networks of colour and depth images whose ends are weighed by a modality gate."""
