"""PyTorch + transformers + peft as a contestant: Temp-LoRA's update of a chunk, a line of JSON for each request.

    OMP_NUM_THREADS=N MALLOC_MMAP_THRESHOLD_=… MALLOC_TRIM_THRESHOLD_=… python update.py

float32 throughout (MKL), sdpa attention, logits of the chunk's tokens only, no KV cache. The weights come out of the same
GGUF file, widened to float32; the adapter starts at templora's own random A, so that losses can be compared.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "test" / "golden"))

import peft
import torch
import transformers
from make_golden import Recipe, adapter_parameters, add_lora, set_fresh_adapter, token_nll
from transformers import AutoModelForCausalLM


class Learner:
    """The model, its adapter and optimiser over one text, chunk by chunk."""

    def __init__(self, model, threads, ids, chunk, window, rank, lr):
        torch.set_num_threads(threads)
        self.ids, self.chunk, self.window, self.start = ids, chunk, window, 0
        path = Path(model)
        base = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="sdpa"
        )
        base.config.__dict__.pop("quantization_config", None)  # the weights are plain float32 by now
        assert all(p.dtype == torch.float32 for p in base.parameters())
        self.model = add_lora(base, rank, rank)
        set_fresh_adapter(self.model, 0)
        self.parameters = list(adapter_parameters(self.model).values())
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=lr, betas=(Recipe.beta1, Recipe.beta2), eps=Recipe.eps, weight_decay=0
        )

    def next(self):
        """Scores the next chunk, then takes the two steps on it."""
        ids = self.ids[max(0, self.start - self.window) : self.start + self.chunk]
        first = max(1, min(self.window, self.start))  # the text's very first token has no prediction
        self.start += self.chunk
        begin = time.perf_counter()
        self.model.eval()
        with torch.no_grad():
            nll = token_nll(self.model, ids, first).sum().item()
        scored = time.perf_counter()
        self.model.train()
        losses = [self.step(ids, first) for _ in range(Recipe.epochs)]
        trained = time.perf_counter()
        return {"seconds": {"score": scored - begin, "train": trained - scored}, "nll": nll, "losses": losses}

    def step(self, ids, first):
        self.optimiser.zero_grad()
        loss = token_nll(self.model, ids, first).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, Recipe.clip)
        self.optimiser.step()
        return loss.item()


def main():
    learner = None
    for line in sys.stdin:
        request = json.loads(line)
        if request.pop("do") == "learn":
            learner = Learner(**request)
            versions = f"{torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}"
            answer = {"version": versions, "settings": f"{torch.get_num_threads()} threads, f32, sdpa, logits of the chunk only"}
        else:
            answer = learner.next()
        print(json.dumps(answer), flush=True)


main()
