"""Tiny random models of many families, beside the five of ``conftest``."""

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

LLAMA = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4}
PLAIN = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
STATES = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
FAMILIES = {
    "gpt2": GPT,
    "gptj": GPT | {"rotary_dim": 4, "n_positions": 256},
    "gpt_bigcode": GPT,
    "gpt_neo": {
        "hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]],
        "max_position_embeddings": 256,
    },
    "gpt_neox": PLAIN | {"intermediate_size": 48},
    "opt": PLAIN | {"ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 256},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "falcon": PLAIN,
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4},
    "phi3": LLAMA,
    "olmo2": LLAMA,
    "cohere": LLAMA,
    "gemma2": LLAMA,
    "gemma3_text": LLAMA,
    "gemma4_text": LLAMA | {"hidden_size_per_layer_input": 8, "global_head_dim": 8},
    "mamba": STATES,
    "mamba2": STATES | {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "recurrent_gemma": PLAIN | {"intermediate_size": 96, "num_hidden_layers": 3, "lru_width": 32},
    "falcon_h1": LLAMA | {
        "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1,
    },
    "jamba": LLAMA | {
        "num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2,
        "expert_layer_offset": 1, "mamba_d_state": 4, "mamba_dt_rank": 4, "use_mamba_kernels": False,
    },
    "deepseek_v3": {key: value for key, value in LLAMA.items() if key != "head_dim"} | {
        "num_key_value_heads": 4, "moe_intermediate_size": 16, "n_routed_experts": 8, "num_experts_per_tok": 2,
        "n_group": 2, "topk_group": 1, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4, "v_head_dim": 8, "first_k_dense_replace": 1,
    },
    "mixtral": LLAMA | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": LLAMA | EXPERTS | {"shared_expert_intermediate_size": 24},
    "qwen3_moe": LLAMA | EXPERTS,
    "gpt_oss": LLAMA | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "llama4_text": LLAMA | {"num_local_experts": 2, "intermediate_size_mlp": 48},
}  # fmt: skip


def family_config(kind, vocab=61, **changes):
    """A tiny configuration of a family."""
    per_layer = {"vocab_size_per_layer_input": vocab} if kind == "gemma4_text" else {}
    return CONFIG_MAPPING[kind](vocab_size=vocab, **FAMILIES[kind] | per_layer | changes)


def family_model(kind, vocab=61, **changes):
    """A tiny random model of a family."""
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(family_config(kind, vocab, **changes)).eval()
