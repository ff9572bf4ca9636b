/** Tensors, kernels and scopes: `npx tsx examples/01-tensor.ts` prints y = 2 · a · wᵀ and what is left allocated. */
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { Task } from "../engine/index.ts";
import { matmul_nt } from "../kernels/matmul/matmul.ts";

const device = await openCpu();
const task = new Task(device);
{
  using _scope = task.scope(); // whatever is made in here is freed at its end
  const a = task.tensor(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]);
  const w = task.tensor(Float32Array.of(1, 0, 0, 0, 1, 1), [2, 3]); // (out, in), as Hugging Face stores weights
  const { c } = task.run(matmul_nt, { a, w }, { alpha: 2 });
  console.log("c", c.shape, [...(await task.read(c))]);
  console.log("flops", task.meter.flops);
}
console.log("live buffers", device.stats().liveBuffers);
await device.close();
