"""The same step in PyTorch on the CPU, with as many threads as there are cores."""

import json
import os
import sys
import time

import torch
from torch import nn

CHANNELS = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]
HIDDEN, CLASSES, SIDE = 4096, 7, 48

_, _, batch, width, _ = sys.argv
batch, width = int(batch), float(width)
torch.set_num_threads(os.cpu_count())


def scaled(channels):
    """As in src/models/options.ts: multiples of 8, halves rounded up."""
    return max(8, int(channels * width / 8 + 0.5) * 8)


layers, inputs = [], 3
for channels in CHANNELS:
    if channels == 0:
        layers.append(nn.MaxPool2d(2))
        continue
    outputs = scaled(channels)
    layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(True)]
    inputs = outputs
layers.append(nn.Flatten())
for _ in range(2):
    layers += [nn.Linear(inputs, scaled(HIDDEN)), nn.ReLU(True), nn.Dropout()]
    inputs = scaled(HIDDEN)
network = nn.Sequential(*layers, nn.Linear(inputs, CLASSES))
optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
x, y = torch.randn(batch, 3, SIDE, SIDE), torch.arange(batch) % CLASSES


def step():
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(network(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def send(message):
    print("peer: " + json.dumps(message), flush=True)


for _ in range(2):
    step()
send({"ready": torch.__version__})
for line in sys.stdin:
    ms, loss = [], None
    for _ in range(int(line)):
        started = time.perf_counter()
        loss = step()
        ms.append(1000 * (time.perf_counter() - started))
    send({"ms": ms, "loss": loss})
