/** What test/package.test.ts runs from an installed package: public names only. `tsx example.ts MODEL` */
import { recipes } from "templora";
import { Task, dtypes, ops } from "templora/engine";
import { kernels } from "templora/kernels";
import { openCheckpoint } from "templora/model";

const [, , path = "test/golden/tiny-tied"] = process.argv;
const checkpoint = await openCheckpoint(path);
const ids = checkpoint.tokenizer.encode("Call me Ishmael.");
console.log("text", JSON.stringify(checkpoint.tokenizer.decode(ids)));
console.log("rank", recipes.paper.rank, "bytes", dtypes.f32.bytes);
console.log(Task.name, ops.add.name, kernels.add.name);
await checkpoint.close();
