/** Tensors, kernels and scopes: `npx tsx examples/01-tensor.ts` prints y = 2 · a · wᵀ and what is left allocated. */
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { Engine } from "../engine/index.ts";
import { matmul_nt } from "../kernels/matmul/matmul.ts";

const device = await openCpu();
const engine = new Engine(device);
{
  using _scope = engine.scope(); // whatever is made in here is freed at its end
  const a = engine.tensor(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]);
  const w = engine.tensor(Float32Array.of(1, 0, 0, 0, 1, 1), [2, 3]); // (out, in), as Hugging Face stores weights
  const { c } = engine.run(matmul_nt, { a, w }, { alpha: 2 });
  console.log("c", c.shape, [...(await engine.read(c))]);
  console.log("flops", engine.meter.flops);
}
console.log("live buffers", device.stats().liveBuffers);
await device.close();
