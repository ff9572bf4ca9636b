/**
 * Attention other than a model was made with, without training, for texts longer than its positions. A window forgets what lies
 * behind it; "streaming" keeps the first tokens too, without which the model breaks down; "self-extend" sees the whole text, what
 * is far in groups.
 */
import { BadInputError } from "../engine/errors.ts";
import { type LayerFacts, MAX_SIZE, type ModelConfig, reachesFar } from "./config.ts";
import type { FarKeys } from "./far_keys.ts";

export type Attention =
  /** As the model was made. */
  | { readonly method: "full" }
  /** The last `window` keys, a query's own included (https://arxiv.org/abs/2309.17453, "window attention"). */
  | { readonly method: "sliding"; readonly window: number }
  /** These and the first `sinks`, at the positions that they have in a cache of both (the same, "StreamingLLM"). */
  | { readonly method: "streaming"; readonly sinks: number; readonly window: number }
  /** Everything; what lies `window` back or further in groups of `group` that share a position (https://arxiv.org/abs/2401.01325). */
  | { readonly method: "self-extend"; readonly group: number; readonly window: number };

export type AttentionMethod = Attention["method"];

/** The model with such attention. A layer's own smaller window stays, as do layers that no position can be too far for. */
export function withAttention(config: ModelConfig, attention: Attention): ModelConfig {
  const { longer } = config;
  const changed = withReach(config, attention);
  return longer ? { ...changed, longer: withAttention(longer, attention) } : changed;
}

function withReach(config: ModelConfig, attention: Attention): ModelConfig {
  const { max_position_embeddings: positions } = config;
  switch (attention.method) {
    case "full":
      return config;
    case "sliding": {
      const { window } = attention;
      const narrowed = (layer: LayerFacts): LayerFacts =>
        layer.window > 0 && layer.window <= window ? layer : { ...layer, window };
      return { ...config, layers: config.layers.map(narrowed) };
    }
    case "streaming": {
      const { sinks, window } = attention;
      if (sinks + window > positions)
        throw new BadInputError(
          `streaming: ${sinks + window} tokens exceed the model's ${positions} positions`,
        );
      return withFarKeys(config, attention.method, { window, keys: sinks, group: 1 }, MAX_SIZE);
    }
    case "self-extend": {
      const { group, window } = attention;
      if (window > positions)
        throw new BadInputError(`self-extend: ${window} tokens exceed the model's ${positions} positions`);
      const served = group * (positions - window + Math.floor(window / group));
      return withFarKeys(config, attention.method, { window, keys: null, group }, served);
    }
  }
}

/** In every layer that reaches farther than the window; `positions`: how many the model then serves. */
function withFarKeys(config: ModelConfig, method: string, far: FarKeys, positions: number): ModelConfig {
  const { window } = far;
  const reaches = reachesFar(config);
  const layers = config.layers.map((layer) =>
    reaches(layer) && (layer.window === 0 || layer.window > window) ? { ...layer, window, far } : layer,
  );
  if (!layers.some((layer) => layer.far))
    throw new BadInputError(
      `${method}: no layer of the model looks back farther than ${window} tokens by position`,
    );
  return { ...config, layers, max_position_embeddings: Math.min(MAX_SIZE, positions) };
}
