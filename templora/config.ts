/**
 * What a Temp-LoRA run is made of, with the paper's values. Wang, Ma & Cai 2024, "With Greater Text Comes Greater
 * Necessity", https://arxiv.org/abs/2401.11504; where the paper is silent, the values of its code
 * (github.com/TemporaryLoRA/Temp-LoRA: DeepSpeed configuration, peft's defaults).
 */

import { type LinearName, linearNames } from "../model/layers.ts";

/** The layers that can be adapted. */
export const allTargets = linearNames;
export type Target = LinearName;

/** The adapter itself: what inference needs to know of it. */
export interface AdapterConfig {
  /** r of LoRA. */
  readonly rank: number;
  /** lora_alpha; the adapter's scale is alpha / rank. */
  readonly alpha: number;
  /** On the adapter's input while training, in [0, 1). */
  readonly dropout: number;
  readonly targets: readonly Target[];
}

/** How it is trained. */
export interface TrainingConfig {
  /** Peak learning rate. */
  readonly lr: number;
  /** Chunks of linear warm-up: the rate on chunk i is lr · min(1, i / warmup). */
  readonly warmup: number;
  /** Optimiser steps a chunk. */
  readonly epochs: number;
  /** The gradient flows through the context's keys and values; otherwise they are constants (an approximation). */
  readonly context_grad: boolean;
  /** Largest global gradient norm; 0 = no clipping. */
  readonly clip: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weight_decay: number;
}

export interface Recipe extends AdapterConfig, TrainingConfig {}

export const recipes = {
  paper: {
    rank: 64,
    alpha: 64,
    dropout: 0.05,
    targets: allTargets,
    lr: 5e-5,
    warmup: 2,
    epochs: 2,
    context_grad: true,
    clip: 1,
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-7,
    weight_decay: 0,
  },
} as const satisfies Record<string, Recipe>;

/** Learning rate of chunk `index`: constant after a linear warm-up, advanced once a chunk (0 on chunk 0 in the paper). */
export function learningRate({ lr, warmup }: TrainingConfig, index: number): number {
  return warmup > 0 ? lr * Math.min(1, index / warmup) : lr;
}
