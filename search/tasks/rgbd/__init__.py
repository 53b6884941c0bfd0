"""The task of objects seen in colour and depth, whose streams a modality gate weighs."""
