/** What a config.json leaves out is what transformers takes for it, in every family (test/golden/make_defaults.py). */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { describeFolder, families } from "../model/families/index.ts";
import { readGolden } from "./support/golden.ts";

interface Rope {
  readonly partial_rotary_factor?: number;
  readonly rope_theta: number;
}
interface Resolved {
  readonly attention_bias?: boolean;
  readonly attention_multiplier?: number;
  readonly attn_logit_softcapping?: number | null;
  readonly embedding_multiplier?: number;
  readonly final_logit_softcapping?: number | null;
  readonly head_dim?: number;
  readonly hidden_act?: string;
  readonly hidden_activation?: string;
  readonly layer_types?: readonly ("full_attention" | "sliding_attention")[];
  readonly logits_scaling?: number;
  readonly max_position_embeddings: number;
  readonly mlp_bias?: boolean;
  readonly no_rope_layers?: readonly (0 | 1)[];
  readonly num_key_value_heads: number;
  readonly query_pre_attn_scalar?: number;
  readonly residual_multiplier?: number;
  readonly rms_norm_eps: number;
  readonly rope_parameters: Rope & { readonly full_attention?: Rope; readonly sliding_attention?: Rope };
  readonly sliding_window?: number | null;
  readonly tie_word_embeddings: boolean;
}
interface Case {
  readonly given: Readonly<Record<string, unknown>> & {
    readonly model_type: string;
    readonly hidden_size: number;
    readonly num_attention_heads: number;
    readonly num_hidden_layers: number;
  };
  readonly config: Resolved;
}

const { cases } = readGolden<{ readonly cases: readonly Case[] }>("family_defaults.json");
const tests = suite("family defaults");

tests("every family is there", () => {
  const names = new Set(cases.map(({ given }) => given.model_type));
  assert.equal([...names].sort(), families.map(({ model_type }) => model_type).sort());
});

for (const { given, config: want } of cases)
  tests(JSON.stringify(given), () => {
    const { config } = describeFolder(given);
    const head_dim = want.head_dim ?? given.hidden_size / given.num_attention_heads;
    const { max_position_embeddings, num_key_value_heads, rms_norm_eps, tie_word_embeddings } = want;
    const shared = { max_position_embeddings, num_key_value_heads, rms_norm_eps, tie_word_embeddings };
    for (const [key, value] of Object.entries({ ...shared, head_dim }))
      assert.is(config[key as keyof typeof config], value, key);
    assert.is(
      config.embedding_multiplier,
      want.embedding_multiplier ?? (/^gemma/.test(given.model_type) ? 16 : 1),
    ); // √256
    assert.is(config.logits_multiplier, 1 / (want.logits_scaling ?? 1));
    assert.is(config.final_logit_softcapping, want.final_logit_softcapping ?? 0);
    const layers = Array.from({ length: given.num_hidden_layers }, (_, i) => {
      const type = want.layer_types?.[i] ?? (want.sliding_window ? "sliding_attention" : "full_attention");
      const { rope_theta, partial_rotary_factor: part = 1 } =
        want.rope_parameters[type] ?? want.rope_parameters;
      const turning = part === 1 ? {} : { rotary_dim: part * head_dim };
      const turns = want.no_rope_layers?.[i] !== 0;
      const qkv = want.attention_bias ? ["q_proj", "k_proj", "v_proj", "o_proj"] : [];
      return {
        rope: turns ? { head_dim, ...turning, rope_theta, rope_scaling: null } : null,
        window: type === "sliding_attention" ? want.sliding_window : 0,
        attention_scale: Math.fround(
          want.attention_multiplier ?? (want.query_pre_attn_scalar ?? head_dim) ** -0.5,
        ),
        attn_logit_softcapping: want.attn_logit_softcapping ?? 0,
        biases: given.model_type === "qwen2" ? ["q_proj", "k_proj", "v_proj"] : qkv, // Qwen2's code has them always
        hidden_act: want.hidden_activation ?? want.hidden_act,
        residual_multiplier: want.residual_multiplier ?? 1,
      };
    });
    assert.equal(
      config.layers.map(({ qk_norm: _, ...layer }) => ({
        ...layer,
        attention_scale: Math.fround(layer.attention_scale),
      })),
      layers,
    );
  });

tests.run();
