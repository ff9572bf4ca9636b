/** Suite `prefill`: from a prompt of 512 tokens to the first token after it, with the base model and through a Temp-LoRA. */
import { Task } from "../engine/task.ts";
import { KVCache } from "../model/kv_cache.ts";
import { loadModel } from "../model/load.ts";
import { Sampler, greedy } from "../model/sample.ts";
import { Adapter } from "../templora/adapter.ts";
import { type Candidate, measure } from "./harness.ts";
import { limits } from "./probe.ts";
import { type Bench, type Result, type Row, against, deviceFacts, limitsOf } from "./suite.ts";
import { someTokens } from "./workload.ts";

const PROMPT = 512;

export async function prefill(bench: Bench): Promise<Result> {
  const { options } = bench;
  const device = await bench.open();
  try {
    const model = await loadModel(device, options.model);
    const task = new Task(device);
    const { meter } = task;
    const length = Math.min(options.quick ? 128 : PROMPT, model.config.max_position_embeddings - 1);
    const prompt = someTokens(model, length);
    const candidates: Candidate[] = [];
    const adapter = new Adapter(model, options.recipe, options.seed);
    const cache = new KVCache(device, model.config, length + 1);
    const sampler = new Sampler(task, greedy, options.seed, [], 1);
    for (const used of [null, adapter]) {
      const first = async (): Promise<void> => {
        using _scope = task.scope();
        cache.clear();
        const hidden = model.forward(model.ids(task, prompt), { adapter: used, cache, from: length - 1 });
        await sampler.next(model.logits(hidden), prompt);
      };
      meter.reset();
      await first();
      const bytes = [...meter.kernels.values()].reduce((sum, kernel) => sum + kernel.bytes, 0);
      const name = used ? `Temp-LoRA, rank ${options.recipe.rank}` : "base";
      candidates.push({ name: `${name}, ${length} tokens`, flops: meter.flops, bytes, run: first });
    }
    const timings = await measure([...limits(device), ...candidates], {
      rounds: options.quick ? 3 : 9,
      sampleMs: 10,
      warmUpMs: 10,
      onProgress: (fraction) => bench.progress("prefill", fraction),
    });
    const most = limitsOf(timings);
    const rows = timings
      .filter(({ name }) => candidates.some((candidate) => candidate.name === name))
      .map((t): Row => ({ ...against(t, most), tokens_per_second: (1000 * length) / t.ms }));
    for (const owned of [sampler, cache, adapter, task, model]) owned.dispose();
    return { rows, facts: { ...deviceFacts(device), model: options.model, tokens: length, limits: most } };
  } finally {
    await device.close();
  }
}
