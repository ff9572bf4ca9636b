/** What contestants are asked for, and what they answer. Token ids are the same for all. */

export interface OpenRequest {
  readonly model: string;
  readonly threads: number;
}

export interface Opened {
  readonly version: string;
  readonly settings: string;
}

/** Predictions at the last `count` positions of `ids`, each with the id after it: `next` is what follows the last one. */
export interface PredictRequest {
  readonly ids: readonly number[];
  readonly count: number;
  readonly next: number;
}

export interface Predicted {
  /** The likeliest token at each position. */
  readonly best: readonly number[];
  /** −ln p of the token that is there, nats. */
  readonly nll: readonly number[];
}

/** Reads `ids` anew and, if `logits`, chooses the token after them. */
export interface PrefillRequest {
  readonly ids: readonly number[];
}

/** Reads `steps` tokens one by one behind `ids`; those are read, untimed, when they are not there yet. */
export interface DecodeRequest {
  readonly ids: readonly number[];
  readonly steps: readonly number[];
  /** Choose the next token after each; otherwise only keys and values are made. */
  readonly logits: boolean;
}

/** Milliseconds: of the prefill, or of each step. */
export interface Timed {
  readonly ms: readonly number[];
}

export interface LearnRequest {
  readonly model: string;
  readonly threads: number;
  readonly ids: readonly number[];
  readonly chunk: number;
  readonly window: number;
  readonly rank: number;
  readonly lr: number;
  /** Ours alone: the context's keys and values get a gradient; how many updates constant ones outlive. */
  readonly context_grad?: boolean;
  readonly reuse_cache?: number;
}

/** Of the next chunk. */
export interface Learnt {
  readonly seconds: { readonly score: number; readonly train: number };
  readonly nll: number;
  readonly losses: readonly number[];
}
