"""Stand-in for the package of this name, which Debian does not have: f32 and i64 tensors, which is all that we write."""

import json
import struct
import torch

DTYPES = {"F32": torch.float32, "I64": torch.int64}


def read(path):
    """Tensors and metadata of a file."""
    data = open(path, "rb").read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + at for at in entry["data_offsets"])
        values = torch.frombuffer(bytearray(data[begin:end]), dtype=DTYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"])
    return tensors, metadata


def load_file(path):
    return read(path)[0]


def save_file(tensors, path, metadata=None):
    header, chunks, at = {"__metadata__": metadata or {}}, [], 0
    for name, tensor in tensors.items():
        chunk = tensor.detach().contiguous().numpy().tobytes()
        dtype = next(key for key, value in DTYPES.items() if value == tensor.dtype)
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [at, at + len(chunk)]}
        chunks.append(chunk)
        at += len(chunk)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(chunks))
