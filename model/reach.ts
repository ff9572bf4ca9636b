/**
 * How far layers look back, where that is not what the model was trained with: a method for texts longer than its positions, which
 * costs less memory and time, and forgets (https://arxiv.org/abs/2309.17453, "window attention").
 */
import type { ModelConfig } from "./config.ts";

/** A sliding window of so many keys, a query's own included, in every layer that does not have a smaller one of its own. */
export function withWindow(config: ModelConfig, window: number): ModelConfig {
  const within = (own: number): number => (own === 0 ? window : Math.min(own, window));
  return { ...config, layers: config.layers.map((layer) => ({ ...layer, window: within(layer.window) })) };
}
