"""Makes family_defaults.json: what transformers takes for everything that a config.json leaves out, family by family.

    python make_defaults.py        # a few seconds

`given` is a config.json, `config` the configuration that transformers makes of it.
"""

import transformers
from make_families import SIZES
from make_golden import HERE, VERSIONS, write_json

DATE = "2026-11-26"
GIVEN = dict(
    vocab_size=SIZES["vocab_size"], hidden_size=256, intermediate_size=40, num_hidden_layers=32, num_attention_heads=32
)  # fmt: skip
CASES = [
    dict(model_type="llama"),
    dict(model_type="mistral"),
    dict(model_type="qwen2"),
    dict(model_type="qwen2", use_sliding_window=True),
    dict(model_type="qwen3"),
    dict(model_type="qwen3", use_sliding_window=True, sliding_window=64, max_window_layers=5),
    dict(model_type="gemma2"),
    dict(model_type="gemma3_text"),
    dict(model_type="gemma3_text", num_hidden_layers=13),
    dict(model_type="gemma2", head_dim=12),
    dict(model_type="gemma3_text", head_dim=12, rope_theta=5e5, rope_local_base_freq=2e4),
    dict(model_type="granite"),
    dict(model_type="olmo2"),
    dict(model_type="smollm3"),
    dict(model_type="smollm3", no_rope_layer_interval=3, use_sliding_window=True, sliding_window=64),
    dict(model_type="phi3"),
    dict(model_type="phi3", sliding_window=64, partial_rotary_factor=0.75),
]

# Each is given something else than its default for what nearly all families share.
CASES += [
    dict(
        model_type=model_type, max_position_embeddings=99, num_key_value_heads=16, head_dim=14, rms_norm_eps=1e-4, rope_theta=3e4,
        tie_word_embeddings=model_type == "llama",
    )
    for model_type in dict.fromkeys(case["model_type"] for case in CASES)
]  # fmt: skip

# What the forward pass depends on.
KEPT = """
    attention_bias attention_multiplier attn_logit_softcapping embedding_multiplier final_logit_softcapping head_dim hidden_act
    hidden_activation layer_types logits_scaling max_position_embeddings mlp_bias no_rope_layers num_key_value_heads
    query_pre_attn_scalar residual_multiplier rms_norm_eps rope_parameters sliding_window tie_word_embeddings
""".split()


def resolved(case: dict) -> dict:
    given = GIVEN | case
    model_type = given.pop("model_type")
    config = transformers.AutoConfig.for_model(model_type, **given).to_dict()
    return dict(given=GIVEN | case, config={k: v for k, v in config.items() if k in KEPT})


write_json(HERE / "family_defaults.json", dict(versions=VERSIONS, date=DATE, cases=[resolved(case) for case in CASES]))
