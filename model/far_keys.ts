/**
 * Keys that a query sees from afar, at other positions than its neighbours', so that texts may be longer than a model's positions:
 * the first few alone (StreamingLLM, https://arxiv.org/abs/2309.17453), or all in groups that share a position (SelfExtend,
 * https://arxiv.org/abs/2401.01325). Keys nearer than `window` stand where they do in any model.
 */
export interface FarKeys {
  /** Keys at this distance or a greater one are far: the layer's own window. */
  readonly window: number;
  /** So many first keys of a sequence are seen from afar; null = all. */
  readonly keys: number | null;
  /** So many neighbouring positions count as one. */
  readonly group: number;
}

/** Of a far key. */
export const farKeyPosition = ({ group }: FarKeys, position: number): number => Math.floor(position / group);

/**
 * Of a query towards far keys: no farther from the nearest of them than the window reaches, and, where only the first ones are
 * seen, as if the window began right behind them.
 */
export function farQueryPosition({ window, keys, group }: FarKeys, position: number): number {
  const grouped = Math.floor(position / group) + window - Math.floor(window / group);
  return keys === null ? grouped : Math.min(grouped, keys + window - 1);
}
