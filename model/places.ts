/** Where the tokens of a pass stand: the positions that their queries and keys are turned to, on the device, once for all layers. */
import type { Tensor } from "../engine/tensor.ts";
import type { ModelConfig } from "./config.ts";
import { type FarKeys, farKeyPosition, farQueryPosition } from "./far_keys.ts";
import type { KVCache } from "./kv_cache.ts";

/** T tokens, of which those from `from` on have a query. */
export interface Places {
  /** i32[T] */
  readonly positions: Tensor;
  /** i32[T − from] */
  readonly queryPositions: Tensor;
  /** i32[capacity], of the rows of a cache that holds unrotated keys. */
  readonly keyPositions: Tensor | null;
  /** For each kind of far keys that layers of the model have. */
  readonly far: ReadonlyMap<FarKeys, FarPlaces>;
}

/** Where queries and keys stand towards each other from afar. */
export interface FarPlaces {
  /** First token whose query has far keys. */
  readonly first: number;
  /** i32[T − first]; null = no query has any. */
  readonly queries: Tensor | null;
  /** i32[T]; null = where they stand towards their neighbours. */
  readonly keys: Tensor | null;
}

export interface PassTokens {
  /** Of each token: what the pass says, else what follows the cache. */
  readonly given: Int32Array | Tensor;
  readonly from: number;
  /** Tokens in the cache before. */
  readonly past: number;
  readonly cache: KVCache | null;
}

/** `onDevice` makes a tensor of positions that the tables of angles hold. `others`: of the same tokens with other queries. */
export function placesOf(
  { layers }: ModelConfig,
  { given, from, past, cache }: PassTokens,
  onDevice: (positions: Int32Array) => Tensor,
  others?: Places,
): Places {
  const onHost = (why: string): Int32Array => {
    if (given instanceof Int32Array) return given;
    throw new TypeError(`positions of a pass with ${why}: give an Int32Array`);
  };
  const positions = others?.positions ?? (given instanceof Int32Array ? onDevice(given) : given);
  const far = new Map<FarKeys, FarPlaces>();
  for (const kind of new Set(layers.flatMap((layer) => layer.far ?? []))) {
    const all = onHost("far keys");
    const first = Math.max(from, kind.window - past);
    const queries = all.subarray(first).map((position) => farQueryPosition(kind, position));
    const keys = (): Tensor => onDevice(all.map((position) => farKeyPosition(kind, position)));
    far.set(kind, {
      first,
      queries: queries.length > 0 ? onDevice(queries) : null,
      keys: kind.group > 1 ? (others?.far.get(kind)?.keys ?? keys()) : null,
    });
  }
  const rows = (): Tensor | null =>
    cache?.unrotated ? onDevice(following(cache.position, cache.capacity)) : null;
  return {
    positions,
    queryPositions: from > 0 ? onDevice(onHost("`from`").subarray(from)) : positions,
    keyPositions: others?.keyPositions ?? rows(),
    far,
  };
}

/** Positions first, first + 1 … */
export function following(first: number, count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, t) => first + t);
}
