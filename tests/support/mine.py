from my_project import (
    RGBD,
)  # my Dataset: ({"rgb": [3, H, W], "depth": [3, H, W] (repeated)}, label)
from torchvision.models import resnet18

from fusion_search import Classification, Concatenate, CoupledNetwork, Data, Site


class Mine(Classification):
    def open(self, data, fold=0):
        return Data(RGBD("train"), RGBD("val"), RGBD("test"), classes=51)

    def build(self, network, data, placement):
        rgb, depth = resnet18(num_classes=64), resnet18(num_classes=64)
        sites = [Site(n, {"rgb": n, "depth": n}) for n in ("layer2", "layer3", "layer4")]
        return CoupledNetwork(
            {"rgb": rgb, "depth": depth},
            sites,
            lambda ends: Concatenate(ends, data.classes),
            data.inputs,
            placement,
        )
