"""
optimizers.json: five steps of torch.optim.SGD, torch.optim.Muon and torch.optim.AdamW with two rates, in float64 on given gradients.

    python make_optimizers.py
"""
import importlib
import json
from pathlib import Path

import torch

HERE = Path(__file__).parent
SHAPES = {"wide.A": (3, 17), "tall.B": (12, 3), "square.B": (5, 5)}
STEPS = 5

# torch.optim.Muon takes its polynomials in bfloat16, whatever it is given; here in float64
torch.bfloat16 = torch.float64
muon = importlib.import_module("torch.optim._muon")


def run(make, settings, clip):
    generator = torch.Generator().manual_seed(7)
    draw = lambda shape: torch.randn(shape, generator=generator, dtype=torch.float64).round(decimals=3)
    listed = lambda tensors: {name: [round(x, 10) for x in t.detach().flatten().tolist()] for name, t in tensors.items()}
    parameters = {name: torch.nn.Parameter(0.02 * draw(shape)) for name, shape in SHAPES.items()}
    start = listed(parameters)
    optimiser = make(parameters)
    steps = []
    for step in range(STEPS):
        gradients = {name: (draw(shape) * 0.05 * (step + 1)).round(decimals=4) for name, shape in SHAPES.items()}
        for name, p in parameters.items():
            p.grad = gradients[name].clone()
        torch.nn.utils.clip_grad_norm_(parameters.values(), clip)
        optimiser.step()
        steps.append({"g": listed(gradients), "p": listed(parameters)})
    return {"settings": settings, "clip": clip, "start": start, "steps": steps}


def adamw(parameters):
    groups = [{"params": [p], "lr": 1e-2 * (4 if name.endswith(".B") else 1)} for name, p in parameters.items()]
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-7, weight_decay=0.01)


out = {
    "made_by": "make_optimizers.py",
    "versions": {"torch": torch.__version__},
    "shapes": {name: list(shape) for name, shape in SHAPES.items()},
    "sgd": run(lambda ps: torch.optim.SGD(ps.values(), lr=0.1, momentum=0.9), {"lr": 0.1, "momentum": 0.9, "weight_decay": 0}, 1),
    "muon": run(
        lambda ps: muon.Muon(ps.values(), lr=0.02, momentum=0.95, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        {"lr": 0.02, "momentum": 0.95, "weight_decay": 0.1},
        1,
    ),
    "loraplus": run(adamw, {"lr": 1e-2, "ratio": 4, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7, "weight_decay": 0.01}, 1),
}
(HERE / "optimizers.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")
