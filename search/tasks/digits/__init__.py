"""Spoken and written digits: the C-LSTM networks of early fusion, over 10 x 10 pairs of SNRs."""
