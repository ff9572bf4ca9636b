/**
 * Temp-LoRA's update of a chunk against PyTorch + transformers + peft: the same weights, the same tokens and the same
 * random A, in turn. The first chunk, without context, warms all up; its losses are compared before anything counts.
 * Beside the exact update stand our two approximations, whose losses are PyTorch's on that first chunk only.
 */
import { at } from "../../kernels/base/at.ts";
import { median, timingOf } from "../harness.ts";
import { Contestant } from "./contestant.ts";
import type { Compared } from "./generation.ts";
import { python } from "./install.ts";
import type { Learnt, LearnRequest, Opened } from "./requests.ts";
import { fileURLToPath } from "node:url";

/** Relative; both compute in f32, in another order. */
const LOSS_TOLERANCE = 1e-3;
/** glibc gives freed memory of this size back to the system and asks for it again in every step, unless told not to. */
const KEEP_MEMORY = String(2 ** 33);

export async function compareLearning(
  model: string,
  ids: readonly number[],
  threads: number,
  quick: boolean,
): Promise<Compared> {
  const chunk = quick ? 128 : 1024;
  const rounds = 2;
  const request = {
    ...{ model, threads, chunk, window: chunk, rank: 64, lr: 5e-5 },
    ids: ids.slice(0, chunk * (1 + rounds)),
  };
  const variants = [
    { name: "templora", context_grad: true },
    { name: "templora --context-grad off", context_grad: false },
    { name: `templora --context-grad off --reuse-cache ${rounds}`, context_grad: false, reuse_cache: rounds },
  ];
  const ours = variants.map(({ name }) => Contestant.script(name, "ours.contestant.ts"));
  const torch = new Contestant(
    "PyTorch, transformers, peft",
    python(),
    [fileURLToPath(new URL("update.py", import.meta.url))],
    {
      OMP_NUM_THREADS: String(threads),
      MALLOC_MMAP_THRESHOLD_: KEEP_MEMORY,
      MALLOC_TRIM_THRESHOLD_: KEEP_MEMORY,
      HF_HUB_OFFLINE: "1",
    },
  );
  const all = [...ours, torch];
  try {
    const opened: Opened[] = [];
    for (const [i, one] of all.entries()) {
      const { name: _, ...variant } = variants[i] ?? {};
      const asked: LearnRequest = { ...request, ...variant };
      opened.push(await one.ask<Opened>({ do: "learn", ...asked }));
    }
    const learnt: Learnt[][] = all.map(() => []);
    for (let round = -1; round < rounds; round++) {
      for (const [i, one] of all.entries()) at(learnt, i).push(await one.ask<Learnt>({ do: "next" }));
      const theirs = learnt.at(-1)?.at(-1);
      for (const [i, one] of learnt.entries()) if (i === 0 || round < 0) check(one.at(-1), theirs);
      console.error(
        `  round ${round + 1} of ${rounds}: ${learnt.map((l) => seconds(l.at(-1)).toFixed(1)).join(" s, ")} s`,
      );
    }
    const timed = learnt.map(([, ...rest]) => rest);
    const ms = timed.map((rest) => rest.map((one) => 1000 * seconds(one)));
    const rows = all.map(({ name }, i) => {
      const timing = timingOf({ name }, at(ms, i));
      return {
        ...{ work: `[context ${chunk}, chunk ${chunk}]`, library: name, ...timing },
        score_seconds: median(at(timed, i).map((one) => one.seconds.score)),
        train_seconds: median(at(timed, i).map((one) => one.seconds.train)),
        tokens_per_second: (1000 * chunk) / timing.ms,
        ratio: timing.ms / median(at(ms, 0)),
        of_pytorch: timing.ms / median(ms.at(-1) ?? []),
        losses: at(timed, i).map(({ losses }) => losses),
      };
    });
    const peers = Object.fromEntries(all.map(({ name }, i) => [name, opened[i]]));
    const losses = Object.fromEntries(all.map(({ name }, i) => [name, at(at(learnt, i), 0).losses]));
    const { ids: _, ...settings } = request;
    return { facts: { peers, ...settings, first_chunk_losses: losses }, rows };
  } finally {
    for (const one of all) one.close();
  }
}

const seconds = (one: Learnt | undefined): number => (one ? one.seconds.score + one.seconds.train : NaN);

/** Throws when the two do not learn the same. */
function check(ours: Learnt | undefined, theirs: Learnt | undefined): void {
  const lossesOf = (one: Learnt | undefined): number[] => [one?.nll ?? NaN, ...(one?.losses ?? [])];
  const [a, b] = [lossesOf(ours), lossesOf(theirs)];
  const near = a.length === b.length && a.every((loss, i) => Math.abs(at(b, i) / loss - 1) <= LOSS_TOLERANCE);
  if (!near) throw new Error(`the losses differ: ours ${a.join(", ")}, PyTorch's ${b.join(", ")}`);
}
