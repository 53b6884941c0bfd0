"""The claims of the early-fusion paper, judged as docs/campaign.md says.

Barnum, Talukder and Yue, "On the Benefits of Early Fusion in Multimodal Representation Learning".
"""
