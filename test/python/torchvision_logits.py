"""What PyTorch computes with the weights of a run: test/torch.test.ts compares it with ours.

    python3 -B test/python/torchvision_logits.py FOLDER... [--random FOLDER...]

Each folder holds model.safetensors as `train` writes it, images.safetensors with `images` [N,C,H,W] normalised, and may
hold network.py, the Python of the run's report. Prints a JSON line for each: the logits of the network that `build`
makes and of the one that network.py makes. Under --random the weights are first replaced by ones made here.
Debian: python3-torch python3-torchvision.
"""

import argparse
import json
import os
import torch
from collections import OrderedDict
from safetensors.torch import load_file, read, save_file
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.models.vgg import cfgs, make_layers

BLOCKS = {"resnet18": [2, 2, 2, 2], "resnet34": [3, 4, 6, 3]}
PLANS = {"vgg11_bn": "A", "vgg13_bn": "B", "vgg16_bn": "D", "vgg19_bn": "E"}


class MaxAndMean(nn.Module):
    """fast.ai's AdaptiveConcatPool2d(1), flattened."""

    def forward(self, x):
        return torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)


def fastai_classifier(last, classes):
    """fast.ai's create_head behind MaxAndMean."""
    return nn.Sequential(
        nn.BatchNorm1d(2 * last), nn.Dropout(0.25), nn.Linear(2 * last, 512, bias=False), nn.ReLU(),
        nn.BatchNorm1d(512), nn.Dropout(0.5), nn.Linear(512, classes, bias=False))


def build_resnet(arch, classes, channels, head, scaled):
    """torchvision's ResNet, its channel counts scaled by giving every stage and layer its number."""

    class Scaled(ResNet):
        def _make_layer(self, block, planes, *rest, **options):
            if planes == 64:
                self.inplanes = scaled(64)
            return super()._make_layer(block, scaled(planes), *rest, **options)

    network = Scaled(BasicBlock, BLOCKS[arch])
    network.conv1 = nn.Conv2d(channels, scaled(64), 7, stride=2, padding=3, bias=False)
    network.bn1 = nn.BatchNorm2d(scaled(64))
    network.fc = nn.Linear(scaled(512), classes)
    if head == "fastai":
        network.avgpool, network.fc = MaxAndMean(), fastai_classifier(scaled(512), classes)
    return network


class FerVgg(nn.Module):
    """Khaireddin & Chen's: four blocks of conv, bn, relu twice and a pool, then three linear layers."""

    def __init__(self, classes, channels, size, scaled):
        super().__init__()
        for block, k in enumerate(map(scaled, (64, 128, 256, 512)), 1):
            for letter in "ab":
                self.add_module(f"conv{block}{letter}", nn.Conv2d(channels, k, 3, padding=1))
                self.add_module(f"bn{block}{letter}", nn.BatchNorm2d(k))
                channels = k
        self.lin1 = nn.Linear(channels * (size // 16) ** 2, scaled(4096))
        self.lin2 = nn.Linear(scaled(4096), scaled(4096))
        self.lin3 = nn.Linear(scaled(4096), classes)

    def forward(self, x):
        layers = dict(self.named_children())
        for block in "1234":
            for letter in "ab":
                x = layers[f"bn{block}{letter}"](layers[f"conv{block}{letter}"](x)).relu()
            x = nn.functional.max_pool2d(x, 2)
        return self.lin3(self.lin2(self.lin1(x.flatten(1)).relu()).relu())


def build(arch, classes, channels=3, width=1.0, head="vgg", pool=1, size=48):
    """torchvision's network, its channel counts and VGG's 4096s times `width`, behind any of its heads."""
    scaled = lambda count: max(8, 8 * int(count * width / 8 + 0.5))
    if arch == "fer_vgg":
        return FerVgg(classes, channels, size, scaled)
    if arch in BLOCKS:
        return build_resnet(arch, classes, channels, head, scaled)
    features = make_layers([c if c == "M" else scaled(c) for c in cfgs[PLANS[arch]]], batch_norm=True)
    features[0] = nn.Conv2d(channels, scaled(64), 3, padding=1)
    last, hidden = scaled(512), scaled(4096)
    if head == "fastai":
        pooling, classifier = MaxAndMean(), fastai_classifier(last, classes)
    else:
        pooling = nn.AdaptiveAvgPool2d(pool)
        classifier = nn.Sequential(
            nn.Linear(last * pool * pool, hidden), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(hidden, classes))
    return nn.Sequential(OrderedDict(features=features, pool=pooling, flatten=nn.Flatten(), classifier=classifier))


def randomise(network):
    """Weights and running statistics such that every one of them matters."""
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(3)
        elif name.endswith("running_var") or (tensor.dim() == 1 and name.endswith("weight")):
            tensor.uniform_(0.5, 1.5)
        elif tensor.dim() == 1:
            tensor.uniform_(-0.3, 0.3)
        else:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)


@torch.no_grad()
def logits(network, folder):
    return network.eval()(load_file(f"{folder}/images.safetensors")["images"]).tolist()


def network_py(folder):
    """The network that network.py makes, run where it lies."""
    names, before = {}, os.getcwd()
    os.chdir(folder)
    exec(open("network.py").read(), names)
    os.chdir(before)
    return names["network"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--random", nargs="*", default=[])
    arguments = parser.parse_args()
    torch.manual_seed(1)
    for folder in arguments.folders + arguments.random:
        path = f"{folder}/model.safetensors"
        tensors, metadata = read(path)
        facts = json.loads(metadata["dawngrad"])
        options = {key: facts["options"][key] for key in ("classes", "channels", "width", "head", "pool", "size")}
        network = build(facts["arch"], **options)
        if folder in arguments.random:
            randomise(network)
            save_file(network.state_dict(), path, metadata)
        else:
            network.load_state_dict(tensors, strict=True)
        found = {"logits": logits(network, folder)}
        if os.path.exists(f"{folder}/network.py"):
            found["reported"] = logits(network_py(folder), folder)
        print(json.dumps(found))
